"""From records to measures: names, order, refusals, and models that were really trained."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.unit.unlearning.evaluation.audit.populations import Matrix, contains, record
from unlearning.evaluation.audit import RecordsDoNotFit, ShadowRecord, Shadows, gather
from unlearning.evaluation.audit.records import Population

NAMES = {
    "u_lira_auc", "u_lira_balanced_accuracy", "u_lira_sample_auc_p90", "u_lira_sample_auc_max", "u_lira_released_auc",
    "rmia_auc", "rmia_released_auc", "klom", "klom_median", "klom_p95", "klom_floor", "klom_excess",
    "challenge_epsilon", "challenge_epsilon_median", "challenge_quality", "challenge_score",
    "challenge_quality_ceiling", "challenge_shortfall",
}  # fmt: skip


def records(models: int = 6, *, shift: float = 0.0) -> list[ShadowRecord]:
    return [
        *(record("unlearned", index, shift=shift) for index in range(models)),
        *(record("retrained", index) for index in range(models)),
        record("released", 0, shift=shift),
    ]


def test_every_measure_has_its_name_and_what_is_missing_its_reason() -> None:
    found = gather(records(), seed=0, resamples=20)
    assert {one.name for one in found.measures} == NAMES
    assert set(found.absent) == {"u_lira_tpr_at_1pct_fpr", "u_lira_tpr_at_01pct_fpr"}
    assert all(one.n == 20 and one.seed == 0 for one in found.measures)


def test_the_order_in_which_records_arrive_changes_nothing() -> None:
    given = records()
    shuffled = [given[i] for i in np.random.default_rng(0).permutation(len(given))]
    assert gather(given, seed=0, resamples=20) == gather(shuffled, seed=0, resamples=20)


def test_records_are_the_same_after_storing_them() -> None:
    stored = []
    for one in records():
        buffer = BytesIO()
        one.save(buffer)
        stored.append(ShadowRecord.load(BytesIO(buffer.getvalue())))
    assert gather(stored, seed=0, resamples=20) == gather(records(), seed=0, resamples=20)


def test_too_few_models_leave_every_measure_absent_with_the_number_that_is_needed() -> None:
    found = gather(records(3), seed=0, resamples=20)
    assert found.measures == ()
    assert set(found.absent) == {
        "u_lira_auc",
        "rmia_auc",
        "klom",
        "klom_excess",
        "challenge_epsilon",
        "challenge_quality",
        "challenge_score",
    }
    assert all("at least 4, got 3" in reason for reason in found.absent.values())
    only_one_side = gather([one for one in records() if one.population == "unlearned"], seed=0, resamples=20)
    assert "retrained models to be at least 4, got 0" in only_one_side.absent["klom"]


def test_what_one_metric_lacks_does_not_take_the_others_away() -> None:
    few = {"z_logits": np.arange(15.0).reshape(5, 3), "z_labels": np.zeros(5, np.int64)}
    given = [record(population, index, **few) for population in ("unlearned", "retrained") for index in range(4)]  # type: ignore[arg-type]
    found = gather(given, seed=0, resamples=20)
    assert "population samples to be at least 10, got 5" in found.absent["rmia_auc"]
    assert {"u_lira_auc", "klom", "challenge_score"} <= {one.name for one in found.measures}


MIXED: dict[str, tuple[Population, int, dict[str, Any], str]] = {
    "other samples": ("retrained", 9, {"samples": "others"}, "samples 'digest', another of 'others'"),
    "other labels": ("retrained", 9, {"labels": np.ones(20, np.int64)}, "labels of retrained model 9 differ"),
    "other z labels": ("unlearned", 9, {"z_labels": np.ones(12, np.int64)}, "z_labels of unlearned model 9 differ"),
    "more classes": ("unlearned", 9, {"logits": np.ones((20, 4))}, "logits of unlearned model 9 have another shape"),
    "same seed": ("unlearned", 9, {"seed": 2}, "seed 2 occurs 2 times"),
    "same seed in the other population": ("retrained", 9, {"seed": 2}, "seed 2 occurs 2 times"),
    "same index": ("unlearned", 2, {"seed": 77}, "index .* occurs 2 times"),
    "same outputs": ("unlearned", 9, {"logits": record("unlearned", 2).logits}, "same outputs"),
    "two released": ("released", 1, {}, "2 released"),
}


@pytest.mark.parametrize("case", MIXED)
def test_records_that_are_not_of_one_audit_are_refused(case: str) -> None:
    population, index, changes, message = MIXED[case]
    with pytest.raises(RecordsDoNotFit, match=message):
        gather([*records(), record(population, index, **changes)], seed=0)


def test_no_shadow_model_at_all_is_refused() -> None:
    with pytest.raises(RecordsDoNotFit, match="no shadow model"):
        Shadows.of([record("released", 0)])


def trained(forget: Matrix, forget_y: Matrix, rest: Matrix, rest_y: Matrix, seed: int, *, with_forget: bool) -> Any:
    """Fit a ridge classifier on random features that has more of them than samples, so it learns them by heart."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(rest), 150, replace=False)
    x = np.concatenate([rest[chosen], forget]) if with_forget else rest[chosen]
    y = np.concatenate([rest_y[chosen], forget_y]) if with_forget else rest_y[chosen]
    weights, phase = rng.standard_normal((64, 400)) / 8, rng.uniform(0, 6.3, 400)

    def features(images: Matrix) -> Matrix:
        return np.cos(images @ weights + phase)

    f = features(x)
    head = f.T @ np.linalg.solve(f @ f.T + 0.1 * np.eye(len(f)), np.eye(10)[y.astype(np.int64)])
    return lambda images: 10 * features(images) @ head


def shadows(*, unlearned_saw_them: bool) -> list[ShadowRecord]:
    images, targets = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    x, y = images[order] / 8 - 1, targets[order]
    forget, z, rest = (x[:40], y[:40]), (x[40:80], y[40:80]), (x[80:], y[80:])
    found = []
    for population, saw_them, first in (("unlearned", unlearned_saw_them, 0), ("retrained", False, 100)):
        for index in range(12):
            model = trained(*forget, *rest, first + index, with_forget=saw_them)
            outputs = {"logits": model(forget[0]), "labels": forget[1], "z_logits": model(z[0]), "z_labels": z[1]}
            accuracy = float((model(z[0]).argmax(axis=1) == z[1]).mean())
            rates = {"retain_accuracy": 1.0, "test_accuracy": accuracy}
            found.append(record(population, index, seed=first + index, **outputs, **rates))  # type: ignore[arg-type]
    return found


def test_models_that_unlearned_nothing_are_found_out_and_retrained_ones_are_not() -> None:
    leaks, passes = (gather(shadows(unlearned_saw_them=saw), seed=0, resamples=40) for saw in (True, False))
    for name, least in (("u_lira_auc", 0.9), ("rmia_auc", 0.5)):
        assert (leaks[name].low or 0) > least
        assert contains(passes[name], 0.5)
    for name in ("klom_excess", "challenge_shortfall"):
        assert (leaks[name].low or 0) > 0
        assert contains(passes[name], 0.0)
    assert passes["challenge_score"].value > 2 * leaks["challenge_score"].value
