"""What is measured of every network by its outputs and its last layer."""

from collections.abc import Callable
from functools import partial

from core.policy.policies import TestName
from unlearning.errors import EmptySide
from unlearning.evaluation import (
    Measure,
    accuracy_among,
    accuracy_measures,
    bias_measures,
    calibration_error,
    composite_score,
    confidence_measures,
    confusion_matrix,
    head_outlier,
    membership_auc,
    membership_measures,
    nearest_classes,
    predict_logits,
    random_copy,
    svc_score,
    top_k_forget_accuracy,
    zrf,
)
from worker.pipeline.verification.findings import by_name
from worker.pipeline.verification.subject import Subject

TOP = 5
SPLITS = ("test", "train")
NEAREST = 3
FEWER_RESAMPLES = 200
"""For the membership scores that inform."""


def retain_accuracy(subject: Subject, split: str, *, kind: str = "retain_accuracy") -> Measure:
    """`retain_accuracy`, `..._macro`, `..._worst_class` or `false_forget_rate` of a split."""
    confusion = confusion_matrix(subject.images(split).labels, subject.outputs(split))
    return _named(accuracy_measures(confusion, subject.scene.deletion.forget, split=split), f"{split}_{kind}")


def forget_accuracy(subject: Subject, split: str) -> Measure:
    def measure(classes: list[int]) -> Measure:
        logits, labels = subject.side(split, classes)
        found = accuracy_measures(confusion_matrix(labels, logits), classes, split=split)
        return _named(found, f"{split}_forget_accuracy")

    return subject.scene.deletion.worst(measure, upper_end)


def top_forget_accuracy(subject: Subject, split: str) -> Measure:
    def measure(classes: list[int]) -> Measure:
        return top_k_forget_accuracy(*subject.side(split, classes), classes, k=TOP)

    return subject.scene.deletion.worst(measure, upper_end)


def composite(subject: Subject) -> Measure:
    """The published score of a deletion, which a mask reaches as well."""
    confusion = confusion_matrix(subject.images("test").labels, subject.outputs("test"))
    return composite_score(confusion, subject.scene.deletion.forget)


def membership(subject: Subject) -> Measure:
    def attack(classes: list[int]) -> Measure:
        sides = subject.side("train", classes), subject.side("test", classes)
        return membership_auc(*sides[0], *sides[1], seed=subject.scene.deletion.seed)

    return subject.scene.deletion.worst(attack, _distance_from_chance)


def further_membership(subject: Subject) -> dict[str, Measure]:
    """The other scores, and what the attack achieves at one threshold, on all forgotten classes."""
    forget, seed = subject.scene.deletion.forget, subject.scene.deletion.seed
    sides = subject.side("train", forget), subject.side("test", forget)
    found = membership_measures(*sides[0], *sides[1], seed=seed, resamples=FEWER_RESAMPLES)
    return {measure.name: measure for measure in found if measure.name != TestName.MEMBERSHIP_AUC}


def paper_score(subject: Subject) -> Measure:
    forget, kept = subject.scene.deletion.forget, subject.scene.deletion.kept
    sides = subject.side("train", kept), subject.side("train", forget), subject.side("test", forget)
    return svc_score(*sides, seed=subject.scene.deletion.seed)


def head(subject: Subject) -> Measure:
    deletion = subject.scene.deletion
    return head_outlier(subject.model, subject.scene.head, deletion.erase, deletion.erased_before)


def biases(subject: Subject) -> dict[str, Measure]:
    deletion = subject.scene.deletion
    return by_name(bias_measures(subject.model, subject.scene.head, deletion.erase, deletion.erased_before))


def calibration(subject: Subject) -> Measure:
    return calibration_error(*subject.side("test", subject.scene.deletion.kept))


def confidence(subject: Subject) -> dict[str, Measure]:
    return by_name(confidence_measures(subject.side("test", subject.scene.deletion.forget)[0]))


def random_likeness(subject: Subject) -> Measure:
    """ZRF: how like those of a network that knows nothing the outputs on forgotten images are."""
    scene = subject.scene
    ignorant = random_copy(scene.original, seed=scene.deletion.seed)
    siege = subject.siege.get()
    return zrf(siege.test.logits, predict_logits(ignorant.model, siege.x_test), seed=scene.deletion.seed)


def nearest_accuracy(subject: Subject, original: Subject) -> Measure:
    """Accuracy on the retained classes that the original confuses the forgotten ones with most."""
    forget = subject.scene.deletion.forget
    near = nearest_classes(original.side("test", forget)[0], forget, NEAREST)
    return accuracy_among(subject.right("test"), subject.images("test").labels, near)


Single = Callable[[Subject], Measure]
Several = Callable[[Subject], dict[str, Measure]]

TESTS: dict[TestName, Single] = {
    TestName.FORGET_ACCURACY_TEST: partial(forget_accuracy, split="test"),
    TestName.FORGET_ACCURACY_TRAIN: partial(forget_accuracy, split="train"),
    TestName.FALSE_FORGET_RATE: partial(retain_accuracy, split="test", kind="false_forget_rate"),
    TestName.MEMBERSHIP_AUC: membership,
    TestName.HEAD_OUTLIER: head,
}
"""Those that a policy may name."""

INFORMING: dict[str, Single] = {
    "retain_accuracy_test": partial(retain_accuracy, split="test"),
    "retain_accuracy_train": partial(retain_accuracy, split="train"),
    "retain_accuracy_macro": partial(retain_accuracy, split="test", kind="retain_accuracy_macro"),
    "retain_accuracy_worst_class": partial(retain_accuracy, split="test", kind="retain_accuracy_worst_class"),
    "composite": composite,
    "svc_score": paper_score,
    "retain_calibration_error": calibration,
    "zrf": random_likeness,
}
"""Those that no policy may name."""

INFORMING_TOGETHER: dict[str, Several] = {
    "membership": further_membership,
    "head_bias": biases,
    "confidence": confidence,
}
"""Several at once, under their own names."""


def upper_end(measure: Measure) -> float:
    """What `Deletion.worst` compares where lower is better."""
    return measure.value if measure.high is None else measure.high


def _distance_from_chance(measure: Measure) -> float:
    low, high = (measure.value if end is None else end for end in (measure.low, measure.high))
    return max(high - 0.5, 0.5 - low)


def _named(measures: tuple[Measure, ...], name: str) -> Measure:
    for measure in measures:
        if measure.name == name:
            return measure
    raise EmptySide(name.replace("_", " "))
