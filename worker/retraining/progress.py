"""How far a retraining is, for pollers; and the place where it notices that it must stop."""

import time
from collections.abc import Callable

from core.errors import JobCancelled

TRAINED_PERCENT, CHECKED_PERCENT = 95, 98
"""Where training and the check end; 100 is written by the final move alone."""
PAUSE_SECONDS = 0.25


class Stages:
    """Reports at most four times a second, however often it is called.

    Args:
        report: writes (step, percent) where pollers see it.
        must_stop: whether the supervisor has asked this process to end.
    """

    def __init__(self, report: Callable[[str, int], None], must_stop: Callable[[], bool]) -> None:
        self._report = report
        self._must_stop = must_stop
        self._last_at = float("-inf")
        self._last: tuple[str, int] | None = None

    def enter(self, step: str, percent: int) -> None:
        """Begin a step; always reported.

        Raises:
            JobCancelled: the process was asked to end.
        """
        self._last_at = float("-inf")
        self.reach(step, percent)

    def reach(self, step: str, percent: int) -> None:
        """Be somewhere; reported if enough time has passed.

        Raises:
            JobCancelled: the process was asked to end.
        """
        if self._must_stop():
            msg = "The job was asked to stop, and did so between two batches."
            raise JobCancelled(msg)
        now = time.monotonic()
        if (step, percent) != self._last and now - self._last_at >= PAUSE_SECONDS:
            self._last_at, self._last = now, (step, percent)
            self._report(step, percent)

    def trained(self, epoch: int, num_epochs: int, share: float) -> None:
        """Be in an epoch of the training, `share` (0 to 1) of all epochs done.

        Raises:
            JobCancelled: the process was asked to end.
        """
        self.reach(f"train {epoch}/{num_epochs}", int(1 + (TRAINED_PERCENT - 1) * share))
