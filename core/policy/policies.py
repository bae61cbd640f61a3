"""The policies that are shipped, and how one is named.

A deciding test is an equivalence test: it passes when its whole 95 % interval lies inside the margin, so more data
makes passing easier and too little data never passes. Tests that a policy does not name inform and never block.
"""

import re
from types import MappingProxyType

from core.errors import NotFound
from core.policy.catalogue import TestName
from core.policy.margins import ImpossibleThreshold, LooserThreshold, Margin, Policy

__all__ = [
    "DESCRIPTIONS",
    "EARLIER",
    "NAME",
    "SHIPPED",
    "STANDARD",
    "STRICT",
    "WITH_REFERENCE",
    "ImpossibleThreshold",
    "LooserThreshold",
    "Margin",
    "Policy",
    "TestName",
    "UnknownPolicy",
    "find_shipped",
    "policy_named",
    "read_reference",
]

NAME = r"[a-z][a-z0-9._-]{0,63}"
"""What a policy may be called, as a regular expression; no slash, which sets the version apart."""
_REFERENCE = re.compile(rf"({NAME})(?:/([1-9][0-9]{{0,8}}))?")


class UnknownPolicy(NotFound):
    """No policy has this name, or none of its versions has this number."""

    slug = "unknown-policy"
    title = "Unknown policy"


# The margins of the shipped policies, all in this one place. They lie where they separate models whose right verdict is
# known in advance (the original, masks, destroyed and retrained ones); `expunge selftest --gate` shows the room, and
# docs/verification.md what was measured.

STANDARD_1 = Policy(
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

STANDARD_2 = Policy(
    name="standard",
    version=2,
    deciding={
        **STANDARD_1.deciding,
        TestName.WORST_CLASS_DROP: Margin(at_most=0.20),
        # Wide: an edit of the last layers together may leave a part of the class in front of them.
        TestName.RESTORED_CLASSIFIER_FORGET_ACCURACY: Margin(at_most=0.60),
        # A model that was trained without a class lowers its bias as well: retrained ones have intervals up to 14.
        TestName.HEAD_OUTLIER: Margin(at_most=20),
    },
)

STANDARD = Policy(
    name="standard",
    version=3,
    deciding={
        **STANDARD_2.deciding,
        # Features that were only turned or shuffled give 1. Retrained models reach 0.36, and 0.61 (interval to 0.71)
        # where they began with the original's own first weights and saw the images in its order.
        TestName.REALIGNED_HEAD_FORGET_ACCURACY: Margin(at_most=0.80),
    },
)

STRICT_1 = Policy(
    name="strict",
    version=1,
    deciding={
        TestName.FORGET_ACCURACY_TEST: Margin(at_most=0.05),
        TestName.FORGET_ACCURACY_TRAIN: Margin(at_most=0.05),
        TestName.RETAIN_ACCURACY_DROP: Margin(at_most=0.03),
        TestName.WORST_CLASS_DROP: Margin(at_most=0.17),
        TestName.FALSE_FORGET_RATE: Margin(at_most=0.05),
        TestName.MEMBERSHIP_AUC: Margin(at_least=0.35, at_most=0.65),
        TestName.RESTORED_HEAD_FORGET_ACCURACY: Margin(at_most=0.20),
        TestName.RESTORED_CLASSIFIER_FORGET_ACCURACY: Margin(at_most=0.30),
        TestName.HEAD_OUTLIER: Margin(at_most=18),
    },
)

STRICT = Policy(
    name="strict",
    version=2,
    deciding={**STRICT_1.deciding, TestName.REALIGNED_HEAD_FORGET_ACCURACY: Margin(at_most=0.75)},
)

WITH_REFERENCE_1 = Policy(
    name="with-reference",
    version=1,
    deciding={
        **STANDARD_2.deciding,
        TestName.PROBE_GAP: Margin(at_most=0.15),
        TestName.ALIGNED_HEAD_GAP: Margin(at_most=0.35),
        TestName.FEW_SHOT_GAP: Margin(at_most=0.45),
        TestName.RELEARNING_GAP: Margin(at_most=0.30),
        # Two retrained models are up to 0.46 apart.
        TestName.ROUTING_DISTANCE: Margin(at_most=0.55),
        TestName.RETAIN_ACCURACY_GAP: Margin(at_least=-0.05),
    },
)

WITH_REFERENCE = Policy(
    name="with-reference",
    version=2,
    deciding={**STANDARD.deciding, **WITH_REFERENCE_1.deciding},
)

SHIPPED = MappingProxyType({policy.name: policy for policy in (STANDARD, STRICT, WITH_REFERENCE)})
"""The newest version of each, by name."""
DESCRIPTIONS = MappingProxyType({
    STANDARD.name: "What the service asks of every version unless told otherwise; needs nothing but model and data.",
    STRICT.name: "The same tests with narrower margins, and few retained images taken for a forgotten class.",
    WITH_REFERENCE.name: "The standard, and what can be brought back compared with a model that never saw the classes.",
})
"""What each is for, by name."""
EARLIER = (STANDARD_2, STANDARD_1, STRICT_1, WITH_REFERENCE_1)
"""Versions that were shipped before: a verdict may name them for ever, so they can be read for ever."""


def read_reference(text: str) -> tuple[str, int | None]:
    """Name and version of a reference to a policy: `NAME` for the newest version, `NAME/VERSION` for that one.

    Raises:
        UnknownPolicy: it is neither.
    """
    found = _REFERENCE.fullmatch(text)
    if found is None:
        msg = f"Expected a policy as NAME or NAME/VERSION, got {text!r}."
        raise UnknownPolicy(msg, pointer="#/policy")
    return found[1], int(found[2]) if found[2] else None


def find_shipped(name: str, version: int | None = None) -> Policy | None:
    """The shipped policy of this name, by default in its newest version."""
    named = (policy for policy in (*SHIPPED.values(), *EARLIER) if policy.name == name)
    return next((policy for policy in named if version in (None, policy.version)), None)


def policy_named(reference: str) -> Policy:
    """The shipped policy that is meant by a reference.

    Raises:
        UnknownPolicy: there is none.
    """
    found = find_shipped(*read_reference(reference))
    if found is not None:
        return found
    msg = f"Expected one of the policies {', '.join(map(str, SHIPPED.values()))}, got {reference!r}."
    raise UnknownPolicy(msg, pointer="#/policy")
