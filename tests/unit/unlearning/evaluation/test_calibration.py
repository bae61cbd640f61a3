"""The calibration error against a naive loop; sureness of outputs, alone and beside a reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.fixtures.digits_models import FORGET, Digits
from tests.fixtures.small_models import normal
from unlearning.errors import EmptySide, NonFinite, ShapeError
from unlearning.evaluation import calibration_error, confidence_measures, entropy_histogram, predict_logits


def test_the_error_is_the_mean_difference_over_bins_of_equal_size() -> None:
    z, labels = 3 * normal(103, 4), np.random.default_rng(0).integers(0, 4, 103)
    p = torch.softmax(z.double(), dim=1).numpy()
    order = np.argsort(p.max(1), kind="stable")
    total = 0.0
    for part in np.array_split(order, 10):
        right = (p[part].argmax(1) == labels[part]).mean()
        total += len(part) / 103 * abs(right - p[part].max(1).mean())
    assert calibration_error(z, labels, bins=10).value == pytest.approx(total, rel=1e-6)


def calibrated(n: int, seed: int, temperature: float = 1.0) -> tuple[torch.Tensor, np.ndarray]:
    """Outputs whose softmax at temperature 1 is the truth, and labels drawn from it."""
    z = 2 * normal(n, 5, seed=seed).double()
    labels = torch.multinomial(torch.softmax(z, dim=1), 1, generator=torch.Generator().manual_seed(seed)).squeeze(1)
    return z / temperature, labels.numpy()


def test_outputs_that_say_what_they_mean_have_little_error_and_exaggerating_ones_much() -> None:
    honest = calibration_error(*calibrated(6000, 0))
    boasting = calibration_error(*calibrated(6000, 0, temperature=0.3))
    assert honest.value < 0.03
    assert (boasting.low or 0) > 0.15


def test_the_interval_is_about_as_wide_as_repeated_measurements_differ() -> None:
    found = [calibration_error(*calibrated(800, seed, temperature=0.5)) for seed in range(40)]
    half = np.mean([((one.high or 0) - (one.low or 0)) / 2 for one in found])
    assert half == pytest.approx(1.96 * np.std([one.value for one in found]), rel=0.35)


def test_uniform_outputs_are_unsure_and_sharp_ones_sure() -> None:
    uniform, sharp = torch.zeros(4, 5), torch.eye(5)[:4] * 500
    for logits, probability, entropy in ((uniform, 0.2, 1.0), (sharp, 1.0, 0.0)):
        found = {measure.name: measure.value for measure in confidence_measures(logits)}
        assert found == pytest.approx({"forget_max_probability": probability, "forget_entropy": entropy})
    assert entropy_histogram(torch.cat([uniform, sharp, sharp])) == (8, 0, 0, 0, 0, 0, 0, 0, 0, 4)


def test_the_gap_to_a_reference_is_paired() -> None:
    z, reference = 2 * normal(30, 4), 2 * normal(30, 4, seed=1)
    found = {measure.name: measure for measure in confidence_measures(z, reference)}
    p, q = (torch.softmax(side.double(), dim=1).amax(dim=1) for side in (z, reference))
    gap = found["forget_max_probability_gap"]
    assert gap.value == pytest.approx(float((p - q).mean()))
    half = 1.959963984540054 * float((p - q).std()) / math.sqrt(30)
    assert (gap.low, gap.high) == pytest.approx((gap.value - half, gap.value + half))
    assert all(m.value == 0 for m in confidence_measures(z, z) if m.name.endswith("_gap"))


def test_uniform_answers_stand_out_beside_a_retrained_model(digits: Digits) -> None:
    retrained = predict_logits(digits.retrained, digits.forgotten[0])
    found = {measure.name: measure for measure in confidence_measures(torch.zeros_like(retrained), retrained)}
    assert (found["forget_entropy_gap"].low or 0) > 0.5
    kept = torch.from_numpy(digits.test[1] != FORGET)
    logits = predict_logits(digits.original, digits.test[0][kept])
    assert calibration_error(logits, digits.test[1][kept.numpy()]).value < 0.05


def test_outputs_that_mean_nothing_are_refused() -> None:
    z = normal(4, 3)
    with pytest.raises(ShapeError, match="labels"):
        calibration_error(z, [0, 1])
    with pytest.raises(EmptySide):
        calibration_error(z[:0], [0])
    with pytest.raises(NonFinite):
        confidence_measures(z / 0)
    with pytest.raises(ShapeError, match="two outputs"):
        confidence_measures(z, z[:2])
    with pytest.raises(EmptySide):
        entropy_histogram(z[:0])
