"""Policies: which tests decide, and how wide their margins are.

A deciding test is an equivalence test: it passes when its whole 95 % interval lies inside the margin, so more data
makes passing easier and too little data never passes. Tests that a policy does not name inform and never block.
"""

from enum import StrEnum
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.errors import Invalid, NotFound


class UnknownPolicy(NotFound):
    """No policy has this name."""

    slug = "unknown-policy"
    title = "Unknown policy"


class LooserThreshold(Invalid):
    """A request asked for a wider margin than its policy allows."""

    slug = "looser-threshold"
    title = "A threshold may only be tightened"


class ImpossibleThreshold(Invalid):
    """A request asked for a margin that no result can meet."""

    slug = "impossible-threshold"
    title = "No result could pass this threshold"


class TestName(StrEnum):
    """The tests that a policy may name; each is measured for every unlearning job."""

    __test__ = False  # pytest collects classes called Test*

    FORGET_ACCURACY_TEST = "forget_accuracy_test"
    """Share of the forgotten classes' test images still classified as theirs."""
    FORGET_ACCURACY_TRAIN = "forget_accuracy_train"
    """The same on the training images that were to be forgotten."""
    RETAIN_ACCURACY_DROP = "retain_accuracy_drop"
    """Accuracy on the retained classes' test images: original minus unlearned."""
    FALSE_FORGET_RATE = "false_forget_rate"
    """Share of the retained classes' test images now taken for a forgotten class."""
    MEMBERSHIP_AUC = "membership_auc"
    """Membership attack: training against test images of the forgotten classes; 0.5 tells nothing apart."""
    RESTORED_HEAD_FORGET_ACCURACY = "restored_head_forget_accuracy"
    """Forget accuracy after the original's last layer is put back on the new features."""


RATES = frozenset(TestName) - {TestName.RETAIN_ACCURACY_DROP, TestName.MEMBERSHIP_AUC}
"""Shares of images: their interval reaches above 0 however many images there are."""


class Margin(BaseModel):
    """Where the whole interval must lie; an absent side is open."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at_least: float | None = Field(None, ge=-1.0, le=1.0)
    at_most: float | None = Field(None, ge=-1.0, le=1.0)

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


class Policy(BaseModel):
    """A named, versioned set of deciding tests."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: int
    deciding: dict[TestName, Margin]

    def tightened(self, thresholds: dict[TestName, Margin]) -> "Policy":
        """The policy with narrower margins, or with further tests made deciding.

        Raises:
            LooserThreshold: a margin is wider than the policy's own.
            ImpossibleThreshold: a share of images is to be 0 with certainty.
        """
        for name, margin in thresholds.items():
            if name in RATES and margin.at_most is not None and margin.at_most <= 0:
                msg = f"Expected at_most above 0 for {name}: an interval from finitely many images never ends at 0."
                raise ImpossibleThreshold(msg, pointer=f"#/thresholds/{name}")
            own = self.deciding.get(name)
            if own is not None and not margin.is_within(own):
                msg = (
                    f"Expected {name} within {own.model_dump(exclude_none=True)} of policy {self.name!r}, "
                    f"got {margin.model_dump(exclude_none=True)}."
                )
                raise LooserThreshold(msg, pointer=f"#/thresholds/{name}")
        return self.model_copy(update={"deciding": {**self.deciding, **thresholds}})

    def fewest_test_images(self) -> int:
        """How many test images of the forgotten classes a flawless result needs to pass."""
        return self._fewest(TestName.FORGET_ACCURACY_TEST, TestName.RESTORED_HEAD_FORGET_ACCURACY)

    def fewest_train_images(self) -> int:
        """How many training images of the forgotten classes a flawless result needs to pass."""
        return self._fewest(TestName.FORGET_ACCURACY_TRAIN)

    def _fewest(self, *names: TestName) -> int:
        # With no error in n images the Wilson interval's upper end is z^2 / (n + z^2) (Wilson 1927); the narrowest
        # margin sets n.
        z_squared = 1.959964**2
        margins = (self.deciding[name].at_most for name in names if name in self.deciding)
        limits = [limit for limit in margins if limit is not None and limit > 0]
        return max((int(-(-z_squared * (1 - limit) // limit)) for limit in limits), default=1)


STANDARD = Policy(
    name="standard",
    version=1,
    deciding={
        TestName.FORGET_ACCURACY_TEST: Margin(at_most=0.10),
        TestName.FORGET_ACCURACY_TRAIN: Margin(at_most=0.10),
        TestName.RETAIN_ACCURACY_DROP: Margin(at_most=0.05),
        TestName.MEMBERSHIP_AUC: Margin(at_least=0.30, at_most=0.70),
        TestName.RESTORED_HEAD_FORGET_ACCURACY: Margin(at_most=0.25),
    },
)

SHIPPED = MappingProxyType({STANDARD.name: STANDARD})


def policy_named(name: str) -> Policy:
    """The policy of this name.

    Raises:
        UnknownPolicy: there is none.
    """
    try:
        return SHIPPED[name]
    except KeyError:
        msg = f"Expected one of the policies {', '.join(sorted(SHIPPED))}, got {name!r}."
        raise UnknownPolicy(msg, pointer="#/policy") from None
