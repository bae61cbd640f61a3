"""Measures as they come in. A measure that cannot be made becomes one without a value, and a sentence that says why."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from core import log
from core.errors import JobCancelled
from unlearning.errors import UnlearningError
from unlearning.evaluation import Measure

BEYOND_RECOVERY = (torch.AcceleratorError, torch.OutOfMemoryError, JobCancelled)
"""After an error of the device nothing it says can be trusted: these end the attempt, not just one measure."""

_log = log.get_logger("verify")


@dataclass
class Findings:
    """The measures of one network, by name, as JSON."""

    measures: dict[str, Any] = field(default_factory=dict)

    def take(self, name: str, measure: Callable[[], Measure]) -> None:
        """Make one measure; whatever goes wrong in it stays its own."""
        self.take_all(name, lambda: {name: measure()})

    def take_all(self, name: str, measures: Callable[[], dict[str, Measure]]) -> None:
        """Make several at once; if that goes wrong, the name of all of them says so."""
        try:
            found = measures()
        except BEYOND_RECOVERY:
            raise
        except UnlearningError as error:
            _log.warning("measure.refused", measure=name, reason=str(error))
            self.measures[name] = missing(str(error))
        except Exception as error:  # noqa: BLE001 whatever it is, the test is inconclusive and the others go on
            _log.exception("measure.failed", measure=name)
            # Only the engine's own sentences are told: those of others may hold anything.
            self.measures[name] = missing(f"It could not be measured: {type(error).__name__}.")
        else:
            self.measures |= {each: number(measure) for each, measure in found.items()}

    def note(self, name: str, make: Callable[[], Any]) -> None:
        """Keep something that is no measure; nothing if it cannot be made."""
        try:
            self.measures[name] = make()
        except BEYOND_RECOVERY:
            raise
        except Exception:  # noqa: BLE001 the measures beside it say what is wrong
            _log.exception("measure.failed", measure=name)


def by_name(measures: Iterable[Measure]) -> dict[str, Measure]:
    """Measures under their own names."""
    return {measure.name: measure for measure in measures}


def number(measure: Measure) -> dict[str, Any]:
    """A measure as JSON."""
    ends = [end for end in (measure.value, measure.low, measure.high) if end is not None]
    if not all(map(math.isfinite, ends)):
        return missing("Expected a finite number, got NaN or infinity.")
    return {name: value for name, value in measure.as_dict().items() if name != "name"}


def missing(problem: str) -> dict[str, Any]:
    """What stands for a measure that could not be made."""
    return {"value": None, "low": None, "high": None, "n": 0, "seed": None, "direction": "none", "problem": problem}
