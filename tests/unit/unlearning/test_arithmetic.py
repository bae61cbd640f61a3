"""Fast products keep single precision, and the setting they need is put back."""

from typing import Any

import pytest
import torch

from tests.fixtures.small_models import normal
from unlearning import arithmetic
from unlearning.arithmetic import MOST_ERROR, relative_error, swift_products


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
