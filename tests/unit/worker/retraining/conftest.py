"""Real handwritten digits as the trainer takes them, and recipes that learn them in about a second."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from cli.demo.digits import LABELS, load_digits
from models_store.datasets import ImageSet
from models_store.input_spec import InputSpec
from models_store.recipes import Recipe
from worker.pipeline.data import Images
from worker.pipeline.materials import Blueprint

SPEC = InputSpec(height=8, width=8, channels=1, mean=(0.3,), std=(0.37,))
BLUEPRINT = Blueprint("expunge/small_convnet", {"width": 8}, LABELS, SPEC)
CPU = torch.device("cpu")
ABSENT = 3


@dataclass(frozen=True)
class Halves:
    """Both splits, and the train split without the absent class."""

    train: Images
    without: Images
    test: Images


@pytest.fixture(scope="session")
def halves() -> Halves:
    torch.set_num_threads(1)
    digits = load_digits(0)
    train = Images.whole(ImageSet(digits.train.x, digits.train.y), SPEC)
    test = Images.whole(ImageSet(digits.test.x, digits.test.y), SPEC)
    return Halves(train, train.subset(np.flatnonzero(train.labels != ABSENT)), test)


def recipe(**changes: Any) -> Recipe:
    """AdamW in one cycle, fifteen epochs."""
    return Recipe.model_validate(
        {
            "optimiser": {"name": "adamw"},
            "learning_rate": 5e-3,
            "weight_decay": 1e-2,
            "epochs": 15,
            "batch_size": 64,
            "schedule": {"name": "one-cycle"},
        }
        | changes
    )
