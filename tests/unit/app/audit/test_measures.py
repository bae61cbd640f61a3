"""The rows of the report: known measures first, each with what was measured before, after and in the reference."""

from typing import Any

from app.audit.meanings import Group
from app.audit.measures import measure_rows
from tests.unit.app.reports.examples import number, result_of


def result(**sides: Any) -> dict[str, Any]:
    return {"measures": sides}


def test_rows_stand_by_group_and_then_as_a_reader_wants_them() -> None:
    rows = measure_rows(result_of())
    places = [list(Group).index(Group(row.group)) for row in rows]
    assert places == sorted(places)
    accuracy = [row.name for row in rows if row.group == Group.ACCURACY]
    assert accuracy[0] == "forget_accuracy_test"


def test_numbers_in_names_are_counted() -> None:
    names = ["few_shot_50_forget_accuracy", "few_shot_5_forget_accuracy", "few_shot_10_forget_accuracy"]
    rows = measure_rows(result(unlearned={name: number(0.1) for name in names}))
    assert [row.name for row in rows] == [names[1], names[2], names[0]]


def test_a_row_holds_all_three_sides() -> None:
    found = measure_rows(
        result(
            original={"probe_forget_accuracy": number(0.9)},
            unlearned={"probe_forget_accuracy": number(0.7, seed=3)},
            reference={"probe_forget_accuracy": number(0.6)},
        )
    )
    assert len(found) == 1
    assert [side and side.value for side in (found[0].before, found[0].after, found[0].reference)] == [0.9, 0.7, 0.6]
    assert found[0].after is not None
    assert (found[0].after.n, found[0].after.seed) == (1000, 3)


def test_what_is_no_measure_is_no_row() -> None:
    sides = {"per_class_accuracy_test": [1.0], "note": "x", "deeper": {"a": 1}}
    assert measure_rows(result(original=sides, unlearned=sides)) == []


def test_what_could_not_be_measured_keeps_its_reason_and_the_direction_it_would_have() -> None:
    missing = {"value": None, "low": None, "high": None, "n": 0, "direction": "none", "problem": "Too few images."}
    (row,) = measure_rows(result(unlearned={"membership_auc": missing}))
    assert row.after is not None
    assert (row.after.value, row.after.problem) == (None, "Too few images.")
    assert row.direction == "neither high nor low"


def test_what_nobody_explained_comes_last_under_its_own_name() -> None:
    rows = measure_rows(result(unlearned={"house_measure": number(0.4), "forget_accuracy_test": number(0.0)}))
    assert [row.name for row in rows] == ["forget_accuracy_test", "house_measure"]
    assert (rows[1].title, rows[1].meaning, rows[1].group) == ("House measure", "", Group.OTHER)


def test_without_a_result_there_are_no_rows() -> None:
    assert measure_rows({}) == measure_rows({"measures": None, "verdict": None}) == []
