"""Passes over a model whose layers change: each row is shown once, and no layer runs more often than it must."""

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.fixtures.small_models import normal, seeded
from unlearning.deferred import Part, Parts
from unlearning.inventory import Layer
from unlearning.passes import Passes
from unlearning.patches import Drawn, MatrixRows


def ignored(_layer: Layer, _rows: Tensor) -> None:
    pass


class Branching(nn.Module):
    """Uses, for large activations alone, a result that no earlier run needed; all weights come after that result."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        early = x.relu()
        hidden: Tensor = self.first(x)
        if float(hidden.abs().mean()) > 100:
            hidden = hidden + early
        logits: Tensor = self.head(self.second(hidden))
        return logits


def test_rows_come_once_when_a_changed_layer_breaks_the_replay() -> None:
    model, x = seeded(Branching()), normal(16, 6)
    passes = Passes(model, (x[:8], x[8:]), None, 16, 0, None)
    passes.first(lambda: ignored)
    with torch.no_grad():
        model.first.weight *= 1000

    rows = passes.rows(passes.layers[1])

    assert passes._replay.num_broken > 0
    assert torch.allclose(rows[:, 0], model.first(x) + x.relu())


class Convolutions(TorchDispatchMode):
    """Counts the images that weights really convolve, but for the pairs of samples that surveys look at."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.images: Counter[int] = Counter()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "convolution" in func.__name__ and len(args[0]) > 2:
            self.images[args[1].data_ptr()] += len(args[0])
        return func(*args, **(kwargs or {}))


def chain() -> nn.Sequential:
    convolutions = [nn.Conv2d(4, 4, 3, padding=1) for _ in range(4)]
    return seeded(nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(4 * 9, 3)))


def test_for_the_rows_of_a_layer_only_what_the_one_before_it_changed_runs() -> None:
    model, x = chain(), normal(16, 4, 3, 3)
    passes = Passes(model, (x[:8], x[8:]), ["1.weight", "2.weight", "3.weight", "5.weight"], 16 * 9, 0, None)
    passes.first(lambda: ignored)
    for _ in range(2):
        for place, layer in enumerate(passes.layers):
            passes.follow(passes.layers[place:])
            with Convolutions() as ran:
                rows = passes.rows(layer)
            number = int(layer.weight[0])
            expected = model[:number](x)
            seen = rows if layer.kind == "linear" else rows.view(16, 9, -1)[:, :, 4 * 4 : 5 * 4].mT  # the middle pixels
            assert torch.allclose(seen.reshape(expected.shape), expected, atol=1e-5)
            # The product where the forward is left, and that of the layer before it.
            run = [key.weight for key in passes.layers[max(0, place - 1) : place + 1] if key.kind == "conv2d"]
            assert ran.images == {model.get_parameter(key).data_ptr(): 16 for key in run}
            with torch.no_grad():
                model.get_parameter(layer.weight).mul_(1.5)
        passes.rewind()


@pytest.mark.parametrize("size", [3, 16])
def test_parts_are_the_rows_whatever_their_order_and_columns(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlearning.deferred._LEAST_WIDTH", 1)
    model = seeded(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * size**2, 3)))
    x = normal(400, 4, size, size)
    passes = Passes(model, tuple(x.split(80)), None, 400 * 5, 0, None)
    passes.first(lambda: ignored)
    layer, parts = passes.layers[0], list[Part]()

    def take(part: Part) -> None:
        parts.append(part)

    passes.show_parts(layer, lambda: take)

    found, counts = torch.zeros(400 * 5, 1, layer.d), torch.zeros(400 * 5)
    for part in parts:
        runs = ((0, layer.d),) if part.columns is None else part.columns
        columns = torch.cat([torch.arange(start, stop) for start, stop in runs])
        found[part.numbers[:, None], 0, columns] = part.rows[:, 0]
        counts[part.numbers] += 1
    assert bool((counts == 1).all())
    assert any(part.columns is not None for part in parts) == (size == 3)
    assert torch.equal(found, passes.rows(layer))


class Late(Branching):
    """Uses an early result for large activations alone, behind the second layer."""

    def forward(self, x: Tensor) -> Tensor:
        early = x.relu()
        hidden: Tensor = self.first(x)
        is_large = float(hidden.abs().mean()) > 100
        hidden = self.second(hidden)
        logits: Tensor = self.head(hidden + early if is_large else hidden)
        return logits


def test_nothing_is_kept_that_a_replay_left_out() -> None:
    model, x = seeded(Late()), normal(16, 6)
    passes = Passes(model, (x[:8], x[8:]), None, 16, 0, None)
    passes.first(lambda: ignored)
    for place, layer in enumerate(passes.layers):
        passes.follow(passes.layers[place:])
        rows = passes.rows(layer)
        with torch.no_grad():
            hidden = x if place == 0 else model.first(x) if place == 1 else model.second(model.first(x)) + x.relu()
            assert torch.allclose(rows[:, 0], hidden)
            model.first.weight.mul_(1000 if place == 0 else 1)


class BySign(nn.Module):
    """Does one thing more for batches with a positive sum, before its six layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(6))
        self.forwards = 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += 1
        x = x.sin() if float(x.sum()) > 0 else x
        for layer in self.layers:
            x = layer(x)
        return x


def test_a_batch_that_cannot_be_replayed_is_shown_twice_once() -> None:
    model, x = seeded(BySign()), normal(24, 4).abs()
    passes = Passes(model, (-x[:8], x[8:16], -x[16:]), None, 24, 0, None)
    passes.first(lambda: ignored)
    broken = 0
    for place, layer in enumerate(passes.layers):
        passes.follow(passes.layers[place:])
        rows = passes.rows(layer)
        with torch.no_grad():
            hidden = torch.cat([-x[:8], x[8:16].sin(), -x[16:]])
            for before in list(model.layers)[:place]:
                hidden = before(hidden)
        assert torch.allclose(rows[:, 0], hidden, atol=1e-6)
        broken += passes._ahead.num_broken
    assert broken + passes._replay.num_broken == 1


def test_rows_come_together_in_parts_that_are_worth_a_product() -> None:
    model = seeded(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3)))
    passes = Passes(model, tuple(normal(1100, 4).split(10)), None, 1100, 0, None)
    passes.first(lambda: ignored)
    parts = list[Part]()
    passes.show_parts(passes.layers[0], lambda: parts.append)
    assert [len(part.rows) for part in parts] == [520, 520, 60]
    assert torch.equal(torch.cat([part.numbers for part in parts]), torch.arange(1100))


def test_rows_that_wait_for_a_part_are_copies() -> None:
    parts, x = Parts(), normal(30, 4)
    for piece in x.split(10):
        handed = piece.clone()
        assert not list(parts.add(Drawn(MatrixRows(handed), None)))
        handed.fill_(torch.nan)  # the model may write to its memory
    [part] = parts.rest()
    assert torch.equal(part.rows[:, 0], x)
