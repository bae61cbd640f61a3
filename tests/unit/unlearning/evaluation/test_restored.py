"""What returns counts as far as the model still works: untouched features in full, foreign ones hardly."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.fixtures.digits_models import FORGET, Digits
from unlearning.errors import EmptySide, ShapeError
from unlearning.evaluation import classifier_back, last_layer_back, predict_logits, wilson_interval
from unlearning.evaluation.measure import Measure
from unlearning.evaluation.restored import LEAST_KNOWN, working_recovery


def hits(successes: int, n: int) -> np.ndarray:
    return np.arange(n) < successes


def limits(measure: Measure) -> tuple[float, float]:
    assert measure.low is not None
    assert measure.high is not None
    return measure.low, measure.high


def recovered(digits: Digits, put_back: object, model: torch.nn.Module) -> Measure:
    x, y = digits.test
    restored = put_back(model, digits.original, x)  # type: ignore[operator]
    right, before = ((predict_logits(one, x).argmax(dim=1).numpy() == y) for one in (restored, digits.original))
    gone = y == FORGET
    return working_recovery(right[gone], right[~gone], before[~gone], name="x")


@pytest.mark.parametrize("put_back", [last_layer_back, classifier_back])
def test_the_same_attack_succeeds_on_a_mask_and_fails_on_a_retrained_model(digits: Digits, put_back: object) -> None:
    assert recovered(digits, put_back, digits.masked).value > 0.9
    low, high = limits(recovered(digits, put_back, digits.retrained))
    assert low < high < 0.4


def test_without_anything_lost_it_is_the_plain_accuracy_and_its_interval_nearly_wilsons() -> None:
    kept = hits(990, 1000)
    found = working_recovery(hits(70, 100), kept, kept, name="x")
    low, high = limits(found)
    wilson = wilson_interval(70, 100)
    assert (found.value, found.n, found.direction) == (0.7, 100, "lower")
    assert high == pytest.approx(wilson[1], abs=1e-3)
    assert wilson[0] - 0.01 < low <= wilson[0]


def test_the_discount_is_the_share_of_the_originals_accuracy_that_is_left() -> None:
    found = working_recovery(hits(100, 100), hits(240, 1000), hits(960, 1000), name="x")
    assert found.value == pytest.approx(0.25)


def test_a_restored_model_that_is_better_on_the_others_gets_no_premium() -> None:
    assert working_recovery(hits(50, 100), hits(900, 1000), hits(800, 1000), name="x").value == 0.5


def test_an_original_that_knew_nothing_gives_no_discount() -> None:
    assert working_recovery(hits(50, 100), hits(0, 50), hits(0, 50), name="x").value == 0.5


def test_what_returns_is_a_part_of_what_the_original_knew() -> None:
    kept = hits(990, 1000)
    plain = working_recovery(hits(45, 100), kept, kept, name="x")
    scaled = working_recovery(hits(45, 100), kept, kept, forgotten_before=hits(50, 100), name="x")
    assert scaled.value == pytest.approx(plain.value / 0.5)
    untouched = working_recovery(hits(40, 100), kept, kept, forgotten_before=hits(40, 100), name="x")
    assert untouched.value == 1
    assert limits(untouched)[0] > 0.7


def test_a_class_that_the_original_hardly_knew_can_still_be_shown_to_be_gone() -> None:
    kept = hits(990, 1000)
    found = working_recovery(hits(0, 100), kept, kept, forgotten_before=hits(0, 100), name="x")
    assert found.value == 0
    assert limits(found)[1] == pytest.approx(wilson_interval(0, 100)[1] / LEAST_KNOWN, rel=1e-2)


def test_nothing_recovered_in_nothing_that_works_still_has_a_width() -> None:
    low, high = limits(working_recovery(hits(0, 90), hits(0, 800), hits(790, 800), name="x"))
    assert low == 0
    assert 0 < high < 0.001


def test_the_interval_holds_what_it_claims() -> None:
    """Simulated: in at least about 95 % of draws the true product lies inside."""
    rng = np.random.default_rng(0)
    for f, q, p, n, m in ((0.9, 0.1, 0.95, 90, 800), (0.4, 0.9, 0.95, 90, 800), (0.1, 0.3, 0.9, 1000, 1000)):
        covered = 0
        for _ in range(400):
            before = rng.random(m) < p
            found = working_recovery(rng.random(n) < f, rng.random(m) < q, before, name="x")
            low, high = limits(found)
            covered += low <= f * min(1, q / p) <= high
        assert covered / 400 > 0.93


def test_sides_without_samples_or_of_different_samples_are_refused() -> None:
    with pytest.raises(EmptySide, match="forget"):
        working_recovery(hits(0, 0), hits(1, 2), hits(1, 2), name="x")
    with pytest.raises(EmptySide, match="retain"):
        working_recovery(hits(1, 2), hits(0, 0), hits(0, 0), name="x")
    with pytest.raises(ShapeError):
        working_recovery(hits(1, 2), hits(1, 2), hits(1, 3), name="x")
    with pytest.raises(ShapeError):
        working_recovery(hits(1, 2), hits(1, 2), hits(1, 2), forgotten_before=hits(1, 3), name="x")
