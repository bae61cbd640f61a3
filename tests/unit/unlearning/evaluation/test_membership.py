"""The membership attack against naive oracles, and shown to succeed where something leaks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.fixtures.small_models import Leaking, normal
from unlearning.errors import EmptySide, NonFinite, OptionOutOfRange, ShapeError
from unlearning.evaluation import mask_bias, membership_measures, membership_scores, predict_logits
from unlearning.evaluation.measure import Measure


def attack(members: torch.Tensor, others: torch.Tensor, seed: int = 0, **options: object) -> dict[str, Measure]:
    labels = [0] * len(members), [0] * len(others)
    found = membership_measures(members, labels[0], others, labels[1], seed=seed, **options)  # type: ignore[arg-type]
    return {measure.name: measure for measure in found}


def naive_auc(members: np.ndarray, others: np.ndarray) -> float:
    wins = sum((m > o) + 0.5 * (m == o) for m in members for o in others)
    return float(wins) / (len(members) * len(others))


def test_the_auc_is_the_share_of_pairs_that_are_told_apart() -> None:
    members, others = (normal(40, 3) * 2).round(), (normal(31, 3, seed=1) * 2).round()
    found = attack(members, others, resamples=20)
    for score, values in membership_scores(members, [0] * 40).items():
        name = "membership_auc" if score == "margin" else f"membership_auc_{score}"
        expected = naive_auc(values, membership_scores(others, [0] * 31)[score])
        assert found[name].value == pytest.approx(expected)


def test_several_classes_are_compared_only_within_themselves() -> None:
    member, other = normal(30, 3), normal(24, 3, seed=1)
    y_in, y_out = np.arange(30) % 2, np.arange(24) % 2
    found = membership_measures(member, y_in, other, y_out, seed=0, resamples=20)[0]
    inside, outside = membership_scores(member, y_in)["margin"], membership_scores(other, y_out)["margin"]
    per_class = [naive_auc(inside[y_in == c], outside[y_out == c]) for c in range(2)]
    assert found.value == pytest.approx(np.mean(per_class))


def test_scores_follow_their_formulas() -> None:
    logits, labels = normal(6, 4), np.array([0, 1, 2, 3, 0, 1])
    scores = membership_scores(logits, labels)
    for row, (z, y) in enumerate(zip(logits.double(), labels, strict=True)):
        p = [float(value) for value in torch.softmax(z, dim=0)]
        rest = [value for j, value in enumerate(p) if j != y]
        assert scores["margin"][row] == pytest.approx(math.log(p[y]) - math.log(sum(rest)))
        assert scores["loss"][row] == pytest.approx(math.log(p[y]))
        assert scores["confidence"][row] == pytest.approx(max(p))
        assert scores["entropy"][row] == pytest.approx(sum(v * math.log(v) for v in p))
        modified = (1 - p[y]) * math.log(p[y]) + sum(v * math.log(1 - v) for v in rest)
        assert scores["modified_entropy"][row] == pytest.approx(modified)


def test_the_margin_still_tells_samples_apart_whose_probability_rounds_to_one() -> None:
    logits = torch.tensor([[50.0, 0.0, 0.0], [80.0, 0.0, 0.0], [500.0, 0.0, -900.0]])
    margins = membership_scores(logits, [0, 0, 0])["margin"]
    assert margins[0] == pytest.approx(50 - math.log(2))
    assert margins[0] < margins[1] < margins[2]
    assert all(np.isfinite(values).all() for values in membership_scores(logits, [0, 0, 1]).values())


def test_rates_are_those_of_all_thresholds() -> None:
    members, others = normal(60, 2) + torch.tensor([1.0, 0.0]), normal(150, 2, seed=1)
    found = attack(members, others, resamples=20)
    inside, outside = (membership_scores(x, [0] * len(x))["margin"] for x in (members, others))
    rates = [((inside >= t).mean(), (outside >= t).mean()) for t in np.concatenate([inside, outside])]
    assert found["membership_advantage"].value == pytest.approx(max(tpr - fpr for tpr, fpr in rates))
    allowed = [tpr for tpr, fpr in rates if fpr <= 0.01]
    assert found["membership_tpr_at_1pct_fpr"].value == pytest.approx(max(allowed, default=0))


def test_samples_of_one_distribution_are_not_told_apart() -> None:
    inside = 0
    for seed in range(20):
        found = attack(normal(80, 3, seed=2 * seed), normal(80, 3, seed=2 * seed + 1), resamples=200)["membership_auc"]
        inside += (found.low or 0) <= 0.5 <= (found.high or 0)
    assert inside >= 17


def test_the_interval_is_seeded_and_has_about_the_analytic_width() -> None:
    members, others = normal(200, 3, seed=1), normal(200, 3, seed=2)
    first, again, other = (attack(members, others, seed=seed)["membership_auc"] for seed in (1, 1, 2))
    assert first == again
    assert (first.low, first.high) != (other.low, other.high)
    expected = 2 * 1.96 * math.sqrt(401 / (12 * 200 * 200))  # variance of the Mann-Whitney statistic at 0.5
    assert (first.high or 0) - (first.low or 0) == pytest.approx(expected, rel=0.15)


def test_the_balanced_accuracy_is_not_judged_on_the_samples_its_threshold_was_chosen_on() -> None:
    values = [attack(normal(10, 3, seed=2 * seed), normal(10, 3, seed=2 * seed + 1), resamples=5) for seed in range(60)]
    honest = np.mean([found["membership_balanced_accuracy"].value for found in values])
    in_sample = np.mean([0.5 + found["membership_advantage"].value / 2 for found in values])
    assert abs(honest - 0.5) < 0.06
    assert in_sample > 0.6


def test_the_attack_succeeds_on_a_model_that_learned_by_heart_and_a_masked_bias_does_not_stop_it(
    leaking: Leaking,
) -> None:
    (x_in, y_in), (x_out, y_out) = leaking.train, leaking.test
    for model in (leaking.model, mask_bias(leaking.model, {3}, x_in)):
        found = membership_measures(
            predict_logits(model, x_in[torch.from_numpy(y_in == 3)]),
            y_in[y_in == 3],
            predict_logits(model, x_out[torch.from_numpy(y_out == 3)]),
            y_out[y_out == 3],
            seed=0,
        )[0]
        assert (found.low or 0) > 0.6


def test_the_interval_of_right_guesses_covers_chance_where_nothing_is_to_tell_and_narrows_with_samples() -> None:
    inside, widths = 0, []
    for seed in range(20):
        few, many = (
            attack(normal(n, 3, seed=2 * seed), normal(n, 3, seed=2 * seed + 1), resamples=5) for n in (40, 400)
        )
        found = few["membership_balanced_accuracy"], many["membership_balanced_accuracy"]
        ends = [(measure.low or 0.0, measure.high or 0.0) for measure in found]
        inside += sum(low <= 0.5 <= high for low, high in ends)
        widths.append((ends[0][1] - ends[0][0]) / (ends[1][1] - ends[1][0]))
    assert inside >= 36
    assert np.mean(widths) == pytest.approx(math.sqrt(10), rel=0.1)


def test_a_rate_of_one_in_a_thousand_needs_a_thousand_non_members_of_each_class() -> None:
    members, name = normal(30, 2) + torch.tensor([3.0, 0.0]), "membership_tpr_at_01pct_fpr"
    assert name not in attack(members, normal(999, 2, seed=1), resamples=5)
    others = normal(2000, 2, seed=1)
    found = attack(members, others, resamples=5)
    inside, outside = (membership_scores(x, [0] * len(x))["margin"] for x in (members, others))
    assert found[name].value == pytest.approx((inside > np.sort(outside)[-3]).mean())  # two may be accused wrongly
    assert found[name].value <= found["membership_tpr_at_1pct_fpr"].value


def test_inputs_that_mean_nothing_are_refused() -> None:
    x = normal(4, 3)
    with pytest.raises(OptionOutOfRange, match="primary"):
        membership_measures(x, [0] * 4, x, [0] * 4, seed=0, primary="luck")
    with pytest.raises(EmptySide, match="non-member"):
        membership_measures(x, [0] * 4, x, [1] * 4, seed=0)
    with pytest.raises(ShapeError, match="labels"):
        membership_scores(x, [0])
    with pytest.raises(ShapeError, match="K >= 2"):
        membership_scores(normal(4, 1), [0] * 4)
    with pytest.raises(NonFinite):
        membership_scores(x / 0, [0] * 4)


def test_too_few_samples_for_two_halves_give_no_evidence() -> None:
    found = attack(normal(1, 3), normal(1, 3, seed=1), resamples=5)
    assert found["membership_balanced_accuracy"].value == 0.5
