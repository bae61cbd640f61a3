"""Whether a data set can carry a request: its labels are the model's, and there are enough images to measure with."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.datasets.service import MissingSplit
from core.errors import Invalid
from core.policy.policies import Policy, TestName
from models_store.tables import Dataset, Model

MIN_TRAIN = 20
"""Fewest training images of a class to be deleted: fewer span no space to remove."""
MIN_TEST = 10
"""Fewest test images of a class to be deleted."""
MAX_LISTED = 100


class LabelMismatch(Invalid):
    """The data set and the model do not speak of the same classes."""

    slug = "label-mismatch"
    title = "Labels of data set and model differ"


class TooFewSamples(Invalid):
    """No verdict could be reached with so few images."""

    slug = "too-few-samples"
    title = "Too few images"


@dataclass(frozen=True)
class Counts:
    """Images per split and class index of the model."""

    splits: dict[str, dict[int, int]]

    def of(self, split: str, index: int) -> int:
        """Images of one class in one split."""
        return self.splits.get(split, {}).get(index, 0)


def count_images(dataset: Dataset, model: Model, forgotten: set[int]) -> Counts:
    """The data set's images by the model's class indices.

    Classes deleted before need not be in it any more.

    Raises:
        MissingSplit: there is no train or no test split.
        LabelMismatch: it has labels that the model lacks, or lacks labels of the model.
    """
    summary = dataset.summary or {}
    by_split: dict[str, dict[str, int]] = summary.get("splits") or summary.get("counts") or {}
    for split in ("train", "test"):
        if not by_split.get(split):
            msg = f"Expected data set {dataset.name!r} to have a {split} split, got {', '.join(by_split) or 'none'}."
            raise MissingSplit(msg, pointer="#/dataset", split=split)
    index_of = _index_of(dataset, model, summary)
    found = {label for counts in by_split.values() for label, count in counts.items() if count}
    known = {index_of[_normal(label)] for label in found if _normal(label) in index_of}
    unknown = sorted(label for label in found if _normal(label) not in index_of)
    missing = sorted(set(range(len(model.labels))) - known - forgotten)
    if unknown or missing:
        _refuse_labels(unknown, [model.labels[index] for index in missing])
    return Counts({
        split: {index_of[_normal(label)]: count for label, count in counts.items() if _normal(label) in index_of}
        for split, counts in by_split.items()
    })


def _index_of(dataset: Dataset, model: Model, summary: dict[str, Any]) -> dict[str, int]:
    """How the data set's labels map to class indices; those of a bare array are the model's indices already."""
    by_label = {_normal(label): index for index, label in enumerate(model.labels)}
    if not summary.get("labels_are_indices", not dataset.labels):
        return by_label
    by_index = {str(index): index for index in range(len(model.labels))}
    names = [_normal(str(name)) for name in dataset.labels or []]
    if any(name not in by_index for name in names) and names != list(by_label):
        # Names given for an array's integers: their order is their meaning, so it must be the model's.
        only = [name for name in names if name not in by_label]
        _refuse_labels(only, [label for label in model.labels if _normal(label) not in names])
    return by_index


def _refuse_labels(only_in_dataset: Sequence[str], only_in_model: Sequence[str]) -> None:
    msg = (
        "Expected data set and model to have the same labels, in the same order where they are numbered, "
        f"got {len(only_in_dataset)} only in the data set and {len(only_in_model)} only in the model."
    )
    raise LabelMismatch(
        msg,
        pointer="#/dataset",
        only_in_dataset=list(only_in_dataset)[:MAX_LISTED],
        only_in_model=list(only_in_model)[:MAX_LISTED],
    )


def refuse_few_samples(
    counts: Counts,
    policy: Policy,
    forget: Sequence[int],
    retain: Sequence[int],
    *,
    also_erased: Sequence[int] = (),
    gone: Sequence[int] = (),
) -> None:
    """Refuse what could not be erased or verified for want of images.

    Args:
        counts: images of the data set.
        policy: whose margins must be within reach.
        forget: classes the request names, in its order.
        retain: classes that stay.
        also_erased: classes deleted before that the base holds nevertheless; they are erased again.
        gone: classes deleted before; they are verified again as far as there are images of them left.

    Raises:
        TooFewSamples: naming the first class, split, count and limit that do not fit.
    """
    pointers = {index: f"#/classes/{position}" for position, index in enumerate(forget)}
    for index in (*forget, *also_erased):
        pointer = pointers.get(index, "#/dataset")
        _expect(counts.of("train", index), MIN_TRAIN, "train", pointer, class_index=index)
        _expect(counts.of("test", index), MIN_TEST, "test", pointer, class_index=index)
    # Each class is judged alone: the others may not make up for its want of images.
    for split, limit in (("train", policy.fewest_train_images()), ("test", policy.fewest_test_images())):
        for index in (*forget, *also_erased, *(index for index in gone if counts.of(split, index))):
            _expect(counts.of(split, index), limit, split, pointers.get(index, "#/dataset"), class_index=index)
    for index in retain:
        _expect(counts.of("train", index), 1, "train", "#/dataset", class_index=index)
        if TestName.WORST_CLASS_DROP in policy.deciding:
            _expect(counts.of("test", index), 1, "test", "#/dataset", class_index=index)
    together = sum(counts.of("test", index) for index in retain)
    _expect(together, policy.fewest_retained_test_images(), "test", "#/dataset", retained=len(retain))


def _expect(count: int, limit: int, split: str, pointer: str, **which: int) -> None:
    if count < limit:
        if "class_index" in which:
            whose = f"class index {which['class_index']}"
        else:
            whose = f"the {which['retained']} classes that stay"
        msg = f"Expected at least {limit} {split} images of {whose}, got {count}."
        raise TooFewSamples(msg, pointer=pointer, split=split, count=count, limit=limit, **which)


def _normal(label: str) -> str:
    return unicodedata.normalize("NFC", label)
