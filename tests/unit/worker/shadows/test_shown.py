"""What the models of an audit are shown: the same images for all of them, and none that would give the answer away."""

from dataclasses import replace
from io import BytesIO
from typing import Any, cast

import numpy as np
import pytest
import torch

from cli.demo.digits import LABELS, load_digits
from models_store.datasets import ImageSet
from models_store.input_spec import InputSpec
from unlearning.errors import NonFinite
from unlearning.evaluation.audit import ShadowRecord
from worker.pipeline.data import Images
from worker.pipeline.materials import Blueprint
from worker.pipeline.outputs import Loaded
from worker.retraining.training import fresh_network
from worker.shadows.shown import Shown, to_bytes
from worker.shadows.subject import Splits, Subject

SPEC = InputSpec(height=8, width=8, channels=1, mean=(0.3,), std=(0.37,))
CPU = torch.device("cpu")
LOADED = Loaded(
    model_id=1,
    base_version_id=1,
    base_version=1,
    base_sha256="ab" * 32,
    dataset_id=1,
    files={"train": "aa" * 32, "test": "bb" * 32},
    forget=[3, 7],
    erase=[3],
)
"""Class 7 left the model earlier; this request erased class 3."""


@pytest.fixture(scope="module")
def splits() -> Splits:
    torch.set_num_threads(1)
    digits = load_digits(0)
    train, test = (Images.whole(ImageSet(part.x, part.y), SPEC) for part in (digits.train, digits.test))
    return Splits(train, test, None)


def subject(loaded: Loaded = LOADED) -> Subject:
    """A request of which only what it worked on matters."""
    nothing = cast(Any, None)
    return Subject("t", nothing, loaded, "cd" * 32, nothing, nothing)


def network() -> torch.nn.Module:
    return fresh_network(Blueprint("expunge/small_convnet", {"width": 8}, LABELS, SPEC), 0, CPU).eval()


def test_forgotten_and_population_are_of_the_erased_class_and_of_different_splits(splits: Splits) -> None:
    shown = Shown.of(subject(), splits, seed=1)
    assert set(shown.forgotten.labels) == set(shown.population.labels) == {3}
    assert shown.forgotten.pixels is splits.train.pixels
    assert shown.population.pixels is splits.test.pixels
    assert len(shown.forgotten) == (splits.train.labels == 3).sum()
    for images in (shown.retained, shown.tested):
        assert set(images.labels) == set(range(10)) - {3, 7}


def test_unlearned_shadows_never_see_what_was_gone_before_and_retrained_ones_nothing_that_must_be(
    splits: Splits,
) -> None:
    assert set(splits.trained_on(LOADED.erased_before).labels) == set(range(10)) - {7}
    assert set(splits.trained_on(LOADED.forget).labels) == set(range(10)) - {3, 7}
    assert len(splits.trained_on([])) == len(splits.train)


def test_the_name_of_the_images_changes_with_whatever_decides_them(splits: Splits) -> None:
    others = [
        (LOADED, 2),
        (LOADED.model_copy(update={"files": {"train": "ff" * 32, "test": "bb" * 32}}), 1),
        (LOADED.model_copy(update={"erase": [7]}), 1),
        (LOADED.model_copy(update={"forget": [3]}), 1),
    ]
    names = [Shown.of(subject(loaded), splits, seed=seed).name for loaded, seed in [(LOADED, 1), *others]]
    assert len(set(names)) == len(names)
    assert Shown.of(subject(), splits, seed=1).name == names[0]


def test_a_record_is_what_the_network_answers_and_reads_back_as_written(splits: Splits) -> None:
    shown, model = Shown.of(subject(), splits, seed=1), network()
    record = shown.to(model, "retrained", 4, 99)
    with torch.no_grad():
        expected = model(shown.forgotten.tensor()).numpy()
        right = model(shown.retained.tensor()).argmax(dim=1).numpy() == shown.retained.labels
    np.testing.assert_allclose(record.logits, expected, rtol=1e-4, atol=1e-5)
    assert record.retain_accuracy == pytest.approx(right.mean())
    assert (record.population, record.index, record.seed, record.samples) == ("retrained", 4, 99, shown.name)
    again = ShadowRecord.load(BytesIO(to_bytes(record)))
    np.testing.assert_array_equal(again.logits, record.logits)
    np.testing.assert_array_equal(again.z_labels, record.z_labels)
    assert to_bytes(again) == to_bytes(record)


def test_a_network_that_answers_nan_leaves_no_record(splits: Splits) -> None:
    model = network()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(NonFinite):
        Shown.of(subject(), splits, seed=1).to(model, "unlearned", 0, 1)
    assert replace(subject(), tenant="u").loaded == LOADED
