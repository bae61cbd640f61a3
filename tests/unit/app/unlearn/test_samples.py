"""Counting a data set's images by the model's classes."""

from typing import Any

import pytest

from app.datasets.service import MissingSplit
from app.unlearn.samples import LabelMismatch, count_images
from models_store.tables import Dataset, Model

MODEL = Model(name="m", labels=["zero", "one", "two"])
NUMBERED = {"train": {"0": 5, "1": 6, "2": 7}, "test": {"0": 1, "1": 2, "2": 3}}
NAMED = {split: dict(zip(MODEL.labels, counts.values(), strict=True)) for split, counts in NUMBERED.items()}


def dataset(summary: dict[str, Any], labels: list[str] | None = None) -> Dataset:
    return Dataset(name="d", labels=labels, summary=summary)


@pytest.mark.parametrize(
    "given",
    [
        dataset({"splits": NUMBERED}),
        dataset({"splits": NUMBERED}, []),
        dataset({"counts": NUMBERED, "labels_are_indices": True}, ["0", "1", "2"]),
        dataset({"counts": NUMBERED, "labels_are_indices": True}, ["zero", "one", "two"]),
        dataset({"splits": NAMED}, ["one", "two", "zero"]),
        dataset({"counts": NAMED, "labels_are_indices": False}, ["one", "two", "zero"]),
    ],
)
def test_labels_and_indices_count_the_same(given: Dataset) -> None:
    counts = count_images(given, MODEL, set())
    assert [counts.of("train", index) for index in range(3)] == [5, 6, 7]
    assert [counts.of("test", index) for index in range(3)] == [1, 2, 3]
    assert counts.of("validation", 0) == 0


def test_names_of_numbers_in_another_order_are_refused() -> None:
    given = dataset({"counts": NUMBERED, "labels_are_indices": True}, ["one", "zero", "two"])
    with pytest.raises(LabelMismatch):
        count_images(given, MODEL, set())


def test_a_number_the_model_does_not_have_is_refused() -> None:
    with pytest.raises(LabelMismatch) as raised:
        count_images(dataset({"splits": {**NUMBERED, "test": {"3": 1}}}), MODEL, set())
    assert raised.value.extensions["only_in_dataset"] == ["3"]


def test_a_label_without_images_is_as_good_as_none() -> None:
    given = dataset({"splits": {split: {**counts, "ghost": 0} for split, counts in NAMED.items()}}, ["one"])
    assert count_images(given, MODEL, set()).of("train", 0) == 5


def test_a_deleted_class_need_not_be_in_the_data_set() -> None:
    rest = {split: {"zero": 9, "one": 9} for split in ("train", "test")}
    given = dataset({"splits": rest}, ["zero", "one"])
    assert count_images(given, MODEL, {2}).of("train", 1) == 9
    with pytest.raises(LabelMismatch) as raised:
        count_images(given, MODEL, set())
    assert raised.value.extensions["only_in_model"] == ["two"]


def test_composed_and_decomposed_spellings_are_one_label() -> None:
    model = Model(name="m", labels=["é", "b"])
    given = dataset({"splits": {split: {"e\u0301": 4, "b": 4} for split in ("train", "test")}}, ["e\u0301", "b"])
    assert count_images(given, model, set()).of("train", 0) == 4


@pytest.mark.parametrize("missing", ["train", "test"])
def test_both_splits_are_needed(missing: str) -> None:
    splits = {split: counts for split, counts in NAMED.items() if split != missing}
    with pytest.raises(MissingSplit) as raised:
        count_images(dataset({"splits": splits}), MODEL, set())
    assert raised.value.extensions["split"] == missing
