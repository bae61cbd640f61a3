"""Second moments against the naive product, whatever the model does and however the data come."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.flop_counter import FlopCounterMode

from tests.fixtures.small_models import SmallConvNet, normal, seeded
from tests.fixtures.svd_oracle import patches, pixel_by_pixel
from unlearning.deferred import Deferred, DeferredImages
from unlearning.errors import (
    AllZeroActivations,
    BadBatch,
    EmptySide,
    NonFinite,
    NothingToProject,
    OptionOutOfRange,
    SampleCountMismatch,
    ShapeError,
    UnknownLayer,
)
from unlearning.patches import Drawn, PatchRows
from unlearning.statistics import SecondMomentSum, collect


def hooks_of(model: nn.Module) -> int:
    return sum(len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules())


def naive(rows: Tensor) -> Tensor:
    return torch.einsum("ngd,nge->gde", rows.double(), rows.double())


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("pieces", [[500], [1] * 50 + [450], [130, 70, 300], [64] * 7 + [52]])
def test_the_sum_is_the_naive_product_whatever_the_pieces(
    groups: int, pieces: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unlearning.statistics._BLOCK_ROWS", 64)
    rows = normal(500, groups, 7)
    sums, whole = SecondMomentSum(7, groups), SecondMomentSum(7, groups)
    whole.add(rows)
    for piece in rows.split(pieces):
        sums.add(piece)
    moment = sums.finish()
    assert moment.rows == 500
    assert torch.equal(moment.gram, whole.finish().gram)
    torch.testing.assert_close(moment.gram.double(), naive(rows), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("n", [0, 1, 9, 10, 11, 40])
@pytest.mark.parametrize("step", [1, 4, 40])
def test_few_rows_are_kept_as_they_are_and_more_are_summed(n: int, groups: int, step: int) -> None:
    d, rows = 20, normal(n, groups, 20)
    sums = SecondMomentSum(d, groups)
    for piece in rows.split(step):
        handed = piece.clone()
        sums.add(handed)
        handed.fill_(torch.nan)  # a sink may not rely on what it was handed
    moment = sums.finish()
    assert (moment.rows, moment.d, moment.groups) == (n, d, groups)
    assert isinstance(moment.held, Tensor) == (n <= d // 2)
    torch.testing.assert_close(moment.gram.double(), naive(rows), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(moment.diagonal.double(), naive(rows).diagonal(dim1=-2, dim2=-1), rtol=1e-5, atol=1e-4)
    assert moment.numel() <= groups * d * d


def test_a_long_stream_costs_no_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlearning.statistics._BLOCK_ROWS", 1)
    rows = torch.full((60_001, 1, 1), 0.1).sqrt()
    sums = SecondMomentSum(1)
    sums.add(rows)
    squares = rows[:, 0, 0].square()
    expected = float(squares.double().sum())
    one_by_one = float(np.add.accumulate(squares.numpy())[-1])
    assert abs(one_by_one / expected - 1) > 1e-5
    assert float(sums.finish().gram) == pytest.approx(expected, rel=1e-6)


def test_half_precision_rows_that_do_not_lie_in_order_are_summed_in_float32() -> None:
    rows = normal(5, 2, 60).bfloat16().permute(2, 1, 0)
    sums = SecondMomentSum(5, 2)
    sums.add(rows)
    moment = sums.finish()
    assert moment.dtype == torch.float32
    torch.testing.assert_close(moment.gram.double(), naive(rows), rtol=1e-5, atol=1e-5)


def test_the_normalised_moment_has_trace_one_in_every_group_that_is_alive() -> None:
    rows = normal(20, 3, 4)
    rows[:, 1] = 0
    sums = SecondMomentSum(4, 3)
    sums.add(rows)
    traces = sums.finish().normalised().diagonal(dim1=-2, dim2=-1).sum(-1)
    torch.testing.assert_close(traces, torch.tensor([1.0, 0.0, 1.0]))


def drawn_from(x: Tensor, groups: int, share: float) -> Drawn:
    """Return some of the patches of a 3 x 3 convolution with padding."""
    rows = PatchRows(x, (3, 3), (1, 1), (1, 1), (1, 1), groups)
    chance = torch.rand(rows.items * rows.positions, generator=torch.Generator().manual_seed(0))
    return Drawn(rows, None if share == 1 else (chance < share).nonzero()[:, 0])


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("share", [1, 0.6])
@pytest.mark.parametrize("samples", [1, 5, 90])
def test_patches_that_reach_over_the_edge_are_summed_without_their_zeros(
    groups: int, share: float, samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unlearning.deferred._LEAST_WIDTH", 1)
    monkeypatch.setattr("unlearning.deferred._MOST_IMAGES", 40)
    monkeypatch.setattr("unlearning.symmetric._SMALLEST_BLOCK", 16)
    drawn = drawn_from(normal(samples, 16, 3, 2), groups, share)
    whole = torch.cat(list(drawn.pieces()))
    sums = SecondMomentSum(whole.shape[2], groups)
    sums.add_drawn(drawn)
    moment = sums.finish()
    assert moment.rows == len(whole) == len(drawn)
    assert isinstance(moment.held, Tensor) == (len(whole) <= whole.shape[2] // 2)
    torch.testing.assert_close(moment.gram.double(), naive(whole), rtol=1e-5, atol=1e-4)


def _product_flops(_sum: tuple[int, ...], left: tuple[int, ...], right: tuple[int, ...], **_: object) -> int:
    return 2 * prod(left) * right[-1]


def test_the_zeros_of_the_padding_are_not_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlearning.deferred._LEAST_WIDTH", 1)
    drawn, operations = drawn_from(normal(128, 16, 2, 2), 1, 1), []
    for most in (0.85, 0.0):
        monkeypatch.setattr("unlearning.deferred._MOST_KEPT", most)
        with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.baddbmm_: _product_flops}) as counter:
            sums = SecondMomentSum(144)
            sums.add_drawn(drawn)
            sums.finish()
        operations.append(counter.get_total_flops())
    assert operations[0] < 0.25 * operations[1]


@pytest.mark.parametrize("pieces", [[90], [1] * 90, [39, 2, 49], [64, 26]])
def test_the_sum_over_patches_is_the_same_however_the_images_come(
    pieces: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unlearning.deferred._LEAST_WIDTH", 1)
    monkeypatch.setattr("unlearning.deferred._MOST_IMAGES", 40)
    x = normal(90, 4, 2, 2)
    sums, whole = SecondMomentSum(36), SecondMomentSum(36)
    whole.add_drawn(drawn_from(x, 1, 1))
    for piece in x.split(pieces):
        handed = piece.clone()
        sums.add_drawn(drawn_from(handed, 1, 1))
        handed.fill_(torch.nan)  # the images are the model's, which may write to them
    assert torch.equal(sums.finish().gram, whole.finish().gram)


def test_images_of_several_sizes_are_summed_up() -> None:
    x = [normal(20, 64, size, 2, seed=size) for size in (2, 3, 2)]
    sums = SecondMomentSum(576)
    for part in x:
        sums.add_drawn(drawn_from(part, 1, 1))
    rows = torch.cat([row for part in x for row in drawn_from(part, 1, 1).pieces()])
    torch.testing.assert_close(sums.finish().gram.double(), naive(rows), rtol=1e-5, atol=1e-4)


def test_of_images_only_those_wait_that_rows_were_drawn_from() -> None:
    images, batches = DeferredImages(), list[Deferred]()
    x = normal(3000, 64, 4, 4)
    for part in x.split(100):
        batches += images.add(PatchRows(part, (3, 3), (1, 1), (1, 1), (1, 1), 1), torch.tensor([17, 18, 90 * 16]))
    batches += images.rest()
    assert [len(batch.patches.inputs) for batch in batches] == [2 * 30]
    assert torch.equal(batches[0].patches.inputs[:4], x[[1, 90, 101, 190]])


@pytest.mark.parametrize(("each", "is_cut"), [(0.01, False), (1, True)])
def test_zeros_are_left_out_where_that_makes_products_smaller(each: float, is_cut: bool) -> None:
    images = DeferredImages()
    chance = torch.rand(500 * 16, generator=torch.Generator().manual_seed(0))
    rows = PatchRows(normal(500, 64, 4, 4), (3, 3), (1, 1), (1, 1), (1, 1), 1)
    index = (chance < each).nonzero()[:, 0]
    parts = [part for batch in [*images.add(rows, index), *images.rest()] for part in batch.parts()]
    assert any(part.columns is not None for part in parts) == is_cut
    assert sum(len(part.rows) for part in parts) == len(index)


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"Expected rows of shape \(n, 1, 54\), got \(90, 1, 576\)"):
        SecondMomentSum(54).add_drawn(drawn_from(normal(15, 64, 3, 2), 1, 1))
    with pytest.raises(ShapeError, match=r"Expected rows of shape \(n, 1, 4\), got \(2, 1, 5\)"):
        SecondMomentSum(4).add(torch.zeros(2, 1, 5))


def test_every_layer_of_a_model_is_measured_in_order_of_execution() -> None:
    model, x = seeded(SmallConvNet()), normal(10, 3, 8, 8)
    statistics = collect(model, [x])
    assert list(statistics.moments) == ["first.weight", "second.weight", "hidden.weight", "head.weight"]
    seen = pixel_by_pixel(model.first, patches(model.first, x))
    torch.testing.assert_close(statistics.moments["first.weight"].gram.double(), naive(seen), rtol=1e-5, atol=1e-3)
    model.eval()
    with torch.no_grad():
        inner = torch.relu(model.norm(model.first(x)))
    second = statistics.moments["second.weight"]
    seen = pixel_by_pixel(model.second, patches(model.second, inner))
    torch.testing.assert_close(second.gram.double(), naive(seen), rtol=1e-5, atol=1e-3)
    assert (second.rows, statistics.num_samples) == (160, 10)


@pytest.mark.parametrize("max_rows", [None, 70])
@pytest.mark.parametrize("size", [1, 3, 10])
def test_batching_changes_nothing(size: int, max_rows: int | None) -> None:
    model, x = seeded(SmallConvNet()).double(), normal(10, 3, 8, 8).double()
    whole = collect(model, [x], max_rows=max_rows, seed=5)
    parts = collect(model, iter(x.split(size)), max_rows=max_rows, seed=5)
    for name, moment in whole.moments.items():
        assert parts.moments[name].rows == moment.rows <= (max_rows or 640)
        torch.testing.assert_close(parts.moments[name].gram, moment.gram)


def test_tuples_of_a_data_loader_a_bare_tensor_and_an_announced_stream_are_all_welcome() -> None:
    model, x = seeded(SmallConvNet()), normal(6, 3, 8, 8)

    def stream() -> Iterator[Tensor]:
        yield from x.split(2)

    grams = [
        collect(model, batches, max_rows=30, num_samples=announced).moments["second.weight"].gram
        for batches, announced in (([[x, torch.zeros(6)]], None), (x, None), (stream(), None), (stream(), 6))
    ]
    for gram in grams[1:]:
        torch.testing.assert_close(gram, grams[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("announced", [5, 7])
def test_a_stream_that_is_not_as_long_as_announced_is_refused(announced: int) -> None:
    with pytest.raises(SampleCountMismatch, match=f"Expected {announced}"):
        collect(seeded(SmallConvNet()), normal(6, 3, 8, 8).split(2), max_rows=30, num_samples=announced)


class Twice(nn.Module):
    """Applies one layer twice, and the same weight once more under another name."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(5, 5)
        self.tied = nn.Linear(5, 5)
        self.tied.weight = self.inner.weight

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.tied(self.inner(self.inner(x)))
        return y


