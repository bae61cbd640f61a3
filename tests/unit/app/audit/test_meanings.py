"""Every number of a report is explained: in one sentence, with its direction and what a retrained model scores."""

import re

import pytest

from app.audit.meanings import DIRECTIONS, MEANINGS, Group, Meaning, meaning_of, title_of
from core.policy.catalogue import TESTS, TestName
from unlearning.evaluation.few_shot import SHOTS
from unlearning.evaluation.recovery import ATTACKS, RELEARNINGS
from unlearning.evaluation.relearning import STEPS

SINGLE = [attack for attack in ATTACKS if attack not in {"few_shot", *RELEARNINGS}]
MEASURED = [
    *(f"{split}_{kind}" for split in ("test", "train") for kind in ("retain_accuracy", "forget_accuracy")),
    *(f"{kind}_{split}" for split in ("test", "train") for kind in ("retain_accuracy", "forget_accuracy")),
    *(f"test_retain_accuracy_{kind}" for kind in ("macro", "worst_class", "drop")),
    *(
        "test_false_forget_rate",
        "train_false_forget_rate",
        "test_forget_accuracy_top5",
        "forget_accuracy_top5_train",
        "forget_accuracy_top5",
    ),
    *("accuracy_drop_class_7", "nearest_class_accuracy", "over_unlearning", "retain_calibration_error", "zrf"),
    *(f"forget_{kind}{end}" for kind in ("max_probability", "entropy") for end in ("", "_gap")),
    *(f"membership_auc_{score}" for score in ("margin", "loss", "confidence", "entropy", "modified_entropy")),
    *("membership_balanced_accuracy", "membership_advantage", "membership_tpr_at_1pct_fpr", "svc_score"),
    *("membership_tpr_at_01pct_fpr", "composite"),
    *(f"{attack}_forget_accuracy" for attack in SINGLE),
    *(f"few_shot_{shots}{end}" for shots in SHOTS for end in ("_forget_accuracy", "_gap", "")),
    *(f"relearn_{kind}_{STEPS}_forget_accuracy" for kind in RELEARNINGS),
    *(f"relearn_{kind}_best_{STEPS}_gap" for kind in RELEARNINGS),
    *(f"relearn_{kind}_steps{end}" for kind in RELEARNINGS for end in ("", "_ratio")),
    *(
        "prototype_retain_accuracy_drop",
        "activation_distance",
        "information_gap",
        "cka_original_retained_at_penultimate",
    ),
    *("cka_original_forgotten_at_early", "cka_forgotten_at_features.3"),
    *("routing_total_variation", "routing_jensen_shannon"),
    *("head_bias_stability", "head_bias_median_gap", "head_bias_minimum"),
    *(f"u_lira_{kind}" for kind in ("balanced_accuracy", "sample_auc_p90", "sample_auc_max", "released_auc")),
    *(f"{attack}_tpr_at_{rate}pct_fpr" for attack in ("u_lira", "rmia") for rate in ("1", "01")),
    *("rmia_released_auc", "klom_median", "klom_p95", "klom_floor", "klom_excess"),
    *(f"challenge_{kind}" for kind in ("epsilon_median", "quality", "quality_ceiling", "shortfall")),
]
"""What the engine's evaluation and the worker call their measures."""
TOGETHER = (
    "membership",
    "head_bias",
    "confidence",
    "cka_original",
    "beside_reference",
    "relearning_time",
    "few_shot",
    "relearn_last_after_reset",
)
"""What the worker calls several of them that could not be made."""


def explained(name: str) -> Meaning:
    found = meaning_of(name)
    assert found is not None, name
    return found


@pytest.mark.parametrize("name", TestName)
def test_every_test_a_policy_may_name_is_explained_with_the_policy_s_own_direction(name: TestName) -> None:
    meaning = MEANINGS[name.value]
    assert meaning.direction == TESTS[name].scale.direction
    assert meaning.retrained


@pytest.mark.parametrize("name", [*MEASURED, *TOGETHER])
def test_every_measure_of_the_engine_is_explained(name: str) -> None:
    assert explained(name).title == title_of(name)


@pytest.mark.parametrize("name", [*MEANINGS, *MEASURED])
def test_an_explanation_is_one_sentence_that_stands_alone(name: str) -> None:
    meaning = explained(name)
    assert meaning.sentence.endswith(".")
    assert not re.search(r"[.!?] [A-Z]", meaning.sentence)
    assert not meaning.sentence.startswith("The same")
    assert re.fullmatch(r"[A-Z0-9][^\n]+\.", meaning.retrained)
    assert meaning.better in DIRECTIONS.values()


def test_the_score_of_the_published_method_is_labelled_as_what_it_is_not() -> None:
    assert "not a membership test" in explained("svc_score").title
    assert explained("svc_score").attack == ""


def test_titles_tell_measures_apart() -> None:
    titles = [meaning.title for name, meaning in MEANINGS.items() if name != "routing_total_variation"]
    assert len(set(titles)) == len(titles)


def test_parts_of_a_name_are_told() -> None:
    assert "10 images" in explained("few_shot_10_forget_accuracy").title
    assert "one image " in explained("few_shot_1").title
    assert "after 20 training steps on the last layer alone" in explained("relearn_last_20_forget_accuracy").sentence
    assert "best of the first 40" in explained("relearn_all_after_reset_best_40_forget_accuracy").title
    assert "after a reset" in explained("relearn_all_after_reset_best_40_forget_accuracy").title
    assert "features.3" in explained("cka_forgotten_at_features.3").title
    assert "training images" in explained("train_false_forget_rate").title
    assert "0.1 %" in explained("rmia_tpr_at_01pct_fpr").title


def test_a_difference_of_any_attack_is_two_sided_and_beside_the_reference() -> None:
    meaning = explained("relearn_last_20_gap")
    assert (meaning.group, meaning.direction) == (Group.REFERENCE, "two-sided")
    assert meaning.sentence.endswith("unlearned minus reference.")


@pytest.mark.parametrize("name", ["house_measure", "house_measure_test", "house_gap", "x", "", "per_class_accuracy"])
def test_what_nobody_explained_has_a_readable_name_and_no_invented_meaning(name: str) -> None:
    assert meaning_of(name) is None
    assert title_of(name) == name.replace("_", " ").capitalize()
