"""Replaying from the first edited weight on gives what the whole forward gives, for any module, or says it cannot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models import convnext_tiny, resnet18, vit_b_16

from tests.fixtures.small_models import SmallConvNet, normal, seeded
from unlearning.errors import UnknownLayer
from unlearning.modes import evaluating
from unlearning.recording import Filling
from unlearning.replay import Budget, Replay


class Operators(TorchDispatchMode):
    """Counts the operators that really run below it; what a replay skips never gets here."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen[func.__name__.partition(".")[0]] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def counted() -> Iterator[Counter[str]]:
    with Operators() as operators:
        yield operators.seen


def plain(model: nn.Module, x: Tensor, weights: dict[str, Tensor]) -> Tensor:
    with evaluating(model):
        output: Tensor = functional_call(model, weights, (x,))
    return output


def edits(model: nn.Module, names: list[str], seed: int) -> dict[str, Tensor]:
    parameters = dict(model.named_parameters())
    return {name: parameters[name].detach() + normal(*parameters[name].shape, seed=seed) / 50 for name in names}


def agrees(model: nn.Module, batches: list[Tensor], names: list[str]) -> Replay:
    """Compare three rounds of other weights with plain forwards; the later two should be replayed."""
    replay = Replay(model, batches, names)
    for seed in (1, 2, 3):
        weights = edits(model, names, seed)
        for number, batch in enumerate(batches):
            torch.testing.assert_close(replay.logits(number, weights), plain(model, batch, weights))
    return replay


@pytest.mark.parametrize("name", ["second.weight", "hidden.weight", "head.weight"])
def test_a_convolutional_network_is_replayed_from_any_layer(name: str) -> None:
    model = seeded(SmallConvNet())
    replay = agrees(model, list(normal(7, 3, 8, 8).split(3)), [name])
    assert (replay.num_full, replay.num_replayed, replay.reason) == (3, 6, "")


def test_what_comes_before_the_edit_does_not_run_again() -> None:
    model = seeded(SmallConvNet())
    replay = Replay(model, [normal(4, 3, 8, 8)], ["hidden.weight"])
    with counted() as first:
        replay.logits(0, edits(model, ["hidden.weight"], 1))
    with counted() as second:
        replay.logits(0, edits(model, ["hidden.weight"], 2))
    assert (first["convolution"], second["convolution"]) == (2, 0)
    assert second["addmm"] == first["addmm"] == 2


def test_fewer_edits_than_announced_are_replayed_too() -> None:
    model, x = seeded(SmallConvNet()), normal(4, 3, 8, 8)
    replay = Replay(model, [x], ["hidden.weight", "head.weight"])
    for names in (["hidden.weight"], ["head.weight"], [], ["hidden.weight", "head.weight"]):
        weights = edits(model, names, 1)
        torch.testing.assert_close(replay.logits(0, weights), plain(model, x, weights))
    assert replay.num_replayed == 3
    with pytest.raises(UnknownLayer, match="second"):
        replay.logits(0, edits(model, ["second.weight"], 1))


@pytest.mark.parametrize(
    ("build", "names"),
    [
        (resnet18, ["layer3.0.conv2.weight", "fc.weight"]),
        (convnext_tiny, ["features.5.0.block.3.weight"]),
    ],
    ids=["residual", "in-place and permuted"],
)
def test_residual_networks_are_replayed(build: Any, names: list[str]) -> None:
    model = seeded(build(num_classes=5), seed=1)
    replay = agrees(model, [normal(2, 3, 40, 40)], names)
    assert replay.num_replayed == 2


def test_a_transformer_with_fused_attention_is_replayed() -> None:
    model = vit_b_16(num_classes=5, image_size=32)
    model.encoder.layers = model.encoder.layers[:3]
    names = [f"encoder.layers.encoder_layer_2.{name}" for name in ("self_attention.in_proj_weight", "mlp.3.weight")]
    replay = agrees(seeded(model), list(normal(5, 3, 32, 32).split(3)), names)
    assert replay.num_replayed == 4


def test_the_fused_encoder_layer_is_replayed() -> None:
    """PyTorch runs it as one operator that takes all weights at once."""
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 3, enable_nested_tensor=False
    )
    replay = agrees(seeded(encoder), [normal(3, 4, 8)], ["layers.2.linear2.weight"])
    assert replay.num_replayed == 2