def test_all_calls_of_a_shared_weight_are_summed_up() -> None:
    model, x = seeded(Twice()), normal(9, 5)
    moment = collect(model, [x]).moments["inner.weight"]
    with torch.no_grad():
        once = model.inner(x)
        rows = torch.cat([x, once, model.inner(once)])
    assert moment.rows == 27
    torch.testing.assert_close(moment.gram[0], rows.T @ rows, rtol=1e-5, atol=1e-4)
    assert collect(model, [x], max_rows=12).moments["inner.weight"].rows == 12


class Mixed(nn.Module):
    """Holds everything that cannot be projected."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(4, 6)
        self.tied_to_table = nn.Linear(6, 4, bias=False)
        self.tied_to_table.weight = self.table.weight
        self.norm = nn.LayerNorm(6)
        self.used = nn.Linear(6, 6)
        self.spare = nn.Linear(6, 6)
        self.wrapped = parametrizations.weight_norm(nn.Linear(6, 6))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.tied_to_table(self.wrapped(self.used(self.norm(x + self.table.weight[0]))))
        return y


def test_what_cannot_be_projected_is_listed_with_share_and_reason() -> None:
    model = seeded(Mixed())
    statistics = collect(model, [normal(3, 6)])
    assert list(statistics.moments) == ["used.weight", "wrapped.weight"]
    reasons = {entry.name: entry.reason for entry in statistics.untouched}
    assert "also used otherwise" in reasons["table.weight"]
    assert "normalisation" in reasons["norm.weight"]
    assert reasons["used.bias"] == "bias"
    assert reasons["spare.weight"] == "never used in the forward pass"
    assert [name for name in reasons if name.startswith("wrapped")] == ["wrapped.bias"]
    total = sum(parameter.numel() for parameter in model.parameters())
    edited = [model.used.weight, *model.wrapped.parametrizations.weight.parameters()]
    shares = sum(entry.share for entry in statistics.untouched) + sum(weight.numel() for weight in edited) / total
    assert shares == pytest.approx(1)


def test_modes_are_restored_and_hooks_removed() -> None:
    model = seeded(SmallConvNet()).train()
    model.norm.eval()
    before = model.norm.running_mean
    collect(model, [normal(4, 3, 8, 8)])
    assert model.training
    assert model.first.training
    assert not model.norm.training
    assert model.norm.running_mean is before
    assert hooks_of(model) == 0


class Breaks(SmallConvNet):
    """Fails from the second batch on."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        y = super().forward(x)
        if self.calls > 2:
            message = "broken"
            raise RuntimeError(message)
        return y


