"""What an audit found: measures, and for what could not be measured the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from unlearning.evaluation.measure import Measure


@dataclass(frozen=True)
class Findings:
    """Measures by name, and why the others are missing.

    Attributes:
        measures: What was measured.
        absent: By name of a measure, why there is none: too few models or samples. Never a pass.
    """

    measures: tuple[Measure, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Measure:
        for measure in self.measures:
            if measure.name == name:
                return measure
        raise KeyError(self.absent.get(name, name))

    def joined(self, other: Findings) -> Findings:
        """Return what both found."""
        return Findings((*self.measures, *other.measures), {**self.absent, **other.absent})
