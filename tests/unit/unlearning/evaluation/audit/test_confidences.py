"""The confidence under audit against its definition in exact arithmetic, where float32 and 1 - p fail."""

from __future__ import annotations

from decimal import Decimal, getcontext
from typing import Any

import numpy as np
import pytest
import torch

from tests.fixtures.small_models import normal
from tests.unit.unlearning.evaluation.audit.populations import normals
from unlearning.errors import ClassIndexOutOfRange, NonFinite, OptionOutOfRange, ShapeError, UnlearningError
from unlearning.evaluation import membership_scores
from unlearning.evaluation.audit import clipped_margin, logit_scaled_confidence
from unlearning.evaluation.audit.confidences import checked_populations, checked_released, log_probability


def exact(row: list[float], label: int) -> float:
    getcontext().prec = 400
    p = [Decimal(z).exp() for z in row]
    rest = sum((value for j, value in enumerate(p) if j != label), Decimal(0))
    return float((p[label] / rest).ln())


@pytest.mark.parametrize("scale", [0.1, 3.0, 80.0, 300.0])
def test_the_confidence_is_the_log_odds_of_the_true_class_in_exact_arithmetic(scale: float) -> None:
    logits, labels = normal(12, 4) * scale, np.arange(12) % 4
    found = logit_scaled_confidence(logits, labels)
    expected = [exact(row, label) for row, label in zip(logits.double().tolist(), labels.tolist(), strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_samples_whose_probability_rounds_to_one_keep_their_order() -> None:
    logits = torch.tensor([[40.0, 0.0], [60.0, 0.0], [900.0, 0.0], [-900.0, 0.0]])
    assert logit_scaled_confidence(logits, [0] * 4).tolist() == [40.0, 60.0, 900.0, -900.0]


def test_it_is_the_margin_of_the_membership_attack_and_only_differences_of_logits_matter() -> None:
    logits, labels = normal(30, 5), np.arange(30) % 5
    found = logit_scaled_confidence(logits, labels)
    np.testing.assert_allclose(found, membership_scores(logits, labels)["margin"], atol=1e-9)
    np.testing.assert_allclose(found, logit_scaled_confidence(logits.double().numpy() + 7.0, labels), atol=1e-9)


def test_the_margin_of_klom_stays_within_a_hundred() -> None:
    assert clipped_margin(np.array([-1e9, -100.0, 3.0, 101.0])).tolist() == [-100.0, -100.0, 3.0, 100.0]


def test_the_log_probability_is_finite_however_small_the_probability() -> None:
    phi = np.array([-1e6, -50.0, 0.0, 50.0, 1e6])
    np.testing.assert_allclose(log_probability(phi), [-1e6, -50.0, -np.log(2), -np.exp(-50.0), 0.0], rtol=1e-12)


def test_outputs_that_are_no_outputs_are_refused() -> None:
    with pytest.raises(ShapeError, match="K >= 2"):
        logit_scaled_confidence(normal(4, 1), [0] * 4)
    with pytest.raises(ShapeError, match="labels"):
        logit_scaled_confidence(normal(4, 3), [0] * 3)
    with pytest.raises(ClassIndexOutOfRange):
        logit_scaled_confidence(normal(4, 3), [3] * 4)
    with pytest.raises(NonFinite):
        logit_scaled_confidence(torch.tensor([[0.0, -torch.inf]]), [0])


BAD: dict[str, tuple[Any, Any, type[UnlearningError], str]] = {
    "too few unlearned": (
        np.zeros((3, 12)),
        np.zeros((4, 12)),
        OptionOutOfRange,
        "unlearned models .* at least 4, got 3",
    ),
    "too few retrained": (
        np.zeros((4, 12)),
        np.zeros((1, 12)),
        OptionOutOfRange,
        "retrained models .* at least 4, got 1",
    ),
    "too few samples": (np.zeros((4, 9)), np.zeros((4, 9)), OptionOutOfRange, "samples to be at least 10, got 9"),
    "other samples": (np.zeros((4, 12)), np.zeros((4, 11)), ShapeError, "retrained"),
    "no matrix": (np.zeros(12), np.zeros((4, 12)), ShapeError, "unlearned"),
    "NaN": (np.full((4, 12), np.nan), np.zeros((4, 12)), NonFinite, "unlearned"),
    "infinity": (np.zeros((4, 12)), np.full((4, 12), np.inf), NonFinite, "retrained"),
}


@pytest.mark.parametrize("case", BAD)
def test_populations_that_cannot_be_compared_are_refused(case: str) -> None:
    unlearned, retrained, error, message = BAD[case]
    with pytest.raises(error, match=message):
        checked_populations(unlearned, retrained)


def test_the_released_model_must_have_seen_the_same_samples() -> None:
    with pytest.raises(ShapeError, match=r"released model of shape \(12,\)"):
        checked_released(np.zeros(11), 12)
    with pytest.raises(NonFinite, match="released"):
        checked_released(np.full(12, np.nan), 12)
    assert checked_released(normals(4, 12).unlearned[0], 12).shape == (1, 12)
