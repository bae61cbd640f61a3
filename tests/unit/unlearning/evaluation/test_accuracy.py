"""Accuracies and their intervals against published values and naive counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.fixtures.small_models import SmallConvNet, normal, seeded
from unlearning.errors import EmptySide, NonFinite, OptionOutOfRange, ShapeError
from unlearning.evaluation import (
    accuracy_measures,
    composite_score,
    confusion_matrix,
    paired_drop,
    predict_logits,
    top_k_forget_accuracy,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_values_of_newcombe_1998(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=6e-5)
    assert wilson_interval(trials - successes, trials) == pytest.approx((1 - high, 1 - low), abs=6e-5)


def test_wilson_refuses_no_trials() -> None:
    with pytest.raises(EmptySide):
        wilson_interval(0, 0)


def outcomes(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    pairs = [(1, 1)] * both + [(1, 0)] * first + [(0, 1)] * second + [(0, 0)] * neither
    table = np.array(pairs, dtype=bool)
    return table[:, 0], table[:, 1]


def test_the_paired_interval_is_newcombes_method_ten() -> None:
    drop = paired_drop(*outcomes(36, 12, 2, 0))
    assert drop.n == 50
    assert [drop.value, drop.low, drop.high] == pytest.approx([0.2, 0.0569, 0.3404], abs=6e-5)


def test_the_paired_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng, hits = np.random.default_rng(0), 0
    for _ in range(400):
        draw = rng.choice(4, size=200, p=[0.85, 0.05, 0.03, 0.07])
        drop = paired_drop(np.isin(draw, [0, 1]), np.isin(draw, [0, 2]))
        hits += (drop.low or 0) <= 0.02 <= (drop.high or 0)
    assert hits >= 400 * 0.92


def test_nothing_changed_still_leaves_an_interval() -> None:
    drop = paired_drop(*outcomes(90, 0, 0, 10))
    assert drop.value == 0
    assert (drop.low or 0) < 0 < (drop.high or 0)
    perfect = paired_drop(*outcomes(50, 0, 0, 0))
    assert (perfect.high or 0) > 0


def test_a_stricter_level_widens_the_paired_interval() -> None:
    pair = outcomes(36, 12, 2, 0)
    usual, strict = paired_drop(*pair), paired_drop(*pair, z=3.0)
    assert strict.value == usual.value
    assert (strict.low or 0) < (usual.low or 0) < (usual.high or 0) < (strict.high or 0)


def test_paired_outcomes_must_be_pairs() -> None:
    with pytest.raises(ShapeError):
        paired_drop(np.array([True]), np.array([True, False]))
    with pytest.raises(EmptySide):
        paired_drop(np.array([], dtype=bool), np.array([], dtype=bool))


def test_the_confusion_matrix_is_the_naive_count() -> None:
    logits = normal(200, 4)
    labels = np.random.default_rng(0).integers(0, 4, 200)
    naive = np.zeros((4, 4), dtype=np.int64)
    for truth, row in zip(labels, logits, strict=True):
        naive[truth, int(row.argmax())] += 1
    assert np.array_equal(confusion_matrix(labels, logits), naive)
    with pytest.raises(ShapeError):
        confusion_matrix(labels[:3], logits)


def test_each_accuracy_counts_the_right_cells() -> None:
    confusion = np.array([[8, 1, 1, 0], [2, 18, 0, 0], [0, 5, 5, 0], [0, 0, 3, 1]])
    found = {measure.name: measure for measure in accuracy_measures(confusion, {2}, excluded={3})}
    assert found["test_retain_accuracy"].value == pytest.approx(26 / 30)
    assert found["test_retain_accuracy_macro"].value == pytest.approx((0.8 + 0.9) / 2)
    assert found["test_retain_accuracy_worst_class"].value == pytest.approx(0.8)
    assert found["test_forget_accuracy"].value == pytest.approx(0.5)
    assert found["test_false_forget_rate"].value == pytest.approx(1 / 30)
    for measure in found.values():
        assert measure.low is not None
        assert measure.high is not None
        assert measure.low <= measure.value <= measure.high
    assert found["test_forget_accuracy"].as_dict()["direction"] == "lower"


def test_the_published_score_is_the_product_and_cannot_tell_a_mask_from_forgetting() -> None:
    masked = np.array([[80, 20, 0], [10, 90, 0], [60, 40, 0]])
    found = composite_score(masked, {2})
    assert found.value == pytest.approx(170 / 200)
    assert found.low is not None
    assert found.low < found.value < (found.high or 0)
    assert composite_score(masked[[0, 1, 2]][:, [0, 2, 1]][[0, 2, 1]], {1}).value == found.value
    kept = np.array([[80, 20, 0], [10, 90, 0], [30, 20, 50]])
    assert composite_score(kept, {2}).value == pytest.approx(170 / 200 * 0.5)
    with pytest.raises(EmptySide):
        composite_score(np.array([[5, 5], [0, 0]]), {1})


def test_the_interval_of_a_product_covers_the_truth_about_as_often_as_it_says() -> None:
    rng, truth, inside = np.random.default_rng(0), (0.9, 0.7), 0
    for _ in range(1000):
        kept, gone = (int(rng.binomial(60, rate)) for rate in truth)
        found = composite_score(np.array([[kept, 60 - kept], [gone, 60 - gone]]), {1})
        inside += (found.low or 0) <= truth[0] * truth[1] <= (found.high or 0)
    assert inside >= 935


def test_a_split_without_samples_of_a_side_gives_no_measure_of_it() -> None:
    confusion = np.array([[5, 0], [0, 0]])
    assert [m.name for m in accuracy_measures(confusion, {0}, split="train")] == ["train_forget_accuracy"]
    assert "test_forget_accuracy" not in [m.name for m in accuracy_measures(confusion, {1})]


def test_a_class_pushed_to_the_second_place_is_still_among_the_first_five() -> None:
    logits, labels = normal(300, 8).round(), np.random.default_rng(0).integers(0, 8, 300)
    for k in (1, 2, 5):
        ranks = [
            sorted(range(8), key=lambda j: (-row[j], j)).index(y)
            for row, y in zip(logits.tolist(), labels, strict=True)
        ]
        hits = [rank < k for rank, y in zip(ranks, labels, strict=True) if y in {2, 5}]
        found = top_k_forget_accuracy(logits, labels, {2, 5}, k=k)
        assert found.value == pytest.approx(np.mean(hits))
        assert found.n == len(hits)
        assert found.name == f"test_forget_accuracy_top{k}"
        assert (found.low, found.high) == wilson_interval(sum(hits), len(hits))
    at = np.isin(labels, [2, 5])
    top = top_k_forget_accuracy(logits, labels, {2, 5}, k=1, split="train")
    assert top.value == float((logits.argmax(dim=1).numpy() == labels)[at].mean())


def test_places_that_mean_nothing_are_refused() -> None:
    logits, labels = normal(4, 5), np.arange(4)
    with pytest.raises(OptionOutOfRange, match="below the number of classes"):
        top_k_forget_accuracy(logits, labels, {1}, k=5)
    with pytest.raises(EmptySide, match="forget"):
        top_k_forget_accuracy(logits, labels, {4}, k=2)
    with pytest.raises(ShapeError, match="labels"):
        top_k_forget_accuracy(logits, labels[:3], {1}, k=2)
    with pytest.raises(NonFinite):
        top_k_forget_accuracy(logits / 0, labels, {1}, k=2)


def test_outputs_do_not_depend_on_batching_and_the_mode_is_restored() -> None:
    model, x = seeded(SmallConvNet()).train(), normal(10, 3, 8, 8)
    whole = predict_logits(model, x)
    torch.testing.assert_close(predict_logits(model, x, batch_size=3), whole)
    torch.testing.assert_close(predict_logits(model, [(x[:4], 0), (x[4:], 1)]), whole)
    assert model.training
    assert not whole.requires_grad


def test_other_weights_are_used_without_touching_the_model() -> None:
    model, x = seeded(SmallConvNet()), normal(4, 3, 8, 8)
    before = predict_logits(model, x)
    zeroed = predict_logits(model, x, weights={"head.weight": torch.zeros_like(model.head.weight)})
    torch.testing.assert_close(zeroed, model.head.bias.detach().expand(4, -1))
    assert torch.equal(predict_logits(model, x), before)


def test_outputs_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ShapeError, match="outputs"):
        predict_logits(nn.Identity(), normal(2, 3, 4))
    with pytest.raises(NonFinite):
        predict_logits(nn.Identity(), torch.tensor([[float("nan"), 0.0]]))
    with pytest.raises(EmptySide):
        predict_logits(nn.Identity(), [])
