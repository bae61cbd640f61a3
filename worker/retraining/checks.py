"""Whether a network is what a reference claims to be: it lacks the classes, and knows the others as the model does.

Both are judged on test images. This finds an original that was sent by mistake, one class too few, another data set,
a training that was given up early. It does not find malice: an original whose output for a class was masked lacks the
class by this measure, so a reference is as good as whoever trained it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.errors import Invalid
from unlearning.evaluation import Measure, paired_drop, predict_logits, wilson_interval
from worker.pipeline.data import Images

MAX_FORGET_ACCURACY = 0.05
"""The whole interval of the accuracy on each absent class lies below it. With fewer than 73 test images not even a
class that is never recognised gets there: then none of them may be recognised."""
MAX_RETAIN_DISTANCE = 0.10
"""The interval of the difference of accuracies on the other classes reaches into this distance, in either direction."""
MIN_TEST_IMAGES = 10
"""Fewest test images of an absent class, and of all others together."""

Classes = NDArray[np.int64]


class NotAReference(Invalid):
    """The network was checked, and the answer is no."""


class ReferenceHoldsClass(NotAReference):
    """The reference recognises a class that it should never have seen."""

    slug = "reference-holds-class"
    title = "The reference still recognises a class"


class ReferenceTooFar(NotAReference):
    """Its accuracy on the other classes is not that of the model: comparing the two would tell nothing."""

    slug = "reference-too-far"
    title = "The reference is too far from the model"


class TooFewTestImages(Invalid):
    """There are too few images to tell."""

    slug = "too-few-samples"
    title = "Too few images"


@dataclass(frozen=True)
class Found:
    """What the check measured."""

    forget: dict[int, Measure]
    """Accuracy on each absent class."""
    retain: Measure
    retain_drop: Measure
    """Accuracy of the original minus that of the reference on the other classes."""

    def as_json(self) -> dict[str, Any]:
        forget = [{"class_index": index, **_number(measure)} for index, measure in self.forget.items()]
        return {
            "forget_accuracy": forget,
            "retain_accuracy": _number(self.retain),
            "retain_accuracy_drop": _number(self.retain_drop),
        }


def measure(reference: nn.Module, original: nn.Module, test: Images, absent: list[int]) -> Found:
    """Measure a reference beside the model's original, on test images.

    The original chooses among the classes that the reference has seen: otherwise the reference would be ahead merely
    for having fewer to choose from.

    Raises:
        TooFewTestImages: some side has too few to tell.
        UnlearningError: a network's outputs are not finite.
    """
    _refuse_few(test, absent)
    answers = predict_logits(reference, test.batches()).argmax(dim=1).numpy()
    among_present = predict_logits(original, test.batches())
    among_present[:, absent] = -torch.inf
    kept = ~np.isin(test.labels, absent)
    right = answers == test.labels
    before = _right(among_present, test.labels)
    return Found(
        {index: _accuracy(f"forget_accuracy_{index}", right[test.labels == index], "lower") for index in absent},
        _accuracy("retain_accuracy", right[kept], "higher"),
        paired_drop(before[kept], right[kept], name="retain_accuracy_drop"),
    )


def refuse_unfit(found: Found) -> None:
    """Refuse what is no reference.

    Raises:
        ReferenceHoldsClass: it recognises a class that should be absent.
        ReferenceTooFar: it is worse, or better, on the others than the original is.
    """
    held = [index for index, one in found.forget.items() if not _is_absent(one)]
    if held:
        which = "; ".join(f"class {index} ({_share(found.forget[index])})" for index in held[:5])
        more = f" and {len(held) - 5} more" if len(held) > 5 else ""
        msg = f"Expected a reference that lacks the absent classes, got one that still recognises {which}{more}."
        raise ReferenceHoldsClass(msg, class_indices=held)
    low, high = found.retain_drop.low or 0.0, found.retain_drop.high or 0.0
    if low > MAX_RETAIN_DISTANCE or high < -MAX_RETAIN_DISTANCE:
        how = "worse" if low > 0 else "better"
        msg = (
            f"Expected a reference within {MAX_RETAIN_DISTANCE:.0%} of the original on the other classes, got one that "
            f"is {abs(found.retain_drop.value):.0%} {how} ({_share(found.retain)})."
        )
        raise ReferenceTooFar(msg)


def _is_absent(found: Measure) -> bool:
    attainable = wilson_interval(0, found.n)[1]
    return (found.high or 0.0) <= max(MAX_FORGET_ACCURACY, attainable)


def _refuse_few(test: Images, absent: list[int]) -> None:
    sides = {f"class index {index}": int((test.labels == index).sum()) for index in absent}
    sides["the other classes"] = len(test) - sum(sides.values())
    for whose, count in sides.items():
        if count < MIN_TEST_IMAGES:
            msg = f"Expected at least {MIN_TEST_IMAGES} test images of {whose}, got {count}."
            raise TooFewTestImages(msg, split="test", count=count, limit=MIN_TEST_IMAGES)


def _right(logits: Tensor, labels: Classes) -> NDArray[np.bool_]:
    return np.asarray(logits.argmax(dim=1).numpy() == labels)


def _accuracy(name: str, right: NDArray[np.bool_], direction: Any) -> Measure:
    hits, n = int(right.sum()), len(right)
    return Measure(name, hits / n, *wilson_interval(hits, n), n, None, direction)


def _share(measure: Measure) -> str:
    return f"{measure.value:.0%} of {measure.n:,} test images"


def _number(measure: Measure) -> dict[str, Any]:
    return {name: value for name, value in measure.as_dict().items() if name != "name"}
