"""Kept evidence belongs to the code that measured it."""

import json
from pathlib import Path

import pytest

from benchmarks.controls import records
from cli.selftest.controls import Control, Expected
from core.policy.policies import TestName


@pytest.fixture
def control() -> Control:
    return Control("bias masked", Expected.FAIL, lambda ground: ground.original)


def keep(folder: Path, code: str) -> None:
    numbers = {"value": 0.1, "low": 0.0, "high": 0.2, "n": 90, "seed": 0, "problem": None}
    evidence = [{"name": name.value, **numbers} for name in TestName]
    (folder / "digits.bias_masked.json").write_text(json.dumps({"code": code, "evidence": evidence}))


def test_what_other_code_has_measured_is_measured_again(tmp_path: Path, control: Control) -> None:
    assert not records.is_kept(tmp_path, "digits", control)
    keep(tmp_path, records.code())
    assert records.is_kept(tmp_path, "digits", control)
    keep(tmp_path, "0" * 64)
    assert not records.is_kept(tmp_path, "digits", control)


def test_the_digest_covers_what_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in records.MEASURING:
        assert any((records.ROOT / folder).rglob("*.py"))
    source = tmp_path / "unlearning" / "probe.py"
    source.parent.mkdir()
    found = []
    for text in ("one", "two"):
        source.write_text(text)
        monkeypatch.setattr(records, "ROOT", tmp_path)
        records.code.cache_clear()
        found.append(records.code())
    records.code.cache_clear()
    assert found[0] != found[1]
