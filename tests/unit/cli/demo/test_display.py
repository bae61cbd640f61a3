"""What the demonstration shows fits the narrowest usual terminal."""

import io
from typing import Any

from rich.console import Console

from cli.demo.display import ROWS, Display, StepsView
from core.policy.policies import STANDARD

WIDTH = 80


def _measure(value: float, low: float, high: float) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": 90}


def _request() -> dict[str, Any]:
    names = ("retain_accuracy_test", "retain_accuracy_train", "forget_accuracy_test", "forget_accuracy_train")
    before = {name: _measure(1.0, 0.959, 1.0) for name in names} | {"membership_auc": _measure(0.51, 0.42, 0.6)}
    after = before | {"retain_accuracy_drop": _measure(-0.012, -0.024, 0.003)}
    margin = {"at_least": 0.3, "at_most": 0.7}
    tests = [
        {"name": "membership_auc", "deciding": True, "outcome": "inconclusive", "margin": margin},
        {"name": "forget_accuracy_test", "deciding": True, "outcome": "fail", "margin": {"at_most": 0.1}},
        {"name": "false_forget_rate", "deciding": False, "outcome": None, "margin": None},
    ]
    return {
        "state": "rejected",
        "step": "verify",
        "percent": 95,
        "steps": [{"name": "load", "seconds": 0.1}],
        "result": {
            "measures": {"original": before, "unlearned": after},
            "verdict": {"outcome": "fail", "tests": tests},
            "steps": {"load": 0.1, "unlearn": 2.0},
        },
    }


def _console() -> Console:
    return Console(file=io.StringIO(), width=WIDTH)


def _written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_is_not_cut_at_80_columns() -> None:
    console = _console()
    Display(console).result(_request(), 3)
    shown = _written(console)
    assert "…" not in shown
    assert "unclear: 0.3-0.7" in shown
    assert "fail: ≤ 10" in shown
    assert "-1.2 [-2.4,0.3]" in shown


def test_every_test_that_decides_a_request_is_shown() -> None:
    assert set(map(str, STANDARD.deciding)) <= {name for name, _ in ROWS}


def test_a_percent_sign_or_bracket_is_never_read_as_markup() -> None:
    console = _console()
    Display(console).result(_request(), 3)
    assert "100.0 [95.9,100.0]" in _written(console)


def test_steps_that_never_ran_are_said_to_have_not() -> None:
    console, view = _console(), StepsView()
    view.show(_request())
    console.print(view)
    lines = _written(console).splitlines()
    assert lines[1].split() == ["load", "done", "0.10", "s"]
    assert lines[-1].split() == ["publish", "not", "run"]
