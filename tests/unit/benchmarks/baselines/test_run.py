"""The command: what is measured once is not measured again, and every row is set beside its retrained model."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.baselines import run
from benchmarks.baselines.controls import Mask
from benchmarks.baselines.search import divided, judged, varied
from benchmarks.baselines.subjects import Problem, digits_problem
from benchmarks.comparison.tables import RETRAINED
from tests.fixtures.digits_models import FORGET, Digits

NAMES = ("original", RETRAINED, "bias_mask")


@pytest.fixture
def problem(monkeypatch: pytest.MonkeyPatch) -> Problem:
    """The digits with three methods, one class and one seed."""
    whole = digits_problem(torch.device("cpu"))
    few = {name: whole.baselines[name] for name in NAMES}
    small = replace(whole, baselines=few, classes=(3,), seeds=(0,), steps=(1, 20), orders=1)
    monkeypatch.setattr(run, "digits_problem", lambda _device: small)
    return small


def started(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["compare.py", "--threads", "1", *arguments])
    run.main("")


def rows_of(folder: Path) -> dict[str, Any]:
    return {path.name: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def test_a_second_run_measures_only_what_is_missing_or_was_told_otherwise(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rows"
    started(monkeypatch, "--out", str(out), "--methods", RETRAINED, "original")
    first = rows_of(out)
    assert sorted(first) == ["digits.3.original.seed0.json", f"digits.3.{RETRAINED}.seed0.json"]
    assert "2 rows, 0 of them measured before" in capsys.readouterr().out

    started(monkeypatch, "--out", str(out))
    second = rows_of(out)
    assert "3 rows, 2 of them measured before" in capsys.readouterr().out
    assert {name: second[name] for name in first} == first
    # Made by the first run and kept: the mask, measured by the second one, is set beside it.
    assert "routing_to_retrained" in second["digits.3.bias_mask.seed0.json"]["measures"]

    problem.baselines["bias_mask"] = replace(problem.baselines["bias_mask"], settings=Mask(50.0))
    started(monkeypatch, "--out", str(out))
    assert "3 rows, 2 of them measured before" in capsys.readouterr().out
    assert rows_of(out)["digits.3.bias_mask.seed0.json"]["settings"] == {"constant": 50.0}


def test_tables_and_plot_are_written_into_the_document(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = tmp_path / "page.md"
    document.write_text("before\n<!-- digits: begin -->\nold\n<!-- digits: end -->\nafter\n")
    started(monkeypatch, "--out", str(tmp_path / "rows"), "--write", str(document))
    text = document.read_text()
    assert text.startswith("before\n<!-- digits: begin -->\n![")
    assert text.endswith("<!-- digits: end -->\nafter\n")
    assert "old" not in text
    assert all(f"| {name} |" in text for name in problem.baselines)
    assert (tmp_path / "page.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "x"], "Expected --data and --models together, got x and None"),
        (["--methods", "magic"], "Expected methods among original, .*, got magic"),
        (["--classes", "11"], "Expected one of 0, 1, .* or an index, got '11'"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit, match=message):
        started(monkeypatch, "--out", str(tmp_path), *arguments)


def test_the_digits_subject_keeps_test_attacker_and_methods_apart(problem: Problem) -> None:
    subject = problem.subject(0)
    groups = [subject.usable.inputs, subject.materials.attacker[0], subject.materials.test_inputs]
    rows = torch.cat([group.flatten(1) for group in groups])
    assert len(rows) == 1797
    assert len(subject.usable) + len(subject.materials.attacker[0]) == len(subject.everything)


def test_the_search_holds_a_fifth_of_every_class_back(problem: Problem, digits: Digits) -> None:
    data = problem.subject(0).usable
    given, held = divided(data, 0)
    assert len(given) + len(held) == len(data)
    for index in range(10):
        share = int((held.labels == index).sum()) / int((data.labels == index).sum())
        assert share == pytest.approx(0.2, abs=0.01)
    retain, forget, score = judged(digits.masked, held, (FORGET,))
    assert (retain > 0.9, forget, score) == (True, 0.0, retain)


def test_the_search_names_what_it_varies() -> None:
    baselines = digits_problem(torch.device("cpu")).baselines
    told = {name: [varied(settings) for settings in one.grid] for name, one in baselines.items()}
    assert all(len(set(names)) == len(names) for names in told.values())
    assert varied(baselines["gaussian_noise"].settings) == "scale 0.8"
    assert varied(baselines["neggrad_plus"].settings) == "beta 0.999, learning rate 0.1"
