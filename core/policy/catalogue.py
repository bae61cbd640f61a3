"""Every test that a policy may name: what its value means, what it can be at all, and which margins make sense for it.

A name is never removed: stored verdicts hold it.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

Side = Literal["at_least", "at_most"]
Direction = Literal["lower", "higher", "two-sided"]


class TestName(StrEnum):
    """The tests by name, those of one tier together; `TESTS` says what each of them is."""

    __test__ = False  # pytest collects classes called Test*

    FORGET_ACCURACY_TEST = "forget_accuracy_test"
    """Share of the forgotten classes' test images still classified as theirs."""
    FORGET_ACCURACY_TRAIN = "forget_accuracy_train"
    """The same on the training images that were to be forgotten."""
    RETAIN_ACCURACY_DROP = "retain_accuracy_drop"
    """Accuracy on the retained classes' test images: original minus unlearned."""
    WORST_CLASS_DROP = "worst_class_drop"
    """The same for the one retained class that lost most."""
    FALSE_FORGET_RATE = "false_forget_rate"
    """Share of the retained classes' test images now taken for a forgotten class."""
    MEMBERSHIP_AUC = "membership_auc"
    """Membership attack: training against test images of the forgotten classes; 0.5 tells nothing apart."""
    RETAIN_MEMBERSHIP_CHANGE = "retain_membership_change"
    """AUC of the same attack on the retained classes: unlearned minus original."""
    RESTORED_HEAD_FORGET_ACCURACY = "restored_head_forget_accuracy"
    """What of the original's forget accuracy its last layer finds in new features, times what else it still finds."""
    RESTORED_CLASSIFIER_FORGET_ACCURACY = "restored_classifier_forget_accuracy"
    """The same with the original's whole classifier."""
    REALIGNED_HEAD_FORGET_ACCURACY = "realigned_head_forget_accuracy"
    """The same with the original's last layer, once a linear map fitted on retained images led the features there."""
    HEAD_OUTLIER = "head_outlier"
    """How far biases or row norms of the forgotten classes lie outside those of the others, in their spreads."""

    TOW = "tow"
    """Tug-of-war: product of 1 minus the distance from the reference's forget, retain and test accuracy; 1 is equal."""
    PROBE_GAP = "probe_gap"
    """Forget accuracy of a linear probe on the penultimate features: unlearned minus reference."""
    EARLY_PROBE_GAP = "early_probe_gap"
    """The same on the features of an earlier stage."""
    ALIGNED_HEAD_GAP = "aligned_head_gap"
    """Forget accuracy with the original's last layer, once a linear map led the features there: the same difference."""
    FEW_SHOT_GAP = "few_shot_gap"
    """Forget accuracy of class centres made of a few images: unlearned minus reference."""
    PROTOTYPE_GAP = "prototype_gap"
    """Forget accuracy once a prototype is written into the forgotten rows: unlearned minus reference."""
    RELEARNING_GAP = "relearning_gap"
    """Forget accuracy after a few training steps on all weights: unlearned minus reference."""
    RELEARNING_HEAD_GAP = "relearning_head_gap"
    """The same with the last layer trained alone."""
    ROUTING_DISTANCE = "routing_distance"
    """Total variation between both models' outputs over the retained classes, on forgotten images."""
    JS_DISTANCE = "js_distance"
    """Jensen-Shannon divergence, in bits, between both models' outputs on forgotten images."""
    CKA_REFERENCE = "cka_reference"
    """Centred kernel alignment of both models' features of forgotten images; 1 is equal."""
    IDI = "idi"
    """Information difference index: 0 as the reference, 1 as the original, below 0 beyond the reference."""
    RETAIN_ACCURACY_GAP = "retain_accuracy_gap"
    """Accuracy on the retained classes' test images: unlearned minus reference."""

    U_LIRA_AUC = "u_lira_auc"
    """Per-example likelihood-ratio attack between unlearned and never trained; 0.5 tells nothing apart."""
    RMIA_AUC = "rmia_auc"
    """Relative membership inference attack with shadow models; 0.5 tells nothing apart."""
    KLOM = "klom"
    """KL divergence of margins between unlearned and retrained models, averaged over the forgotten images; it depends
    on their number and cannot decide."""
    KLOM_EXCESS = "klom_excess"
    """What of that lies above the divergence of retrained models from each other."""
    CHALLENGE_EPSILON = "challenge_epsilon"
    """Epsilon of the best single attack of the public unlearning challenge, averaged over the forgotten images."""
    CHALLENGE_SCORE = "challenge_score"
    """Final score of the public unlearning challenge: forgetting quality times utility."""