class InPlace(nn.Module):
    """Writes, beyond the boundary, to what was made before it, and to a view of it."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.edited = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        early = self.before(x)
        half = early[:, :2]
        untouched = functional.relu_(early + 1)
        early += self.edited(early)
        half.mul_(2)
        return torch.add(early, untouched)


def test_memory_that_the_rest_writes_to_is_fresh_in_every_run() -> None:
    assert agrees(seeded(InPlace()), [normal(3, 4)], ["edited.weight"]).num_replayed == 2


class Shared(nn.Module):
    """Uses one weight early under another name."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.last.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(torch.relu(self.middle(self.first(x))))
        return y


def test_a_tied_weight_counts_from_its_first_use() -> None:
    replay = agrees(seeded(Shared()), [normal(3, 4)], ["first.weight"])
    assert (replay.num_replayed, replay.reason) == (0, "nothing comes before the first edited weight")


class Branching(nn.Module):
    """Does one thing more for batches with a positive sum: at the start, before the edited layer, or after it."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place
        self.first, self.other, self.edited = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        place = self.place if x.sum() > 0 else ""
        kept = self.first(x + 1 if place == "start" else x)
        unused = torch.sin(kept)
        if place == "before":
            kept = torch.relu(self.other(kept))
        y: Tensor = self.edited(kept)
        return y + unused if place == "after" else y


@pytest.mark.parametrize(("place", "num_replayed"), [("start", 4), ("before", 6), ("after", 4)])
def test_control_flow_that_depends_on_the_data_falls_back_to_the_whole_forward_where_it_must(
    place: str, num_replayed: int
) -> None:
    batches = [-normal(3, 4).abs(), normal(3, 4).abs(), -normal(3, 4, seed=1).abs()]
    replay = agrees(seeded(Branching(place)), batches, ["edited.weight"])
    # One operator more just before the boundary is run like those beyond it; elsewhere the second batch fits no record.
    assert (replay.num_replayed, replay.num_full) == (num_replayed, 9 - num_replayed)


class Noisy(nn.Module):
    """Never gives the same twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.edited = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.edited(functional.dropout(self.first(x)))
        return y


def test_a_model_that_does_not_repeat_itself_is_never_replayed() -> None:
    model = seeded(Noisy())
    replay = Replay(model, [normal(300, 4)], ["edited.weight"])
    results = [replay.logits(0, edits(model, ["edited.weight"], 1)) for _ in range(3)]
    assert replay.reason == "the model does not repeat its results"
    assert not torch.equal(results[1], results[2])
    assert (replay.num_full, replay.num_replayed) == (3, 0)


class Counting(nn.Module):
    """Writes to a buffer of its own in every forward, before the edited layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.edited = nn.Linear(4, 4), nn.Linear(4, 4)
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        self.calls.add_(1)
        y: Tensor = self.edited(torch.sin(hidden))
        return y


def test_an_operator_that_writes_to_the_model_is_never_skipped() -> None:
    model = seeded(Counting())
    replay = agrees(model, [normal(3, 4)], ["edited.weight"])
    before = float(model.calls)
    replay.logits(0, edits(model, ["edited.weight"], 1))
    assert float(model.calls) == before + 1
    assert replay.num_replayed == 3


def test_batches_beyond_the_budget_are_computed_in_full() -> None:
    model, batches = seeded(SmallConvNet()), list(normal(6, 3, 8, 8).split(2))
    one = Replay(model, batches[:1], ["hidden.weight"])
    one.logits(0, {})
    budget = Budget(left=2 * one.num_bytes)
    replay = Replay(model, batches, ["hidden.weight"], budget)
    for _ in range(2):
        for number, batch in enumerate(batches):
            weights = edits(model, ["hidden.weight"], number)
            torch.testing.assert_close(replay.logits(number, weights), plain(model, batch, weights))
    assert (replay.num_full, replay.num_replayed) == (4, 2)
    assert budget.left == 0
    assert replay.num_bytes == 2 * one.num_bytes > 0


def test_the_model_is_left_as_it_was() -> None:
    model = seeded(SmallConvNet()).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    agrees(model, [normal(4, 3, 8, 8)], ["hidden.weight"])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())


def follows(model: nn.Module, batches: list[Tensor], names: list[str]) -> list[Replay]:
    """Edit one parameter after the other for good, and compare each replay for the rest with plain forwards."""
    replays = [Replay(model, batches, names)]
    for place, name in enumerate(names):
        for number, batch in enumerate(batches):
            torch.testing.assert_close(replays[-1].logits(number, {}), plain(model, batch, {}))
            weights = edits(model, names[place:], 1)
            torch.testing.assert_close(replays[-1].logits(number, weights), plain(model, batch, weights))
        with torch.no_grad():
            for changed, value in edits(model, [name], 2).items():
                model.get_parameter(changed).copy_(value)
        if names[place + 1 :]:
            replays.append(replays[-1].behind(names[place + 1 :]))
    return replays


def test_the_boundary_follows_edits_that_are_made_for_good() -> None:
    model = seeded(SmallConvNet())
    names = ["second.weight", "second.bias", "hidden.weight", "head.weight"]
    replays = follows(model, list(normal(7, 3, 8, 8).split(3)), names)
    assert [(replay.num_full, replay.num_replayed) for replay in replays] == [(3, 3)] * 4
    assert all(replay.num_broken == 0 for replay in replays)


def test_behind_a_replay_each_layer_runs_once() -> None:
    model = seeded(SmallConvNet())
    first = Replay(model, [normal(4, 3, 8, 8)], ["second.weight", "hidden.weight"])
    first.logits(0, {})
    second = first.behind(["hidden.weight"])
    with counted() as filling:
        second.logits(0, {})
    with counted() as replaying:
        second.logits(0, {})
    assert (filling["convolution"], replaying["convolution"]) == (1, 0)  # the second one; the first is kept


def test_replays_follow_through_skip_connections_and_attention() -> None:
    network = seeded(resnet18(num_classes=5), seed=1)
    follows(
        network, [normal(2, 3, 40, 40)], ["layer3.0.conv2.weight", "layer3.1.conv1.weight", "layer4.1.conv2.weight"]
    )
    transformer = vit_b_16(num_classes=5, image_size=32)
    transformer.encoder.layers = transformer.encoder.layers[:3]
    names = [f"encoder.layers.encoder_layer_{number}.mlp.3.weight" for number in (1, 2)]
    replays = follows(seeded(transformer), [normal(2, 3, 32, 32)], names)
    assert [replay.num_replayed for replay in replays] == [1, 1]


class InPlaceTwice(InPlace):
    """Writes, beyond one boundary and before the next, to what was made before both."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        early = super().forward(x)
        y: Tensor = self.last(early)
        early.mul_(2)
        return y + early


