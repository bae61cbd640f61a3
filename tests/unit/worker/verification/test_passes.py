"""No image is looked at twice, and none before a measure needs it; what comes out is what one pass over all gives."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.policy.policies import STANDARD
from tests.fixtures.digits_models import Digits
from tests.unit.worker.verification.conftest import MakeSubject
from unlearning.errors import EmptySide
from unlearning.evaluation import predict_logits, trace
from worker.pipeline.verification import Case, Scene, Subject, decide


class Counting(nn.Module):
    """A network that counts the images it is shown, from two on: one alone only asks how it takes them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.features, self.classifier = (
            copy.deepcopy(model.get_submodule(name)) for name in ("features", "classifier")
        )
        self.shown = 0

    def forward(self, x: Tensor) -> Tensor:
        self.shown += len(x) if len(x) > 1 else 0
        found: Tensor = self.classifier(self.features(x).flatten(1))
        return found


def test_every_image_of_the_splits_has_its_part_and_no_more_than_one(scene: Scene) -> None:
    looked = scene.looked
    for split, images, more in (("test", looked.test, looked.test), ("train", looked.train, looked.held)):
        seen = np.concatenate([part.images.index for part in scene.parts[split]])
        assert len(set(seen.tolist())) == len(seen)
        assert set(seen.tolist()) == {*images.index.tolist(), *more.index.tolist()}


def test_outputs_and_features_are_those_of_one_pass_in_order(
    digits: Digits, scene: Scene, subject: MakeSubject
) -> None:
    found = subject(digits.retrained)
    for split in ("train", "test"):
        torch.testing.assert_close(
            found.outputs(split), predict_logits(digits.retrained, found.images(split).batches()), rtol=1e-4, atol=1e-4
        )
    for whose, images in (("held", scene.looked.held), ("attacked", scene.looked.attacked)):
        plain = trace(digits.retrained, images.batches(), {scene.head}).features[scene.head]
        torch.testing.assert_close(found.features(whose)["penultimate"], plain, rtol=1e-4, atol=1e-4)


def test_asking_again_shows_the_network_nothing(digits: Digits, scene: Scene, subject: MakeSubject) -> None:
    model = Counting(digits.retrained)
    found = subject(model)
    found.side("train", scene.deletion.forget)
    gone = int(np.isin(scene.looked.train.labels, scene.deletion.forget).sum())
    first = model.shown
    assert gone <= first < len(scene.looked.train) + len(scene.looked.held)
    for _ in range(2):
        found.outputs("train"), found.outputs("test"), found.features("beside"), found.siege.get()
    assert model.shown == len({*scene.looked.train.index.tolist(), *scene.looked.held.index.tolist()}) + len(
        scene.looked.test
    )


def test_what_decides_needs_no_retained_training_image_of_the_original_but_the_attackers(
    digits: Digits, scene: Scene
) -> None:
    original = Counting(digits.original)
    ours = Scene(scene.deletion, scene.looked, original)
    from tests.unit.worker.verification.conftest import silent

    case = Case(Subject(ours, original, silent(), (0.0, 1.0)), Subject(ours, digits.retrained, silent(), (0.0, 1.0)))
    decide(case, STANDARD.deciding)
    assert original.shown <= len(scene.looked.test) + len(scene.looked.held) + 2 * 2  # and where its layers are


def test_there_is_no_feature_of_an_image_that_was_not_traced(digits: Digits, scene: Scene) -> None:
    passes = scene.passes_of(digits.retrained)
    with pytest.raises(EmptySide):
        passes.trace("test", scene.looked.test, lambda batches, _total: iter(batches))
