"""What counts as forgotten: no class may water down another, whether both go now or one went long ago."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models_store.datasets import ImageSet
from models_store.input_spec import InputSpec
from worker.pipeline.data import Images
from worker.pipeline.verification import Deletion, Looked, Scene, Subject
from worker.pipeline.verification.findings import Findings
from worker.pipeline.verification.outputs import TESTS
from worker.progress import Progress

SPEC = InputSpec(height=1, width=1, channels=1, mean=(0.0,), std=(1.0,))
NUM_CLASSES, EACH = 6, 20
LABELS = np.repeat(np.arange(NUM_CLASSES), EACH).astype(np.int64)


def found(*, forget: list[int], erase: list[int], knows: list[int], without: int | None = None) -> dict[str, Any]:
    """Measures of outputs that are right for the classes in `knows`, and say class 0 of all others."""
    labels = LABELS[without != LABELS] if without is not None else LABELS
    images = Images.whole(ImageSet(np.zeros((len(labels), 1, 1, 1), dtype=np.uint8), labels), SPEC)
    deletion = Deletion(forget, erase, NUM_CLASSES, seed=0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, NUM_CLASSES))
    scene = Scene(deletion, Looked.at(images, images, deletion), model)
    said = np.where(np.isin(labels, knows), labels, 0)
    logits = nn.functional.one_hot(torch.from_numpy(said), NUM_CLASSES).float()

    class Told(Subject):
        def outputs_on(self, _split: str, images: Images) -> Tensor:
            return logits[torch.from_numpy(images.index)]

    subject = Told(scene, model, Progress(lambda _step, _percent: None, lambda: False), (0.0, 1.0))
    findings = Findings()
    for name, test in TESTS.items():
        findings.take(name.value, partial(test, subject))
    return findings.measures


def test_a_class_that_is_still_known_is_not_hidden_by_classes_deleted_before() -> None:
    measures = found(forget=[1, 2, 3, 4], erase=[4], knows=[0, 4, 5])
    for split in ("test", "train"):
        measure = measures[f"forget_accuracy_{split}"]
        assert (measure["value"], measure["n"]) == (1.0, EACH)


def test_a_class_deleted_before_that_comes_back_shows() -> None:
    measure = found(forget=[3, 4], erase=[4], knows=[0, 3, 5])["forget_accuracy_test"]
    assert (measure["value"], measure["n"]) == (1.0, EACH)


def test_one_of_several_classes_deleted_at_once_is_not_hidden_by_the_others() -> None:
    measures = found(forget=[1, 2, 3, 4], erase=[1, 2, 3, 4], knows=[0, 2, 5])
    for split in ("test", "train"):
        measure = measures[f"forget_accuracy_{split}"]
        assert (measure["value"], measure["n"]) == (1.0, EACH)


def test_a_class_deleted_before_need_not_have_images_any_more() -> None:
    measures = found(forget=[3, 4], erase=[4], knows=[0, 5], without=3)
    for name in ("forget_accuracy_test", "forget_accuracy_train"):
        assert (measures[name]["value"], measures[name]["n"]) == (0.0, EACH)
    assert "problem" not in measures["membership_auc"]


def test_a_class_without_images_is_no_evidence_even_if_others_have_some() -> None:
    measures = found(forget=[3, 4], erase=[4], knows=[0, 5], without=4)
    for name in ("forget_accuracy_test", "forget_accuracy_train", "membership_auc"):
        assert measures[name]["value"] is None
        assert "Expected at least one sample" in measures[name]["problem"]
