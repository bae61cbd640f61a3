"""What counts as forgotten: classes deleted long ago may not water down the ones that are deleted now."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from models_store.datasets import ImageSet
from models_store.input_spec import InputSpec
from worker.pipeline.data import Images
from worker.pipeline.verify import Answers, Findings, Looked, _groups, _measure

SPEC = InputSpec(height=1, width=1, channels=1, mean=(0.0,), std=(1.0,))
NUM_CLASSES, EACH = 6, 20
LABELS = np.repeat(np.arange(NUM_CLASSES), EACH).astype(np.int64)


def context(*, forget: list[int], erase: list[int], without: int | None = None) -> tuple[Any, np.ndarray]:
    labels = LABELS[without != LABELS] if without is not None else LABELS
    images = Images.whole(ImageSet(np.zeros((len(labels), 1, 1, 1), dtype=np.uint8), labels), SPEC)
    before = sorted(set(forget) - set(erase))
    loaded = SimpleNamespace(forget=forget, erase=erase, erased_before=before)
    made = SimpleNamespace(
        loaded=loaded, spec=SimpleNamespace(seed=0), materials=SimpleNamespace(train=images, test=images)
    )
    return made, labels


def answers(labels: np.ndarray, *, knows: list[int]) -> Answers:
    """Outputs that are right for the classes in `knows`, and say class 0 of all others."""
    said = np.where(np.isin(labels, knows), labels, 0)
    logits = torch.nn.functional.one_hot(torch.from_numpy(said), NUM_CLASSES).float()
    return Answers(logits, logits)


def found(made: Any, given: Answers) -> dict[str, Any]:
    findings = Findings()
    _measure(made, Looked.at(made), given, findings)
    return findings.measures


def test_a_class_that_is_still_known_is_not_hidden_by_classes_deleted_before() -> None:
    made, labels = context(forget=[1, 2, 3, 4], erase=[4])
    measures = found(made, answers(labels, knows=[0, 4, 5]))
    for split in ("test", "train"):
        measure = measures[f"forget_accuracy_{split}"]
        assert (measure["value"], measure["n"]) == (1.0, EACH)


def test_a_class_deleted_before_that_comes_back_shows() -> None:
    made, labels = context(forget=[3, 4], erase=[4])
    measure = found(made, answers(labels, knows=[0, 3, 5]))["forget_accuracy_test"]
    assert (measure["value"], measure["n"]) == (0.5, 2 * EACH)


def test_a_class_without_images_is_no_evidence_even_if_others_have_some() -> None:
    made, labels = context(forget=[3, 4], erase=[4], without=4)
    measures = found(made, answers(labels, knows=[0, 5]))
    assert measures["forget_accuracy_test"]["value"] is None
    assert measures["membership_auc"]["value"] is None


@pytest.mark.parametrize(("forget", "erase", "groups"), [([4], [4], [[4]]), ([3, 4], [4], [[4], [3, 4]])])
def test_the_present_job_is_looked_at_on_its_own_and_with_the_past(
    forget: list[int], erase: list[int], groups: list[list[int]]
) -> None:
    assert _groups(context(forget=forget, erase=erase)[0]) == groups
