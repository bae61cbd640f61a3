"""A value that many measures need: computed when the first one asks, and failing alike for all when it cannot be."""

from collections.abc import Callable
from typing import Generic, TypeVar

from worker.pipeline.verification.findings import BEYOND_RECOVERY

Value = TypeVar("Value")


class Once(Generic[Value]):
    """The value of `make`, which is called at most once.

    Args:
        make: what computes it; an exception is kept as well, and raised to everybody who asks.
    """

    def __init__(self, make: Callable[[], Value]) -> None:
        self._make: Callable[[], Value] | None = make
        self._value: Value
        self._error: Exception | None = None

    def get(self) -> Value:
        """The value.

        Raises:
            Exception: what went wrong the first time.
        """  # noqa: DOC501 the errors of a broken device pass through
        if self._make is not None:
            try:
                self._value = self._make()
            except BEYOND_RECOVERY:
                raise
            except Exception as error:  # noqa: BLE001 it is raised below, to this asker and to all later ones
                self._error = error
            self._make = None
        if self._error is not None:
            raise self._error.with_traceback(None)  # else it grows with everybody who asks
        return self._value
