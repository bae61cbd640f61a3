"""Margins and policies: which tests decide, and where their whole 95 % interval must lie.

What is stored is read leniently, for it may be older than a rule; what comes in through a door is judged by
`refuse_impossible`.
"""

import math
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.errors import Invalid
from core.policy.catalogue import TESTS, Scale, Side, TestName, Tier

Z_SQUARED = 1.959964**2
CLOSEST = 1e-6
"""How near to the end of its range a margin may lie: a share this small would take millions of images to show."""


class LooserThreshold(Invalid):
    """A request asked for a wider margin than its policy allows."""

    slug = "looser-threshold"
    title = "A threshold may only be tightened"


class ImpossibleThreshold(Invalid):
    """A margin that no result can meet, that every result meets, or that bounds the wrong side."""

    slug = "impossible-threshold"
    title = "The threshold makes no sense for this test"


class Margin(BaseModel):
    """Where the whole interval must lie; an absent side is open."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at_least: float | None = Field(None, allow_inf_nan=False)
    at_most: float | None = Field(None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _check_sides(self) -> "Margin":
        if self.at_least is None and self.at_most is None:
            msg = "Expected at_least, at_most or both, got neither."
            raise ValueError(msg)
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            msg = f"Expected at_least <= at_most, got {self.at_least} and {self.at_most}."
            raise ValueError(msg)
        return self

    def is_within(self, other: "Margin") -> bool:
        """Whether this margin allows nothing that the other forbids."""
        lower_holds = other.at_least is None or (self.at_least is not None and self.at_least >= other.at_least)
        upper_holds = other.at_most is None or (self.at_most is not None and self.at_most <= other.at_most)
        return lower_holds and upper_holds


Margins = Mapping[TestName, Margin]


class Policy(BaseModel):
    """A named, versioned set of deciding tests."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: int
    deciding: dict[TestName, Margin]

    def __str__(self) -> str:
        """As requests, verdicts and the ledger name it: `NAME/VERSION`."""
        return f"{self.name}/{self.version}"

    def as_json(self) -> dict[str, Any]:
        """JSON members, as verdicts hold them; open sides are left out."""
        return self.model_dump(mode="json", exclude_none=True)

    @property
    def sha256(self) -> str:
        """Digest of the canonical form (RFC 8785) of `as_json`."""
        return sha256(rfc8785.dumps(self.as_json())).hexdigest()

    @property
    def needs_reference(self) -> bool:
        """Whether a deciding test compares with a model that was trained without the classes."""
        return bool(self.of_tier(Tier.REFERENCE))

    @property
    def needs_audit(self) -> bool:
        """Whether a deciding test stands on shadow models."""
        return bool(self.of_tier(Tier.AUDIT))

    def of_tier(self, tier: Tier) -> list[TestName]:
        """The deciding tests of one tier."""
        return [name for name in self.deciding if TESTS[name].tier is tier]

    def tightened(self, thresholds: Margins) -> "Policy":
        """The policy with narrower margins, or with further tests made deciding.

        Raises:
            LooserThreshold: a margin is wider than the policy's own.
            ImpossibleThreshold: a margin makes no sense for its test.
        """
        for name, margin in thresholds.items():
            own = self.deciding.get(name)
            if own is not None and not margin.is_within(own):
                msg = (
                    f"Expected {name} within {own.model_dump(exclude_none=True)} of policy {self.name!r}, "
                    f"got {margin.model_dump(exclude_none=True)}."
                )
                raise LooserThreshold(msg, pointer=f"#/thresholds/{name}")
        refuse_impossible(thresholds, member="thresholds")
        return self.model_copy(update={"deciding": {**self.deciding, **thresholds}})

    def fewest_test_images(self) -> int:
        """How many test images of the forgotten classes a flawless result needs to pass."""
        return self._fewest([
            TestName.FORGET_ACCURACY_TEST,
            TestName.RESTORED_HEAD_FORGET_ACCURACY,
            TestName.RESTORED_CLASSIFIER_FORGET_ACCURACY,
            TestName.REALIGNED_HEAD_FORGET_ACCURACY,
        ])

    def fewest_train_images(self) -> int:
        """How many training images of the forgotten classes a flawless result needs to pass."""
        return self._fewest([TestName.FORGET_ACCURACY_TRAIN])

    def fewest_retained_test_images(self) -> int:
        """How many test images of all retained classes together a flawless result needs to pass."""
        return self._fewest([TestName.FALSE_FORGET_RATE])

    def _fewest(self, shares: Iterable[TestName]) -> int:
        # With no error in n images the Wilson interval's upper end is z^2 / (n + z^2) (Wilson 1927); the narrowest
        # margin sets n. Differences have no such bound: an unlearned model may be better than what it is compared with.
        margins = (self.deciding[name].at_most for name in shares if name in self.deciding)
        limits = [max(CLOSEST, limit) for limit in margins if limit is not None and limit > 0]
        return max((int(-(-Z_SQUARED * (1 - limit) // limit)) for limit in limits), default=1)


def refuse_impossible(margins: Margins, *, member: str) -> None:
    """Refuse margins that no result can meet, that every result meets, or that bound the wrong side.

    Args:
        margins: as they came in.
        member: where they stand in the request body.

    Raises:
        ImpossibleThreshold: naming the first test whose margin makes no sense.
    """
    for name, margin in margins.items():
        fault = _fault(name, TESTS[name].scale, margin)
        if fault is not None:
            raise ImpossibleThreshold(fault, pointer=f"#/{member}/{name}")


def _fault(name: TestName, scale: Scale, margin: Margin) -> str | None:
    if scale.instead is not None:
        return f"Expected {scale.instead} in place of {name}, whose values no margin can be compared with."
    given: dict[Side, float] = {side: value for side, value in _sides(margin).items() if value is not None}
    needed, got = " and ".join(scale.needed), " and ".join(given)
    better = "neither end is good" if scale.direction == "two-sided" else f"{scale.direction} is better"
    if not set(scale.needed) <= set(given):
        return f"Expected {needed} for {name} ({scale.kind}, {better}), got only {got}."
    if not set(given) <= {*scale.needed, *scale.optional}:
        return f"Expected only {needed} for {name} ({scale.kind}, {better}), got {got}."
    for side, value in given.items():
        # At its very end no interval fits, because each has a width, or every interval does.
        if not scale.lowest + CLOSEST <= value <= scale.highest - CLOSEST:
            return f"Expected {side} {_inside(scale)} by {CLOSEST:g} or more for {name} ({scale.kind}), got {value:g}."
    low, high = given.get("at_least", -math.inf), given.get("at_most", math.inf)
    if low >= high:
        return f"Expected at_least below at_most for {name}, got {low:g} twice: an interval has a width."
    if scale.ideal is not None and not low < scale.ideal < high:
        return (
            f"Expected a margin around {scale.ideal:g} for {name} ({scale.kind}), which is what a model that has "
            f"forgotten gives, got {margin.model_dump(exclude_none=True)}."
        )
    return None


def _sides(margin: Margin) -> dict[Side, float | None]:
    return {"at_least": margin.at_least, "at_most": margin.at_most}


def _inside(scale: Scale) -> str:
    ends = ((scale.lowest, "above"), (scale.highest, "below"))
    return " and ".join(f"{word} {end:g}" for end, word in ends if math.isfinite(end))