def test_memory_that_is_written_to_behind_either_boundary_is_fresh() -> None:
    replays = follows(seeded(InPlaceTwice()), [normal(3, 4)], ["edited.weight", "last.weight"])
    assert [replay.num_replayed for replay in replays] == [1, 1]


def test_what_a_replay_forgets_is_computed_from_the_one_before_it() -> None:
    model, budget = seeded(SmallConvNet()), Budget()
    total = budget.left
    x = normal(4, 3, 8, 8)
    first = Replay(model, [x], ["second.weight", "hidden.weight"], budget)
    first.logits(0, {})
    second = first.behind(["hidden.weight"])
    second.logits(0, {})
    second.release()
    assert budget.left == total - first.num_bytes
    third = second.behind(["hidden.weight"])
    with counted() as operators:
        torch.testing.assert_close(third.logits(0, {}), plain(model, x, {}))
    assert operators["convolution"] == 1 + 2  # of the replay, and of the plain forward


def test_behind_a_replay_that_breaks_everything_is_computed_in_full() -> None:
    batches = [-normal(3, 4).abs(), normal(3, 4).abs()]
    model = seeded(Branching("start"))
    first = Replay(model, batches, ["edited.weight", "edited.bias"])
    second = first.behind(["edited.bias"])
    for _ in range(2):
        for number, batch in enumerate(batches):
            torch.testing.assert_close(second.logits(number, {}), plain(model, batch, {}))
    assert second.num_broken == 1


class Seen(BaseException):
    """Nobody needs to know more of this forward."""


class Stopping(TorchDispatchMode):
    """Leaves a forward at its first product."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__.startswith("addmm"):
            raise Seen
        return func(*args, **(kwargs or {}))


def test_a_forward_that_is_left_behind_the_boundary_is_kept_and_one_before_it_is_not() -> None:
    model, x = seeded(SmallConvNet()), normal(4, 3, 8, 8)
    for name, is_kept in (("hidden.weight", True), ("head.weight", False)):
        replay = Replay(model, [x], [name])
        with Stopping(), pytest.raises(Seen):
            replay.logits(0, {})
        assert (replay.num_bytes > 0) == is_kept
        torch.testing.assert_close(replay.logits(0, {}), plain(model, x, {}))
        assert replay.num_replayed == is_kept


def test_a_batch_for_which_memory_ran_out_is_filled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = seeded(SmallConvNet()), normal(4, 3, 8, 8)
    replay = Replay(model, [x], ["hidden.weight"])

    def full(_filling: Filling) -> None:
        raise torch.OutOfMemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Filling, "_close", full)
        with pytest.raises(torch.OutOfMemoryError):
            replay.logits(0, {})
    for _ in range(2):
        torch.testing.assert_close(replay.logits(0, {}), plain(model, x, {}))
    assert replay.num_replayed == 1
