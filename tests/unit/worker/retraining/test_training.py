"""The trainer: it learns, the same seed learns the same, and an interruption leaves no trace in the result."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from core.errors import JobCancelled
from models_store.datasets import ImageSet
from models_store.errors import MalformedWeights
from models_store.weights import save_state
from tests.unit.worker.retraining.conftest import ABSENT, BLUEPRINT, CPU, SPEC, Halves, recipe
from unlearning.evaluation import predict_logits
from worker.pipeline.data import Images
from worker.pipeline.materials import Blueprint
from worker.retraining.checkpoints import Checkpoint
from worker.retraining.training import TrainingDiverged, fresh_network, train

SGD = {
    "optimiser": {"name": "sgd", "momentum": 0.9, "nesterov": True},
    "learning_rate": 0.05,
    "schedule": {"name": "cosine", "warmup_epochs": 1},
}


class WithDropout(nn.Sequential):
    """What has a state of its own (batch normalisation) and draws from the global generator (dropout)."""

    def __init__(self) -> None:
        super().__init__(
            nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 10)
        )


def accuracy(network: nn.Module, images: Images, label: int | None = None) -> float:
    right = (predict_logits(network, images.batches()).argmax(dim=1).numpy() == images.labels)[
        slice(None) if label is None else images.labels == label
    ]
    return float(right.mean())


@pytest.mark.parametrize("changes", [{}, SGD, {"augmentation": {"crop_padding": 1}, "label_smoothing": 0.1}])
def test_it_learns_digits_and_never_what_it_was_not_shown(halves: Halves, changes: dict[str, Any]) -> None:
    how = recipe(**changes)
    with_all, without = (fresh_network(BLUEPRINT, seed, CPU) for seed in (0, 1))
    losses = train(with_all, halves.train, how, 0)
    train(without, halves.without, how, 1)
    assert len(losses) == how.epochs
    assert losses[-1] < losses[0]
    assert accuracy(with_all, halves.test) > 0.93
    assert accuracy(with_all, halves.test, ABSENT) > 0.85
    assert accuracy(without, halves.test, ABSENT) == 0.0


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(halves: Halves) -> None:
    def trained(seed: int) -> bytes:
        network = fresh_network(BLUEPRINT, seed, CPU)
        train(network, halves.train, recipe(epochs=2, augmentation={"flip": True, "crop_padding": 1}), seed)
        return save_state(network)

    assert trained(4) == trained(4) != trained(5)


def test_first_weights_follow_from_the_seed_alone() -> None:
    drawn = Blueprint("torchvision/squeezenet1_1", {}, ("a", "b"), SPEC.model_copy(update={"height": 64, "width": 64}))
    for blueprint in (BLUEPRINT, drawn):
        first = save_state(fresh_network(blueprint, 7, CPU))
        torch.rand(3)
        assert save_state(fresh_network(blueprint, 7, CPU)) == first
        assert save_state(fresh_network(blueprint, 8, CPU)) != first


@pytest.mark.parametrize("changes", [{}, SGD, {"optimiser": {"name": "sgd", "momentum": 0.0, "nesterov": False}}])
def test_a_training_that_goes_on_from_any_checkpoint_ends_with_the_same_bytes(
    halves: Halves, changes: dict[str, Any]
) -> None:
    how = recipe(epochs=4, augmentation={"crop_padding": 1}, **changes)
    kept: list[bytes] = []

    def keep(_epoch: int, take: Callable[[], Checkpoint]) -> None:
        kept.append(take().to_bytes())

    whole = WithDropout()
    start = copy.deepcopy(whole)
    losses = train(whole, halves.train, how, 3, keep=keep)
    assert len(kept) == 4
    for epoch in (1, 3, 4):
        other = copy.deepcopy(start)
        nn.init.zeros_(other[1].weight)  # type: ignore[arg-type]
        torch.rand(epoch)
        assert train(other, halves.train, how, 3, resume=Checkpoint.from_bytes(kept[epoch - 1])) == losses
        assert save_state(other) == save_state(whole)


def test_a_checkpoint_without_the_optimisers_state_would_be_told_apart(halves: Halves) -> None:
    how = recipe(epochs=4, **SGD)
    kept: list[Checkpoint] = []
    whole = WithDropout()
    train(whole, halves.train, how, 3, keep=lambda _epoch, take: kept.append(take()))
    other = WithDropout()
    train(other, halves.train, how, 3, resume=Checkpoint(kept[1].losses, kept[1].network, {}))
    assert save_state(other) != save_state(whole)


def test_a_checkpoint_is_a_copy_and_survives_its_bytes(halves: Halves) -> None:
    kept: list[Checkpoint] = []
    network = fresh_network(BLUEPRINT, 0, CPU)
    train(network, halves.train, recipe(epochs=2), 0, keep=lambda _epoch, take: kept.append(take()))
    first, last = kept
    again = Checkpoint.from_bytes(last.to_bytes())
    assert (len(first.losses), again.losses) == (1, last.losses)
    assert any(not torch.equal(first.network[name], last.network[name]) for name in last.network)
    for name, value in network.state_dict().items():
        assert torch.equal(again.network[name], value)
    assert again.optimiser.keys() == last.optimiser.keys()
    assert all(torch.equal(again.optimiser[name], last.optimiser[name]) for name in last.optimiser)


@pytest.mark.parametrize("content", [b"", b"12345678", b"\x02\x00\x00\x00\x00\x00\x00\x00{}"])
def test_bytes_that_are_no_checkpoint_are_refused(content: bytes) -> None:
    with pytest.raises(MalformedWeights, match="checkpoint"):
        Checkpoint.from_bytes(content)


def test_a_loss_that_is_not_finite_ends_the_training_in_words(halves: Halves) -> None:
    how = recipe(optimiser={"name": "sgd"}, learning_rate=10.0, schedule={"name": "constant"}, epochs=3)
    with pytest.raises(TrainingDiverged, match=r"Expected a finite loss, got (nan|inf) in epoch \d of 3"):
        train(fresh_network(BLUEPRINT, 0, CPU), halves.train, how, 0)


def test_whoever_watches_can_stop_it_between_two_batches(halves: Halves) -> None:
    seen: list[tuple[int, float]] = []

    def watch(epoch: int, share: float) -> None:
        seen.append((epoch, share))
        if len(seen) == 20:
            raise JobCancelled("Enough.")

    with pytest.raises(JobCancelled):
        train(fresh_network(BLUEPRINT, 0, CPU), halves.train, recipe(), 0, watch)
    assert [epoch for epoch, _ in seen] == [1] * 15 + [2] * 5
    assert [share for _, share in seen] == pytest.approx([(step + 1) / 225 for step in range(20)])


def test_two_images_are_enough_for_batch_normalisation(halves: Halves) -> None:
    two = Images.whole(ImageSet(halves.train.pixels.x[:2], halves.train.pixels.y[:2]), SPEC)
    assert len(train(WithDropout(), two, recipe(epochs=2), 0)) == 2
