"""Waiting out an outage of the database where giving up would waste finished work."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from core import log

OUTAGES = (OperationalError, InterfaceError, PoolTimeout)
PAUSE_SECONDS = 0.5

Result = TypeVar("Result")

_log = log.get_logger("database")


def patiently(action: Callable[[], Result], *, at_most: timedelta) -> Result:
    """Run `action`, again and again while the database is away; the last outage passes through when time is up.

    `action` must be safe to repeat after an unknown outcome: ours all begin by asking whether the fence still holds.
    """
    until = time.monotonic() + at_most.total_seconds()
    while True:
        try:
            return action()
        except OUTAGES as error:
            if time.monotonic() > until:
                raise
            _log.warning("database.unavailable", error=type(error).__name__)
            time.sleep(PAUSE_SECONDS)
