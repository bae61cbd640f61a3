"""The digits' models as the worker looks at them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models_store.datasets import ImageSet
from models_store.input_spec import InputSpec
from tests.fixtures.digits_models import FORGET, Digits, Labels, digits_models
from worker.pipeline.data import Images
from worker.pipeline.verification import Deletion, Looked, Scene, Subject
from worker.progress import Progress

SPEC = InputSpec(height=8, width=8, channels=1, mean=(0.5,), std=(0.5,))
MakeSubject = Callable[[nn.Module], Subject]


@pytest.fixture(scope="session")
def digits() -> Digits:
    """A digits classifier, one that never saw class 8, and a masked one; nobody may change them."""
    torch.set_num_threads(1)
    return digits_models()


@pytest.fixture(scope="session")
def scene(digits: Digits) -> Scene:
    return scene_of(digits, seed=0)


@pytest.fixture
def subject(scene: Scene) -> MakeSubject:
    return lambda model: Subject(scene, model, silent(), (0.0, 1.0))


def scene_of(digits: Digits, *, seed: int) -> Scene:
    deletion = Deletion([FORGET], [FORGET], 10, seed)
    return Scene(deletion, Looked.at(images(*digits.train), images(*digits.test), deletion), digits.original)


def images(x: Tensor, y: Labels) -> Images:
    """Normalised images as the pixels they came from: (x + 1) / 2 is what `SPEC` undoes."""
    pixels = ((x + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return Images.whole(ImageSet(np.ascontiguousarray(pixels), y), SPEC)


def silent() -> Progress:
    return Progress(lambda _step, _percent: None, lambda: False)