def test_modes_are_restored_and_hooks_removed_after_an_exception_in_the_model() -> None:
    model = seeded(Breaks()).train()
    with pytest.raises(RuntimeError, match="broken"):
        collect(model, normal(4, 3, 8, 8).split(2))
    assert model.training
    assert hooks_of(model) == 0


def test_a_progress_callback_may_end_the_work() -> None:
    model, seen = seeded(SmallConvNet()).train(), []

    def stop(stage: str, done: int, total: int | None) -> None:
        seen.append((stage, done, total))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(model, normal(4, 3, 8, 8).split(2), max_rows=50, progress=stop, side="forget")
    assert seen == [("forget", 2, 4)]
    assert hooks_of(model) == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_bad_numbers_are_refused_where_they_are_first_seen(bad: float) -> None:
    model, x = seeded(SmallConvNet()), normal(4, 3, 8, 8)
    x[1, 0, 2, 2] = bad
    with pytest.raises(NonFinite, match=r"inputs of batch 0 \(forget side\)"):
        collect(model, [x], side="forget")
    with torch.no_grad():
        model.hidden.weight[0, 0] = bad
    with pytest.raises(NonFinite, match=r"weight 'hidden\.weight'"):
        collect(model, [normal(4, 3, 8, 8)])


def test_a_layer_that_sees_only_zeros_is_refused() -> None:
    with pytest.raises(AllZeroActivations, match=r"'first\.weight' on the retain side"):
        collect(seeded(SmallConvNet()), [torch.zeros(2, 3, 8, 8)])


