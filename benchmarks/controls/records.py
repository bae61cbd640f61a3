"""What was measured of each control, kept as one JSON file, so that a run that was stopped goes on where it was."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import cache
from pathlib import Path

from benchmarks.comparison.run import store
from cli.selftest.controls import Control
from cli.selftest.gate import Row, Trial, judged, measured, names_among
from core.policy.policies import TestName
from core.policy.verdict import Evidence

Only = frozenset[TestName]

ROOT = Path(__file__).resolve().parents[2]
MEASURING = ("unlearning", "worker/pipeline", "cli/selftest")
"""The code that makes controls and measures them; policies, which only judge, are not among it."""


def measure_missing(folder: Path, prefix: str, trial: Trial) -> None:
    """Measure the controls of a trial that have no file yet."""
    missing = [control for control in trial.controls if not is_kept(folder, prefix, control, trial.only)]
    for control, evidence in measured(Trial(trial.ground, missing, trial.only), teller(prefix)):
        kept = {"code": code(), "evidence": [asdict(item) for item in evidence]}
        store(_path(folder, prefix, control), kept)


def is_kept(folder: Path, prefix: str, control: Control, only: Only = frozenset()) -> bool:
    """Whether there is a file that the code of now has made, with every test that judges now."""
    path = _path(folder, prefix, control)
    if not path.exists() or json.loads(path.read_text()).get("code") != code():
        return False
    return set(names_among(only)) <= {item.name for item in _read(path)}


@cache
def code() -> str:
    """A digest of the code behind the measures: what older code has measured is measured again."""
    found = hashlib.sha256()
    for path in sorted(path for folder in MEASURING for path in (ROOT / folder).rglob("*.py")):
        found.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()


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