class Tier(StrEnum):
    """What a test needs beside the model and its data."""

    ALWAYS = "always"
    """Nothing."""
    REFERENCE = "reference"
    """A registered model that was trained without the classes."""
    AUDIT = "audit"
    """Pairs of shadow models, made for a request that asks for them."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What values can be, and which margins can be asked for."""

    kind: str
    lowest: float
    highest: float
    direction: Direction
    """Which way is better; "two-sided" when both ends are bad."""
    needed: tuple[Side, ...]
    """The sides that a margin must give."""
    optional: tuple[Side, ...] = ()
    """The sides that it may give as well: for values that can be too good to be true."""
    ideal: float | None = None
    """What a margin must lie around: no model that has forgotten could pass another one."""
    instead: TestName | None = None
    """The test that decides in its place: this one's values cannot be compared with a margin."""


@dataclass(frozen=True)
class Facts:
    """One test: what it needs, and what its values are."""

    tier: Tier
    scale: Scale


FLOOR: tuple[Side, ...] = ("at_least",)
CEILING: tuple[Side, ...] = ("at_most",)

SHARE = Scale(kind="share", lowest=0, highest=1, direction="lower", needed=CEILING)
LOSS = Scale(kind="signed difference", lowest=-1, highest=1, direction="lower", needed=CEILING, optional=FLOOR)
EXCESS = replace(LOSS, direction="two-sided", ideal=0)
SHORTFALL = replace(EXCESS, needed=FLOOR, optional=CEILING)
AUC = Scale(kind="AUC", lowest=0, highest=1, direction="two-sided", needed=FLOOR + CEILING, ideal=0.5)
AGREEMENT = Scale(kind="agreement", lowest=0, highest=1, direction="higher", needed=FLOOR)
DISTANCE = Scale(kind="distance", lowest=0, highest=1, direction="lower", needed=CEILING)
OPEN_DISTANCE = replace(DISTANCE, highest=math.inf)
INDEX = replace(EXCESS, kind="index", lowest=-math.inf, highest=math.inf)
EPSILON = Scale(kind="epsilon", lowest=0, highest=50, direction="lower", needed=CEILING)
SCORE = Scale(kind="score", lowest=0, highest=math.inf, direction="higher", needed=FLOOR)

_SCALES: dict[Tier, dict[TestName, Scale]] = {
    Tier.ALWAYS: {
        TestName.FORGET_ACCURACY_TEST: SHARE,
        TestName.FORGET_ACCURACY_TRAIN: SHARE,
        TestName.RETAIN_ACCURACY_DROP: LOSS,
        TestName.WORST_CLASS_DROP: LOSS,
        TestName.FALSE_FORGET_RATE: SHARE,
        TestName.MEMBERSHIP_AUC: AUC,
        TestName.RETAIN_MEMBERSHIP_CHANGE: LOSS,
        TestName.RESTORED_HEAD_FORGET_ACCURACY: SHARE,
        TestName.RESTORED_CLASSIFIER_FORGET_ACCURACY: SHARE,
        TestName.REALIGNED_HEAD_FORGET_ACCURACY: SHARE,
        TestName.HEAD_OUTLIER: OPEN_DISTANCE,
    },
    Tier.REFERENCE: {
        TestName.TOW: AGREEMENT,
        TestName.PROBE_GAP: EXCESS,
        TestName.EARLY_PROBE_GAP: EXCESS,
        TestName.ALIGNED_HEAD_GAP: EXCESS,
        TestName.FEW_SHOT_GAP: EXCESS,
        TestName.PROTOTYPE_GAP: EXCESS,
        TestName.RELEARNING_GAP: EXCESS,
        TestName.RELEARNING_HEAD_GAP: EXCESS,
        TestName.ROUTING_DISTANCE: DISTANCE,
        TestName.JS_DISTANCE: DISTANCE,
        TestName.CKA_REFERENCE: AGREEMENT,
        TestName.IDI: INDEX,
        TestName.RETAIN_ACCURACY_GAP: SHORTFALL,
    },
    Tier.AUDIT: {
        TestName.U_LIRA_AUC: AUC,
        TestName.RMIA_AUC: AUC,
        TestName.KLOM: replace(OPEN_DISTANCE, instead=TestName.KLOM_EXCESS),
        TestName.KLOM_EXCESS: replace(LOSS, kind="nats", lowest=-math.inf, highest=math.inf),
        TestName.CHALLENGE_EPSILON: EPSILON,
        TestName.CHALLENGE_SCORE: SCORE,
    },
}

TESTS = MappingProxyType({name: Facts(tier, scale) for tier, some in _SCALES.items() for name, scale in some.items()})
"""Every test, in the order of the names."""
