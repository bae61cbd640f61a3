"""The methods of a request, on a network that one of them cannot work on."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from core.policy.policies import STANDARD
from core.requests.spec import Method, UnlearnSpec
from models_store.datasets import ImageSet
from models_store.input_spec import InputSpec
from tests.fixtures.small_models import seeded
from unlearning.errors import NotRefittable
from worker.pipeline.data import Images
from worker.pipeline.materials import Blueprint, Materials
from worker.pipeline.methods import Made, method_of, sides_of
from worker.pipeline.outputs import Loaded
from worker.progress import Progress

LOADED = Loaded(
    model_id=1,
    base_version_id=1,
    base_version=1,
    base_sha256="ab" * 32,
    dataset_id=1,
    files={"train": "aa" * 32},
    forget=[1],
    erase=[1],
)
INPUTS = InputSpec(height=4, width=4, channels=1, mean=(0.5,), std=(0.5,))


class Distances(nn.Module):
    """Its outputs are what the last layer gives with the sign turned: the smallest distance wins."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        distances: Tensor = self.layers(x)
        return -distances


@dataclass(frozen=True)
class Attempt:
    materials: Materials
    loaded: Loaded
    spec: UnlearnSpec
    progress: Progress


def images(seed: int) -> Images:
    """60 noisy images of each of three classes, which differ in the row that is bright."""
    rng, y = np.random.default_rng(seed), np.arange(180, dtype=np.int64) % 3
    x = rng.integers(0, 100, (180, 4, 4, 1)).astype(np.uint8)
    x[np.arange(180), y] += 120
    return Images.whole(ImageSet(x, y), INPUTS)


def attempt(name: Literal["auto", "refit"]) -> tuple[Attempt, list[int]]:
    """A request for class 1 of a trained network, and the percentages it reports."""
    train, model, reported = images(0), seeded(Distances()), list[int]()
    x, y = train.tensor(), torch.from_numpy(train.labels)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    materials = Materials(Blueprint("none", {}, ("a", "b", "c"), INPUTS), model.eval(), train, images(1), None)
    spec = UnlearnSpec(
        model="m",
        version=None,
        alias=None,
        class_indices=[1],
        dataset="d",
        method=Method.model_validate({"name": name}),
        seed=0,
        policy=STANDARD,
    )
    progress = Progress(lambda _step, percent: reported.append(percent), lambda: False)
    return Attempt(materials, LOADED, spec, progress), reported


def made(work: Attempt) -> Made:
    return method_of(work)(work, sides_of(work), (0.0, 1.0))


def test_a_network_that_cannot_be_refitted_is_projected_unless_refit_was_asked_for() -> None:
    work, reported = attempt("auto")
    result = made(work)

    assert result.erasure.method == "paper"
    assert result.score is not None
    assert result.score > 0.5
    assert {row["method"] for row in result.table} == {"paper"}
    assert reported == sorted(reported)
    with pytest.raises(NotRefittable, match="'paper'"):
        made(attempt("refit")[0])
