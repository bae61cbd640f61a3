"""One number of a verification, with everything needed to judge it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Direction = Literal["higher", "lower", "two-sided"]


@dataclass(frozen=True)
class Measure:
    """A measured value with its 95 % interval.

    Attributes:
        name: What was measured, in snake case.
        value: The point estimate.
        low: Lower end of the interval; None when no interval is defined.
        high: Upper end.
        n: Samples behind the value.
        seed: Seed of the resampling or the split; None when nothing is random.
        direction: Which direction is good; "two-sided" when both extremes are bad.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    n: int
    seed: int | None
    direction: Direction

    def as_dict(self) -> dict[str, str | float | int | None]:
        """Return the fields as plain JSON types."""
        return asdict(self)
