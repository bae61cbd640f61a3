"""The controls on the digits: one digit in full, all of them as a survey."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.controls.records import is_kept, measure_missing, rows_of, teller
from benchmarks.controls.text import controls_section, room_section
from cli.selftest import tables
from cli.selftest.controls import Expected
from cli.selftest.digits import ALONE, BY_HEART, trials
from cli.selftest.gate import Row
from core.policy.policies import SHIPPED, TestName
from core.policy.verdict import Outcome

NUM_DIGITS, SHOWN = 10, 3
SEED = 0
BY_MEMBERSHIP = frozenset({TestName.MEMBERSHIP_AUC})
SURVEY = ("digit", "must fail, and does not", "retrained", "the service's default")


def digits_text(out: Path) -> str:
    """Everything about the digits as markdown; measures what is missing."""
    rows = {digit: _rows(out, digit) for digit in range(NUM_DIGITS)}
    everything = [row for found in rows.values() for row in found]
    parts = [
        controls_section(f"Digit {SHOWN}, as `expunge selftest --gate` prints it", rows[SHOWN]),
    ]
    for name in SHIPPED:
        lines = [(str(digit), *_surveyed(found, name)) for digit, found in rows.items()]
        parts.append(f"### All digits, `{name}`\n\n{tables.markdown(SURVEY, [*lines, _total(everything, name)])}")
    return "\n\n".join([
        *parts,
        *(room_section(f"Room over all digits, `{name}`", everything, name) for name in SHIPPED),
    ])


def _rows(out: Path, digit: int) -> list[Row]:
    prefix = f"digits.{digit}"
    kept = [is_kept(out, prefix, control) for control in ALONE]
    kept += [is_kept(out, prefix, control, BY_MEMBERSHIP) for control in BY_HEART]
    if not all(kept):
        for trial in trials(digit, SEED, teller(prefix)):
            measure_missing(out, prefix, trial)
    return [*rows_of(out, prefix, ALONE), *rows_of(out, prefix, BY_HEART, BY_MEMBERSHIP)]


def _surveyed(rows: Sequence[Row], policy: str) -> tuple[str, str, str]:
    missed = [
        _told(row, policy) for row in rows if row.control.expected is Expected.FAIL and not row.is_told_apart(policy)
    ]
    passing = [row for row in rows if row.control.expected is Expected.PASS]
    missed_passes = [_told(row, policy) for row in passing if not row.is_told_apart(policy)]
    passed = ", ".join([f"{len(passing) - len(missed_passes)} of {len(passing)} pass", *missed_passes])
    default = "; ".join(_told(row, policy) for row in rows if row.control.expected is Expected.REPORTED)
    return ", ".join(missed) or "none", passed, default


def _told(row: Row, policy: str) -> str:
    verdict = row.verdicts[policy]
    by = "" if verdict.outcome is Outcome.PASS else f" by {', '.join(verdict.decided_by)}"
    name = "" if row.control.expected is Expected.REPORTED else f"{row.control.name}: "
    return f"{name}{verdict.outcome}{by}"


def _total(rows: Sequence[Row], policy: str) -> tuple[str, ...]:
    counted = []
    for expected in (Expected.FAIL, Expected.PASS):
        some = [row for row in rows if row.control.expected is expected]
        counted.append(f"{sum(row.is_told_apart(policy) for row in some)} of {len(some)} {expected}")
    defaults = [row for row in rows if row.control.expected is Expected.REPORTED]
    passed = sum(row.verdicts[policy].outcome is Outcome.PASS for row in defaults)
    return "all", *counted, f"{passed} of {len(defaults)} pass"
