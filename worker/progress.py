"""How far the job is, for pollers; and the place where a job notices that it must stop."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from core import log
from core.db.session import Database
from core.errors import JobCancelled
from core.requests import claims
from core.requests.claims import Lease
from core.states import Step
from worker.patience import OUTAGES

PERCENT = {
    Step.LOAD: (0, 5),
    Step.UNLEARN: (5, 55),
    Step.VERIFY: (55, 95),
    Step.PACKAGE: (95, 97),
    Step.PUBLISH: (97, 99),
}
"""Where each step begins and ends; 100 is written by the final move alone."""

PAUSE_SECONDS = 0.25

Item = TypeVar("Item")

_log = log.get_logger("progress")


def reporter(database: Database, lease: Lease) -> Callable[[str, int], None]:
    """Writes (step, percent) where pollers see it; an outage of the database is logged and let be."""

    def report(step: str, percent: int) -> None:
        try:
            claims.report_progress(database, lease, step=step, percent=percent)
        except OUTAGES as error:
            _log.warning("progress.not_written", error=type(error).__name__)

    return report


class Progress:
    """Reports at most four times a second, however often it is called.

    Args:
        report: writes (step, percent) where pollers see it.
        must_stop: whether the supervisor has asked this process to end.
    """

    def __init__(self, report: Callable[[str, int], None], must_stop: Callable[[], bool]) -> None:
        self._report = report
        self._must_stop = must_stop
        self._step = Step.LOAD
        self._last_at = float("-inf")
        self._last_percent = -1

    def begin(self, step: Step) -> None:
        """Enter a step; always reported."""
        self._step = step
        self._last_at = float("-inf")
        self._last_percent = -1
        self.reach(0.0)

    def reach(self, share: float) -> None:
        """Be at `share` (0 to 1) of the present step.

        Raises:
            JobCancelled: the process was asked to end.
        """
        if self._must_stop():
            msg = "The job was asked to stop, and did so between two batches."
            raise JobCancelled(msg)
        low, high = PERCENT[self._step]
        percent = int(low + (high - low) * min(1.0, max(0.0, share)))
        now = time.monotonic()
        if percent > self._last_percent and now - self._last_at >= PAUSE_SECONDS:
            self._last_at, self._last_percent = now, percent
            self._report(self._step.value, percent)

    def through(self, items: Iterable[Item], total: int, span: tuple[float, float]) -> Iterator[Item]:
        """Hand on `items`, moving over `span` of the step."""
        start, end = span
        for done, item in enumerate(items, start=1):
            self.reach(start + (end - start) * done / max(1, total))
            yield item

    def over(self, span: tuple[float, float]) -> Callable[[str, int, int | None], None]:
        """A callback as the engine takes it, moving over `span` of the step."""
        start, end = span

        def advance(_stage: str, done: int, total: int | None) -> None:
            self.reach(start + (end - start) * done / total if total else start)

        return advance
