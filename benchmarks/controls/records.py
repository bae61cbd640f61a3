"""What was measured of each control, kept as one JSON file, so that a run that was stopped goes on where it was."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from benchmarks.comparison.run import store
from cli.selftest.controls import Control
from cli.selftest.gate import Row, Trial, judged, measured, names_among
from core.policy.policies import TestName
from core.policy.verdict import Evidence

Only = frozenset[TestName]


def measure_missing(folder: Path, prefix: str, trial: Trial) -> None:
    """Measure the controls of a trial that have no file yet."""
    missing = [control for control in trial.controls if not is_kept(folder, prefix, control, trial.only)]
    for control, evidence in measured(Trial(trial.ground, missing, trial.only), teller(prefix)):
        store(_path(folder, prefix, control), {"evidence": [asdict(item) for item in evidence]})


def is_kept(folder: Path, prefix: str, control: Control, only: Only = frozenset()) -> bool:
    """Whether there is a file with every test that judges now."""
    path = _path(folder, prefix, control)
    return path.exists() and set(names_among(only)) <= {item.name for item in _read(path)}


def rows_of(folder: Path, prefix: str, controls: Iterable[Control], only: Only = frozenset()) -> list[Row]:
    """The kept controls, judged by the policies as they are now."""
    return [judged(control, _read(_path(folder, prefix, control)), only) for control in controls]


def teller(prefix: str) -> Callable[[str], None]:
    """Prints what comes next."""
    return lambda what: print(f"{prefix}: {what}", flush=True)


def _path(folder: Path, prefix: str, control: Control) -> Path:
    return folder / f"{prefix}.{control.name.replace(' ', '_').replace(',', '')}.json"


def _read(path: Path) -> list[Evidence]:
    kept = json.loads(path.read_text())["evidence"]
    return [Evidence(**{**item, "name": TestName(item["name"])}) for item in kept if item["name"] in set(TestName)]
