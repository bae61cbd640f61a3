"""Rows follow the samples whatever their layout, and the model is left as it came, whatever happens."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import _get_current_dispatch_mode
from torch.utils.data import DataLoader, TensorDataset

from tests.fixtures.small_models import SmallConvNet, normal, seeded
from unlearning import UnlearningError, collect, erase_classes
from unlearning.capture import capture, find_layers, in_pieces
from unlearning.errors import (
    BadBatch,
    EmptySide,
    ForwardFailed,
    NonFinite,
    NothingToProject,
    OptionOutOfRange,
    UnknownLayer,
)


class Numbered(nn.Module):
    """Its layer sees rows (sample, position), in an order that `order` says; 6 positions a sample."""

    def __init__(self, order: str) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self._order = order

    def forward(self, x: Tensor) -> Tensor:
        if self._order == "positions first":
            x = x.transpose(0, 1)
        elif self._order == "in between":
            x = x.unflatten(1, (2, 3)).transpose(0, 1)
        elif self._order == "mixed":
            x = x + x.mean(0)
        y: Tensor = self.layer(x)
        return y


def numbered(samples: int) -> Tensor:
    """Return inputs (samples, 6, 2) that say which sample and position they are."""
    place = torch.meshgrid(torch.arange(1.0, samples + 1), torch.arange(6.0), indexing="ij")
    return torch.stack(place, dim=-1)


def drawn(order: str, batches: list[int], max_rows: int | None) -> list[tuple[float, ...]]:
    rows: list[Tensor] = []
    x = numbered(sum(batches)).split(batches)
    sink = in_pieces(lambda _, part: rows.append(part[:, 0].clone()))
    capture(seeded(Numbered(order)), x, sink, max_rows=max_rows)
    return [tuple(row) for row in torch.cat(rows).tolist()]


@pytest.mark.parametrize("order", ["samples first", "positions first", "in between"])
def test_rows_come_in_order_of_the_samples_in_every_layout(order: str) -> None:
    assert drawn(order, [2, 3], None) == [tuple(row) for row in numbered(5).reshape(-1, 2).tolist()]


@pytest.mark.parametrize("max_rows", [4, 7, 23])
@pytest.mark.parametrize("order", ["samples first", "positions first", "in between"])
def test_the_same_positions_are_drawn_in_every_layout_and_batch_size(order: str, max_rows: int) -> None:
    rows = drawn(order, [5], max_rows)
    assert len(rows) == len(set(rows)) == max_rows
    assert rows == sorted(rows)
    for batches in ([1] * 5, [2, 3], [4, 1]):
        assert drawn("samples first", batches, max_rows) == rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool])
def test_rows_come_in_order_of_the_samples_where_the_first_two_have_the_same_padding(dtype: torch.dtype) -> None:
    x = (normal(5, 6, 2) > 0).to(dtype)
    x[:, 0] = torch.arange(2)
    x[1, :4] = x[0, :4]

    class Cast(Numbered):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.float())

    def rows(order: str) -> Tensor:
        parts: list[Tensor] = []
        capture(seeded(Cast(order)), [x], in_pieces(lambda _, part: parts.append(part[:, 0].clone())))
        return torch.cat(parts)

    for order in ("positions first", "in between"):
        assert torch.equal(rows(order), x.float().reshape(-1, 2))


def test_layers_of_which_larger_images_have_more_rows_are_named() -> None:
    model = seeded(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)))
    x = [normal(6, 3, 8, 8), normal(6, 3, 5, 5)]  # 36 positions and 9

    everything = capture(model, x, lambda _, __: None)
    drawn_alike = capture(model, x, lambda _, __: None, max_rows=12 * 9)
    drawn_more = capture(model, x, lambda _, __: None, max_rows=12 * 10)

    assert everything.assigned == {"0.weight", "3.weight"}
    assert [seen.uneven for seen in (everything, drawn_alike, drawn_more)] == [{"0.weight"}, set(), {"0.weight"}]


def test_where_samples_mix_as_many_rows_are_drawn_from_each_batch() -> None:
    rows = drawn("mixed", [4, 2], 12)
    assert len(rows) == len(set(rows)) == 12
    assert len(drawn("mixed", [4, 2], None)) == 36


def state_of(model: nn.Module) -> tuple[Any, ...]:
    hooks = sum(
        len(getattr(module, name)) for module in model.modules() for name in vars(module) if name.endswith("_hooks")
    )
    modes = [module.training for module in model.modules()]
    surroundings = torch.is_grad_enabled(), torch.backends.mha.get_fastpath_enabled(), _get_current_dispatch_mode()
    return hooks, modes, surroundings, parametrize._cache_enabled


class Fails(SmallConvNet):
    """Raises in its n-th forward."""

    def __init__(self, call: int, error: BaseException) -> None:
        super().__init__()
        self.call, self.error, self.calls = call, error, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.call:
            raise self.error
        return super().forward(x)


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), RuntimeError("broken"), LookupError("odd"), AssertionError(), AttributeError("no")]
)
@pytest.mark.parametrize("call", range(1, 11))
def test_an_exception_in_any_forward_leaves_the_model_as_it_came(call: int, error: BaseException) -> None:
    model = seeded(Fails(call, error)).train()
    model.norm.eval()
    before, weights = state_of(model), copy.deepcopy(model.state_dict())
    x = normal(4, 3, 8, 8)
    with pytest.raises(ForwardFailed if isinstance(error, Exception) else type(error)):
        erase_classes(model, retain=x.split(2), forget=(x + 1).split(2))
    assert state_of(model) == before
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("call", range(1, 9))
def test_an_exception_in_progress_passes_and_leaves_the_model_as_it_came(call: int) -> None:
    model, calls = seeded(SmallConvNet()).train(), 0
    before, weights = state_of(model), copy.deepcopy(model.state_dict())

    def progress(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise ValueError("enough")

    x = normal(4, 3, 8, 8)
    with pytest.raises(ValueError, match=r"^enough$"):
        erase_classes(model, retain=x.split(2), forget=(x + 1).split(2), progress=progress)
    assert state_of(model) == before
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())


def test_what_a_sink_raises_passes_as_it_is() -> None:
    model, error = seeded(SmallConvNet()).train(), RuntimeError("full")
    before = state_of(model)

    def sink(*_: object) -> None:
        raise error

    with pytest.raises(RuntimeError) as caught:
        capture(model, [normal(2, 3, 8, 8)], sink)
    assert caught.value is error
    assert state_of(model) == before


def moment(batches: Any, **options: Any) -> Tensor:
    return collect(seeded(SmallConvNet()), batches, **options).moments["first.weight"].gram


def test_any_iterable_of_batches_gives_the_same() -> None:
    x = normal(6, 3, 8, 8)
    expected = moment([x[:4], x[4:]], max_rows=50)

    def generated() -> Iterator[tuple[Tensor, int]]:
        yield x[:4], 0
        yield x[:0], 0
        yield x[4:], 1

    loader = DataLoader(TensorDataset(x, torch.arange(6)), batch_size=4)
    for batches in (generated(), loader, iter(loader), x.split([4, 2])):
        assert torch.equal(moment(batches, max_rows=50), expected)
    torch.testing.assert_close(moment(x, max_rows=50), expected)


@pytest.mark.parametrize(
    ("options", "times"), [({}, 1), ({"max_rows": 50}, 2), ({"max_rows": 50, "num_samples": 6}, 1)]
)
def test_a_loader_is_gone_through_twice_only_where_its_samples_must_be_counted(
    options: dict[str, Any], times: int
) -> None:
    class Loader:
        begun = 0

        def __iter__(self) -> Iterator[Tensor]:
            self.begun += 1
            return iter(normal(6, 3, 8, 8).split(2))

    loader = Loader()
    moment(loader, **options)
    assert loader.begun == times


def test_a_stream_of_known_length_is_never_held() -> None:
    alive = 0

    class Counted:
        def __init__(self) -> None:
            nonlocal alive
            alive += 1
            self.x = normal(2, 3, 8, 8)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    most = 0

    def stream() -> Iterator[Tensor]:
        nonlocal most
        for _ in range(5):
            batch = Counted()
            most = max(most, alive)
            yield batch.x
            del batch

    moment(stream(), max_rows=50, num_samples=10)
    assert most == 1


def test_integer_inputs_are_taken_by_a_model_that_looks_them_up() -> None:
    model = seeded(nn.Sequential(nn.Embedding(9, 6), nn.Flatten(), nn.Linear(24, 3)))
    retain, forget = torch.arange(12).view(3, 4) % 9, torch.arange(8).view(2, 4) % 5
    erasure = erase_classes(model, retain=[retain], forget=[forget])
    assert list(erasure.weights) == ["2.weight"]
    assert {entry.name for entry in erasure.untouched} == {"0.weight", "2.bias"}


X = normal(4, 3, 8, 8)
BAD: dict[str, tuple[Any, type[UnlearningError], str]] = {
    "nothing": ([], EmptySide, "at least one sample on the retain side"),
    "empty batches": ([X[:0], X[:0]], EmptySide, "at least one sample on the retain side"),
    "a loader that yields nothing": (iter(()), EmptySide, "at least one sample on the retain side"),
    "no iterable": (7, BadBatch, "got int instead of batches"),
    "text": (["a.png"], BadBatch, "got str"),
    "a dictionary": ([{"image": X}], BadBatch, "got dict"),
    "an array": ([X.numpy()], BadBatch, "got ndarray"),
    "scalars": ([torch.tensor(1.0)], BadBatch, "got a scalar tensor"),
    "too few axes": ([X[:, 0, 0]], ForwardFailed, r"a batch of shape \(2, 8\), torch.float32 on cpu"),
    "other channels": ([X[:, :2]], ForwardFailed, r"expected input\[2, 2, 8, 8\] to have 3 channels"),
    "another size": ([X[:, :, :6]], ForwardFailed, "its forward pass raised"),
    "a later batch of another size": ([X, X[:, :, :6]], ForwardFailed, r"a batch of shape \(4, 3, 6, 8\)"),
    "another dtype": ([X.double()], ForwardFailed, "torch.float64 on cpu"),
    "integers": ([X.long()], ForwardFailed, "torch.int64 on cpu"),
    "another device": ([X.to("meta")], BadBatch, "got a tensor without data"),
    "NaN": ([X, X * float("nan")], NonFinite, r"the inputs of batch 1 \(retain side\)"),
    "infinity": ([X / 0], NonFinite, r"the inputs of batch 0 \(retain side\)"),
}


@pytest.mark.parametrize("max_rows", [None, 50])
@pytest.mark.parametrize("name", BAD)
def test_bad_batches_are_refused_in_words(name: str, max_rows: int | None) -> None:
    batches, error, message = BAD[name]
    model = seeded(SmallConvNet()).train()
    before = state_of(model)
    with pytest.raises(error, match=message):
        collect(model, iter(batches) if name == "nothing" else batches, max_rows=max_rows)
    assert state_of(model) == before


def test_numbers_that_go_bad_inside_the_model_name_the_layer() -> None:
    class Divides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.second(self.first(x) / 0)
            return y

    with pytest.raises(NonFinite, match=r"'second.weight' \(forget side\)"):
        collect(seeded(Divides()), [normal(3, 4)], side="forget")


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_a_bad_weight_is_named(bad: float) -> None:
    model = seeded(SmallConvNet())
    with torch.no_grad():
        model.hidden.weight[3, 7] = bad
    with pytest.raises(NonFinite, match=r"weight 'hidden\.weight'"):
        collect(model, [X])
    collect(model, [X], weights=["first.weight"])


def test_a_model_without_data_is_refused() -> None:
    with pytest.raises(OptionOutOfRange, match="one that holds data, got 'meta'"):
        collect(seeded(SmallConvNet()).to("meta"), [X])


def test_models_without_a_layer_and_unknown_layers_are_refused() -> None:
    with pytest.raises(NothingToProject, match="BatchNorm2d has none"):
        collect(nn.BatchNorm2d(3), [X])
    with pytest.raises(UnknownLayer, match=r"got \['first\.bias'\]"):
        collect(seeded(SmallConvNet()), [X], weights=["first.bias"])
    with pytest.raises(NothingToProject):
        collect(seeded(SmallConvNet()), [X], weights=[])


HUGE = pytest.param(10**400, id="huge")


@pytest.mark.parametrize("alpha", [0, -1, float("nan"), float("inf"), "100", None, HUGE, torch.ones(2)])
@pytest.mark.parametrize("option", ["alpha_r", "alpha_f"])
def test_alphas_out_of_range_are_refused(option: str, alpha: Any) -> None:
    with pytest.raises(OptionOutOfRange, match=option):
        erase_classes(seeded(SmallConvNet()), retain=[X], forget=[X], **{option: alpha})


def test_one_sample_is_enough_to_find_the_layers() -> None:
    model = seeded(SmallConvNet())
    names = [layer.weight for layer in find_layers(model, X).layers]
    assert names == ["first.weight", "second.weight", "hidden.weight", "head.weight"]
    assert [layer.weight for layer in find_layers(model, torch.zeros(1, 3, 8, 8)).layers] == names