@pytest.mark.parametrize("batches", [[], [torch.zeros(0, 3, 8, 8)]])
@pytest.mark.parametrize("max_rows", [None, 10])
def test_an_empty_side_is_refused(batches: list[Tensor], max_rows: int | None) -> None:
    with pytest.raises(EmptySide, match="forget"):
        collect(seeded(SmallConvNet()), batches, max_rows=max_rows, side="forget")


def test_bad_options_and_batches_are_refused() -> None:
    model, x = seeded(SmallConvNet()), normal(2, 3, 8, 8)
    with pytest.raises(BadBatch, match="got str"):
        collect(model, ["image"])
    with pytest.raises(BadBatch, match="scalar"):
        collect(model, [torch.tensor(1.0)])
    with pytest.raises(OptionOutOfRange, match="max_rows"):
        collect(model, [x], max_rows=0)
    with pytest.raises(UnknownLayer, match="norm"):
        collect(model, [x], weights=["norm.weight"])


def test_a_model_without_linear_or_convolution_is_refused() -> None:
    with pytest.raises(NothingToProject, match="ReLU has none"):
        collect(nn.ReLU(), [normal(2, 3)])
    with pytest.raises(NothingToProject):
        collect(seeded(SmallConvNet()), [normal(2, 3, 8, 8)], weights=[])


def test_half_precision_models_are_measured_in_float32() -> None:
    model = seeded(SmallConvNet()).bfloat16()
    moment = collect(model, [normal(4, 3, 8, 8).bfloat16()]).moments["first.weight"]
    assert moment.gram.dtype == torch.float32
