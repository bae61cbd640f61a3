"""What the report says of a measure: one sentence, its direction, and what a retrained model scores."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Way = Literal["lower", "higher", "two-sided", "none"]

DIRECTIONS: dict[str, str] = {
    "lower": "lower is better",
    "higher": "higher is better",
    "two-sided": "neither high nor low",
    "none": "informs only",
}


class Group(StrEnum):
    """The headings of the report's tables, in their order; the value is the heading."""

    ACCURACY = "What the model still answers"
    MEMBERSHIP = "Whether training images can be told"
    RECOVERY = "What can be brought back"
    WEIGHTS = "What the weights give away"
    REFERENCE = "Beside a model that never saw the classes"
    AUDIT = "Audit with shadow models"
    OTHER = "Other numbers"


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """One measure, explained to somebody who has to sign for it."""

    group: Group
    title: str
    sentence: str
    """What it measures, in one sentence."""
    direction: Way
    retrained: str
    """What a model scores that was trained anew without the classes, and why, in one sentence."""
    attack: str = ""
    """What an attacker did to get this number, if one acted: what a claim may rest on."""

    @property
    def better(self) -> str:
        """Which way is better, in words."""
        return DIRECTIONS[self.direction]
