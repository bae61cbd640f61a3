"""The debiased CKA against the estimator written out for Gram matrices, its invariances and its jackknife."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.fixtures.digits_models import FORGET, Digits
from tests.fixtures.small_models import normal
from unlearning.errors import NonFinite, OptionOutOfRange, ShapeError, UnknownLayer
from unlearning.evaluation import cka_measures, linear_cka, stages, trace


def naive_hsic(x: np.ndarray, y: np.ndarray) -> float:
    """Song et al.'s estimator as it is printed, with n x n matrices."""
    n = len(x)
    k, l = x @ x.T, y @ y.T  # noqa: E741 the paper's letters
    np.fill_diagonal(k, 0)
    np.fill_diagonal(l, 0)
    one = np.ones(n)
    second = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    return float((np.trace(k @ l) + second - 2 / (n - 2) * (one @ k @ l @ one)) / (n * (n - 3)))


def naive_cka(x: np.ndarray, y: np.ndarray) -> float:
    return naive_hsic(x, y) / float(np.sqrt(naive_hsic(x, x) * naive_hsic(y, y)))


def pair(n: int, p: int, q: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two sides that share some directions."""
    shared = normal(n, 4, seed=9)
    return torch.cat([shared, normal(n, p - 4)], dim=1), torch.cat([shared, normal(n, q - 4, seed=1)], dim=1)


@pytest.mark.parametrize(("n", "p", "q"), [(40, 6, 9), (12, 12, 12), (15, 60, 40)])
def test_it_is_the_published_estimator_with_few_and_with_many_features(n: int, p: int, q: int) -> None:
    x, y = pair(n, p, q)
    a, b = 3 + x.double().numpy(), y.double().numpy()  # the estimator ignores means
    assert linear_cka(3 + x, y, seed=0).value == pytest.approx(naive_cka(a, b), rel=1e-5)


@pytest.mark.parametrize(("n", "p", "q"), [(14, 5, 6), (9, 30, 20)])
def test_the_interval_is_the_jackknife_of_leaving_each_sample_out(n: int, p: int, q: int) -> None:
    x, y = pair(n, p, q)
    a, b = x.double().numpy(), y.double().numpy()
    left_out = np.array([naive_cka(np.delete(a, i, 0), np.delete(b, i, 0)) for i in range(n)])
    half = 1.959963984540054 * np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum())
    found = linear_cka(x, y, seed=0)
    assert found.low == pytest.approx(max(-1, found.value - half), rel=1e-5)
    assert found.high == pytest.approx(min(1, found.value + half), rel=1e-5)


def test_rotation_scale_and_shift_change_nothing_and_other_maps_do() -> None:
    x, y = pair(50, 8, 8)
    rotation = torch.linalg.qr(normal(8, 8, seed=5)).Q
    assert linear_cka(x, 3 * x @ rotation + 7, seed=0).value == pytest.approx(1, abs=1e-6)
    plain = linear_cka(x, y, seed=0).value
    assert linear_cka(0.01 * x @ rotation - 2, y, seed=0).value == pytest.approx(plain, abs=1e-6)
    assert linear_cka(y, x, seed=0).value == pytest.approx(plain)
    stretched = x * torch.tensor([30.0, *[1.0] * 7])
    assert linear_cka(x, stretched, seed=0).value < 0.8


def test_unrelated_features_are_at_zero_where_the_plain_estimator_sees_likeness() -> None:
    x, y = normal(100, 512), normal(100, 512, seed=1)
    a, b = (side.double() - side.double().mean(dim=0) for side in (x, y))
    plain = (b.T @ a).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm())
    assert plain > 0.8
    found = linear_cka(x, y, seed=0)
    assert abs(found.value) < 0.05
    assert (found.low or 0) < 0 < (found.high or 0)


def test_a_seeded_choice_of_samples_is_used_when_there_are_many() -> None:
    x, y = pair(80, 6, 6)
    first, again, other = (linear_cka(x, y, max_samples=40, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert (first.n, first.seed) == (40, 1)
    assert first.value != other.value


def test_a_mask_leaves_all_features_and_retraining_does_not(digits: Digits) -> None:
    x, _ = digits.forgotten
    names = stages(digits.original, x)
    original, masked, retrained = (
        trace(m, x, names).features for m in (digits.original, digits.masked, digits.retrained)
    )
    same = cka_measures(masked, original, name="cka_forget_original", seed=0)
    assert [measure.name for measure in same] == [f"cka_forget_original_at_{stage}" for stage in masked]
    assert all(measure.value == pytest.approx(1) for measure in same)
    last = "classifier.fc2"
    assert (linear_cka(retrained[last], original[last], seed=0).high or 1) < 0.9
    kept = digits.test[0][torch.from_numpy(digits.test[1] != FORGET)]
    a, b = (trace(m, kept, [last]).features[last] for m in (digits.original, digits.retrained))
    assert (linear_cka(a, b, seed=0).low or 0) > 0.9


def test_features_that_cannot_be_compared_are_refused() -> None:
    x = normal(10, 3)
    with pytest.raises(ShapeError, match="same samples"):
        linear_cka(x, x[:9], seed=0)
    with pytest.raises(OptionOutOfRange, match="at least 5"):
        linear_cka(x[:4], x[:4], seed=0)
    with pytest.raises(NonFinite, match="do not vary"):
        linear_cka(x, torch.ones(10, 3), seed=0)
    with pytest.raises(NonFinite):
        linear_cka(x, x / 0, seed=0)
    with pytest.raises(UnknownLayer, match="fc"):
        cka_measures({"fc": x}, {"other": x}, name="cka", seed=0)
