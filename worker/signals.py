"""Signals that mean "give the job back", and what becomes of them afterwards."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


@contextmanager
def stopping_on(stop: Callable[[], None], *, numbers: tuple[signal.Signals, ...], redeliver: bool) -> Iterator[None]:
    """Call `stop` when one of the signals comes while the block runs; main thread only.

    Args:
        stop: sets a flag, no more.
        numbers: the signals.
        redeliver: whether a signal that came is sent once more after the block, to whoever handled it before.
    """
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        stop()

    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came and redeliver:
            os.kill(os.getpid(), came[0])
