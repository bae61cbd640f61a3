"""Curves are read part by part: what makes no sense is left out, and takes no other with it."""

import math
from typing import Any

import pytest

from app.audit.curves import Curves, read_curves
from tests.unit.app.reports.examples import result_of

WHOLE = result_of()["curves"]
PARTS = list(Curves.model_fields)


def read(**curves: Any) -> Curves:
    return read_curves({"curves": {**WHOLE, **curves}})


def test_a_whole_result_is_read_whole() -> None:
    curves = read()
    assert all(getattr(curves, part) is not None for part in PARTS)
    assert curves.few_shot is not None
    assert curves.few_shot.original is not None
    assert list(curves.few_shot.original) == [1, 5, 10, 50]


@pytest.mark.parametrize(
    ("part", "broken"),
    [
        ("confusion", {"original": [[1, 2], [3]], "unlearned": [[1, 2], [3, 4]]}),
        ("confusion", {"original": [[1]], "unlearned": [[1, 2], [3, 4]]}),
        ("confusion", {"original": [[-1]]}),
        ("confusion", {"original": []}),
        ("confusion", {}),
        ("confusion", {"original": None, "unlearned": None, "reference": [[1]]}),
        ("per_class_accuracy", {"original": [0.5], "unlearned": [0.5, 0.5]}),
        ("per_class_accuracy", {"original": [1.5]}),
        ("per_class_accuracy", {"original": []}),
        ("membership_roc", {"fpr": [0, 1], "tpr": [0, 1, 1]}),
        ("membership_roc", {"fpr": [0.5, 0.1], "tpr": [0, 1]}),
        ("membership_roc", {"fpr": [0, math.nan], "tpr": [0, 1]}),
        ("membership_roc", {"fpr": [0, 1], "tpr": [0, 1], "low": [0]}),
        ("few_shot", {"original": {"some": 0.5}}),
        ("few_shot", {"original": {"0": 0.5}}),
        ("few_shot", {"original": {"5": None}}),
        ("layers", []),
        ("layers", [{"layer": "a", "relative_change": -1}]),
        ("layers", "none"),
        *((part, None) for part in PARTS),
    ],
)
def test_a_part_that_makes_no_sense_is_left_out_alone(part: str, broken: Any) -> None:
    curves = read(**{part: broken})
    assert [name for name in PARTS if getattr(curves, name) is None] == [part]


def test_rounding_over_the_ends_of_a_share_is_forgiven() -> None:
    curves = read(membership_roc={"fpr": [0.0, 1.0 + 1e-15], "tpr": [-1e-17, 1.0]})
    assert curves.membership_roc is not None
    assert curves.membership_roc.fpr == [0.0, 1.0]


def test_older_results_still_have_their_accuracies_and_edits() -> None:
    older = {
        "measures": {
            "original": {"per_class_accuracy_test": [1.0, 0.9]},
            "unlearned": {"per_class_accuracy_test": [None, 0.8]},
        },
        "edits": [{"parameter": "fc.weight", "relative_change": 0.25}],
    }
    curves = read_curves(older)
    assert curves.per_class_accuracy is not None
    assert curves.per_class_accuracy.given() == {"original": [1.0, 0.9], "unlearned": [None, 0.8]}
    assert [layer.layer for layer in curves.layers or []] == ["fc.weight"]
    assert curves.confusion is None


def test_members_that_nobody_knows_do_not_get_out() -> None:
    told = read(per_sample_scores=[0.1, 0.2]).model_dump_json()
    assert "per_sample" not in told


def test_nothing_is_read_from_nothing() -> None:
    assert read_curves({}) == read_curves({"curves": None}) == Curves()
