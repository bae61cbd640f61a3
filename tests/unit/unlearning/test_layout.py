"""A model gets batches of its own, images with their channels last where it takes them so."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.fixtures.small_models import normal, seeded
from unlearning import Bench, collect, erase_classes, layers_at_most, refit_classes
from unlearning.errors import ForwardFailed
from unlearning.evaluation import predict_logits
from unlearning.evaluation.stages import stages
from unlearning.layout import layout_of


class Viewing(nn.Module):
    """Flattens without a copy, which images with their channels last do not allow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4 * 6 * 6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        logits: Tensor = self.head(x.view(len(x), -1))
        return logits


class Reshaping(Viewing):
    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.conv(x).flatten(1))
        return logits


@pytest.mark.parametrize(("model", "is_last"), [(Reshaping(), True), (Viewing(), False)])
def test_channels_lie_last_where_the_model_takes_them_so(model: nn.Module, is_last: bool) -> None:
    x = normal(4, 3, 8, 8)
    laid = layout_of(model, x)(x)
    assert torch.equal(laid, x)
    assert laid.is_contiguous(memory_format=torch.channels_last) == is_last


@pytest.mark.parametrize("x", [normal(4, 3), normal(4, 1, 8, 8), torch.zeros(4, 3, 8, 8, dtype=torch.long)])
def test_what_is_no_image_of_several_channels_keeps_its_strides(x: Tensor) -> None:
    laid = layout_of(nn.Identity(), x)(x)
    assert torch.equal(laid, x)
    assert laid.stride() == x.stride()


class InPlace(nn.Module):
    """Works in place on what it is called with."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.body(x.sub_(0.5))
        return logits


class Apart(InPlace):
    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.body(x - 0.5)
        return logits


def erased(model: nn.Module, x: Tensor) -> list[Tensor]:
    return list(erase_classes(model, retain=x[:8].split(4), forget=[x[8:]]).weights.values())


def refit(model: nn.Module, x: Tensor) -> list[Tensor]:
    return list(refit_classes(model, retain=x[:8].split(4), forget=[x[8:]], classes={1}).weights.values())


def benched(model: nn.Module, x: Tensor) -> list[Tensor]:
    bench = Bench.of(model, x, np.arange(12) % 3, {1}, batch_size=4)
    edit = {name: weight * 0.9 for name, weight in model.state_dict().items() if name.endswith("3.weight")}
    layers_at_most(model, x)
    stages(model, x)
    return [torch.tensor([*bench.judge(edit), *bench.judge(edit)], dtype=torch.float64)]


def predicted(model: nn.Module, x: Tensor) -> list[Tensor]:
    return [predict_logits(model, x), predict_logits(model, x[:3])]


@pytest.mark.parametrize("work", [erased, refit, benched, predicted])
@pytest.mark.parametrize(
    "x",
    [normal(12, 8), normal(12, 1, 2, 4), normal(12, 2, 2, 2).contiguous(memory_format=torch.channels_last)],
    ids=["vectors", "grayscale", "channels last"],
)
def test_a_model_that_works_in_place_gets_batches_of_its_own(
    work: Callable[[nn.Module, Tensor], list[Tensor]], x: Tensor
) -> None:
    body = seeded(nn.Sequential(nn.Flatten(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)))
    before, expected = x.clone(), work(Apart(body), x)
    for given, wanted in zip(work(InPlace(body), x), expected, strict=True):
        torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-5)
    assert torch.equal(x, before)


@pytest.mark.parametrize("x", [normal(4, 3, 8, 8), normal(4, 3, 8, 8).double()])
def test_what_is_copied_to_lie_otherwise_is_copied_once(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = layout_of(Reshaping().to(x.dtype), x)

    def no_clone(_tensor: Tensor) -> Tensor:
        raise AssertionError

    monkeypatch.setattr(Tensor, "clone", no_clone)
    assert layout(x).data_ptr() != x.data_ptr()


def test_a_model_that_breaks_says_so_itself() -> None:
    with pytest.raises(ForwardFailed, match="expected input"):
        layout_of(nn.Conv2d(5, 4, 3), normal(4, 3, 8, 8))


def test_statistics_of_a_model_that_views_are_those_of_one_that_reshapes() -> None:
    viewing, reshaping = Viewing(), Reshaping()
    reshaping.load_state_dict(viewing.state_dict())
    x = normal(6, 3, 8, 8)
    first, second = (collect(model, [x], seed=0) for model in (viewing, reshaping))
    for key, moment in first.moments.items():
        torch.testing.assert_close(moment.gram, second.moments[key].gram, rtol=1e-5, atol=1e-6)
