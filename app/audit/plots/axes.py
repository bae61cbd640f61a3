"""From values to places on the page: straight or logarithmic, always monotone, never outside the axis."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Where values lie between two places.

    Values outside [low, high] are put at the nearer end. `start` may be the larger place, as on vertical axes.

    Args:
        low: value at `start`; above 0 on a logarithmic axis.
        high: value at `end`, above `low`.
        start: place of `low`, in pixels.
        end: place of `high`.
        is_log: whether equal distances are equal ratios.

    Raises:
        ValueError: no such axis.
    """

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __post_init__(self) -> None:
        """Refuse ends that span nothing."""
        least = 0.0 if self.is_log else -math.inf
        if not least < self.low < self.high < math.inf:
            msg = f"Expected {least:g} < low < high < inf, got {self.low} and {self.high}."
            raise ValueError(msg)

    def at(self, value: float) -> float:
        """The place of a value."""
        low, high, here = (self._straight(one) for one in (self.low, self.high, min(max(value, self.low), self.high)))
        return self.start + (here - low) / (high - low) * (self.end - self.start)

    def decades(self) -> list[float]:
        """The powers of ten on a logarithmic axis, both ends included."""
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        return [10.0**power for power in range(first, last + 1)]

    def _straight(self, value: float) -> float:
        return math.log10(value) if self.is_log else value


def rounded_up(value: float) -> float:
    """The next of ..., 0.1, 0.2, 0.5, 1, 2, 5, 10, ... that is not below a value above 0."""
    base = 10.0 ** math.floor(math.log10(value))
    return next(step * base for step in (1, 2, 5, 10) if step * base >= value * (1 - 1e-9))


def ticks(high: float, parts: int = 5) -> list[float]:
    """Round values from 0 to `high`, at most `parts` steps of them."""
    step = rounded_up(high / parts)
    return [place * step for place in range(math.floor(high / step + 1e-9) + 1)]


def lowest_decade(values: Iterable[float], *, at_least: float) -> float:
    """The power of ten at or below the smallest positive value, between `at_least` and 0.1."""
    smallest = min((value for value in values if value > 0), default=1.0)
    return float(min(0.1, max(at_least, 10.0 ** math.floor(math.log10(smallest) + 1e-9))))


def told(value: float | None) -> str:
    """A share or size in a few digits; "n/a" for none."""
    if value is None:
        return "n/a"
    if value == 0 or abs(value) >= 0.001:
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"
    return f"{value:.0e}"
