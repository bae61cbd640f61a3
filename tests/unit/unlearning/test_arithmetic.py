"""Fast products keep single precision, permissions given to the model are its own, and every setting is put back."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.fixtures.small_models import SmallConvNet, normal, seeded
from unlearning import arithmetic, choose, collect, erase_classes, refit_classes
from unlearning.arithmetic import MOST_ERROR, full_precision, relative_error, swift_products


def precision() -> Any:
    module: Any = torch.backends.mkldnn
    return module.matmul.fp32_precision


def test_swift_products_are_of_single_precision() -> None:
    a, b = normal(300, 700), normal(700, 200)
    with swift_products():
        product = a @ b
    exact = a.double() @ b.double()
    assert (product.double() - exact).norm() <= 1e-6 * exact.norm()


def test_the_setting_is_put_back_after_an_exception() -> None:
    before = precision()
    with pytest.raises(LookupError), swift_products():
        raise LookupError
    assert precision() == before


def test_where_products_would_be_rounded_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "_is_exact", lambda: False)
    before = precision()
    with swift_products():
        assert precision() == before


def test_rounding_to_bfloat16_would_be_noticed() -> None:
    a, b = normal(512, 512), normal(512, 512)
    rounded = (a.bfloat16() @ b.bfloat16()).float()
    exact = a.double() @ b.double()
    assert relative_error(rounded, exact) > 100 * MOST_ERROR
    assert relative_error(a @ b, exact) < MOST_ERROR


@pytest.mark.parametrize("default", [torch.float32, torch.float64])
def test_the_exactness_of_single_precision_is_measured_whatever_the_defaults(
    default: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def noted(product: Tensor, exact: Tensor) -> float:
        seen.append((product.dtype, product.device.type))
        return relative_error(product, exact)

    monkeypatch.setattr(arithmetic, "relative_error", noted)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(default)
        with torch.device("meta"):
            arithmetic._is_exact.__wrapped__()
    finally:
        torch.set_default_dtype(before)
    assert set(seen) == {(torch.float32, "cpu")}


class Casting(nn.Module):
    """Has autocast in its own forward."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits: Tensor = self.body(x)
        return logits


def erased(model: nn.Module, x: Tensor) -> Any:
    return erase_classes(model, retain=x[:40].split(20), forget=[x[40:]]).weights


def refit(model: nn.Module, x: Tensor) -> Any:
    return refit_classes(model, retain=x[:40].split(20), forget=[x[40:]], classes={1}).weights


def chosen(model: nn.Module, x: Tensor) -> Any:
    sides = collect(model, x[:40].split(20)), collect(model, [x[40:]])
    choice = choose(model, *sides, inputs=x, labels=torch.arange(60) % 4, classes={1}, alphas_f=[1.0, 3.0])
    return {"scores": torch.tensor([candidate.score for candidate in choice.candidates])}


@pytest.mark.parametrize("is_frozen", [False, True])
@pytest.mark.parametrize("work", [erased, refit, chosen])
def test_autocast_around_the_engine_reaches_the_models_forwards_alone(
    work: Callable[[nn.Module, Tensor], Any], is_frozen: bool
) -> None:
    model, x = seeded(SmallConvNet()).requires_grad_(not is_frozen), normal(60, 3, 8, 8)
    inside = work(Casting(model), x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.is_autocast_cache_enabled()
        around = work(model, x)
        assert torch.is_autocast_cache_enabled()
        assert torch.is_autocast_enabled("cpu")
    for given, wanted in zip(around.values(), inside.values(), strict=True):
        assert torch.equal(given, wanted)


def test_an_edit_inside_autocast_reaches_the_next_forward() -> None:
    model, x = seeded(SmallConvNet()), normal(12, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        before = model(x)
        erase_classes(model, retain=[x[:8]], forget=[x[8:] + 1]).apply_to(model)
        after = model(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model(x), after)
    assert not torch.equal(before, after)


@pytest.fixture
def tf32() -> Iterator[Any]:
    backend: Any = torch.backends.cuda.matmul
    before = backend.fp32_precision
    backend.fp32_precision = "tf32"
    yield backend
    backend.fp32_precision = before


def test_tf32_is_the_models_as_well(tf32: Any) -> None:
    model, seen = seeded(SmallConvNet()), []
    model.register_forward_hook(lambda *_: seen.append(tf32.fp32_precision))

    with full_precision():
        assert tf32.fp32_precision == "ieee"
    collect(model, [normal(4, 3, 8, 8)])
    with pytest.raises(LookupError), full_precision():
        raise LookupError

    assert set(seen) == {"tf32"}
    assert tf32.fp32_precision == "tf32"
