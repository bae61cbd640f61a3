"""Logs: one JSON object per line on standard error, fit for machines, safe to ship.

What may stand in them: ids, states, counts, seconds, names of steps and error types. Never class labels, subject
references or image data: logs are copied to places from which nothing can be erased.
"""

import logging
import sys
from typing import Any

import structlog

from core.errors import where_it_broke

Logger = structlog.typing.FilteringBoundLogger


def configure(**context: Any) -> None:
    """Write JSON lines from now on, each with `context` (for example the random id of this worker's boot).

    May be called again; further context adds to the earlier one. Text on standard output stays free for people.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(_where_it_broke),
            structlog.processors.JSONRenderer(sort_keys=True, default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(**context)


def _where_it_broke(exc_info: structlog.typing.ExcInfo) -> str:
    return where_it_broke(exc_info[1])


def get_logger(part: str) -> Logger:
    """A logger whose lines say which part of the service speaks."""
    logger: Logger = structlog.get_logger(part=part)
    return logger
