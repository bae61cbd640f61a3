"""What the self-test makes of verdicts: who was told apart, what was known, and how much room there was."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from cli.failures import Failure
from cli.selftest import command, digits, tables
from cli.selftest.controls import MUST_FAIL, Control, Expected, original
from cli.selftest.gate import Row, judged, names_among, policies_among, room_beyond, room_inside
from core.policy.catalogue import TESTS
from core.policy.policies import SHIPPED, STANDARD, Margin, TestName
from core.policy.verdict import Evidence, Judgement

FAIL, PASS, REPORTED = Expected.FAIL, Expected.PASS, Expected.REPORTED


def evidence(**ends: tuple[float, float]) -> list[Evidence]:
    """Every test flawless but those that are given."""
    found = []
    for name in names_among(frozenset()):
        ideal = 0.5 if TESTS[name].scale.ideal == 0.5 else 0.0
        low, high = ends.get(name.value, (ideal, ideal + 0.01))
        found.append(Evidence(name=name, value=low, low=low, high=high, n=100))
    return found


def row(expected: Expected, *, blind: frozenset[str] = frozenset(), **ends: tuple[float, float]) -> Row:
    return judged(Control("control", expected, original, blind), evidence(**ends))


def test_a_control_is_told_apart_by_the_policies_that_say_what_is_expected() -> None:
    flawless, known = row(PASS), row(FAIL, forget_accuracy_test=(0.8, 0.9))
    assert all(each.holds(name) for each in (flawless, known) for name in SHIPPED)
    assert not any(row(FAIL).holds(name) for name in SHIPPED)
    assert not any(row(PASS, forget_accuracy_test=(0.8, 0.9)).holds(name) for name in SHIPPED)


def test_inconclusive_is_neither_pass_nor_fail() -> None:
    rows = [row(expected, forget_accuracy_test=(0.01, 0.5)) for expected in (FAIL, PASS)]
    assert not any(each.holds(name) for each in rows for name in SHIPPED)


def test_nothing_is_expected_of_what_is_only_reported() -> None:
    assert all(row(REPORTED, forget_accuracy_test=(0.8, 0.9)).holds(name) for name in SHIPPED)


def test_a_known_limit_is_shown_and_not_counted_and_holds_for_the_named_policies_only() -> None:
    limited = row(FAIL, blind=frozenset({"standard", "strict"}), aligned_head_gap=(0.6, 0.7))
    assert tables.unexpected([limited]) == []
    assert tables.control_table([limited])[0][2:5] == ("pass (known limit)", "pass (known limit)", "fail")
    assert tables.control_table([limited])[0][5].startswith("with-reference: aligned_head_gap")
    assert tables.unexpected([row(FAIL, blind=frozenset({"standard", "strict"}))]) == ["control (with-reference)"]


def test_random_labels_are_the_only_control_with_a_known_limit() -> None:
    limited = {control.name: set(control.blind) for control in MUST_FAIL if control.blind}
    assert limited == {"relabelled at random": {"standard", "strict"}}


def test_an_unexpected_verdict_is_marked_where_it_was_given() -> None:
    assert tables.control_table([row(FAIL)])[0][2:5] == ("pass (!)", "pass (!)", "pass (!)")
    assert tables.unexpected([row(FAIL)]) == [f"control ({name})" for name in SHIPPED]


def judgement(name: TestName, low: float, high: float, margin: Margin) -> Judgement:
    policy = STANDARD.model_copy(update={"deciding": {name: margin}})
    from core.policy.verdict import judge

    return judge([Evidence(name=name, value=low, low=low, high=high, n=9)], policy).judgements[0]


AUC = TestName.MEMBERSHIP_AUC


@pytest.mark.parametrize(
    ("low", "high", "inside", "beyond"),
    [
        (0.45, 0.6, (0.6, 0.7), None),
        (0.35, 0.6, (0.35, 0.3), None),
        (0.8, 0.9, None, (0.8, 0.7)),
        (0.1, 0.2, None, (0.2, 0.3)),
        (0.6, 0.8, None, None),
    ],
)
def test_room_is_between_the_nearest_ends_of_interval_and_margin(
    low: float, high: float, inside: Any, beyond: Any
) -> None:
    found = judgement(AUC, low, high, Margin(at_least=0.3, at_most=0.7))
    for room, expected in ((room_inside(found), inside), (room_beyond(found), beyond)):
        assert (room and (room.end, room.limit)) == expected


def test_the_table_of_room_names_the_worst_that_passes_and_the_best_that_fails() -> None:
    rows = [
        judged(Control("worse", PASS, original), evidence(forget_accuracy_test=(0.0, 0.06))),
        judged(Control("better", PASS, original), evidence(forget_accuracy_test=(0.0, 0.02))),
        judged(Control("far", FAIL, original), evidence(forget_accuracy_test=(0.9, 0.95))),
        judged(Control("near", FAIL, original), evidence(forget_accuracy_test=(0.15, 0.3))),
    ]
    line = next(line for line in tables.room_table(rows, "standard") if line[0] == "forget_accuracy_test")
    assert line[1:] == ("at most 0.1", "0.06, 0.04 away (worse)", "0.15, 0.05 away (near)", "2")


def test_a_trial_may_be_judged_by_some_tests_alone() -> None:
    only = frozenset({AUC})
    assert all(set(policy.deciding) == only for policy in policies_among(only).values())
    assert policies_among(frozenset()) == dict(SHIPPED)
    assert names_among(only) == [AUC]


def run(monkeypatch: pytest.MonkeyPatch, rows: list[Row]) -> str:
    monkeypatch.setattr(digits, "judged_digits", lambda _digit, _seed, _watch: rows)
    written = StringIO()
    command.run(command.Options(digit=3, seed=0), Console(file=written, width=200))
    return written.getvalue()


def test_the_command_prints_every_table_and_ends_well_when_all_is_as_it_must_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    printed = run(monkeypatch, [row(PASS), row(FAIL, forget_accuracy_test=(0.8, 0.9))])
    assert "The gate tells all controls apart" in printed
    for name in SHIPPED:
        assert f"Room around the margins of {name}" in printed


def test_the_command_fails_and_names_what_was_not_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Failure, match=r"another verdict for control \(standard\)"):
        run(monkeypatch, [row(FAIL)])
