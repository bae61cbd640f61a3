"""The command line as a person meets it: help at once, one sentence per error, exit codes that scripts can use."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from core.ledger.entries import NO_PREVIOUS, canonical
from core.ledger.export import export_document
from core.ledger.tree import leaf_hash, root_of_leaves
from core.settings import get_settings

COMMANDS = (
    "serve",
    "worker",
    "dispatch",
    "migrate",
    "verify",
    "verifier",
    "demo",
    "keys",
    "keys api",
    "keys api create",
)


@pytest.fixture(autouse=True)
def _fresh_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings are read once per process; here each test has its own folder."""
    monkeypatch.setenv("EXPUNGE_DATA_DIR", str(tmp_path))
    for name in ("EXPUNGE_REDIS_URL", "EXPUNGE_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    get_settings.cache_clear()


def _export(size: int = 3) -> dict[str, object]:
    leaves, previous = [], NO_PREVIOUS
    for seq in range(size):
        leaves.append(canonical({"seq": seq, "prev": previous.hex()}))
        previous = leaf_hash(leaves[-1])
    return export_document(leaves, tree_size=size, root=root_of_leaves(leaves))


def _verify(path: Path, content: str) -> tuple[int, str]:
    path.write_text(content)
    result = CliRunner().invoke(app, ["verify", str(path)])
    return result.exit_code, result.output


def test_help_loads_neither_torch_nor_the_web_framework() -> None:
    heavy = ("torch", "numpy", "sklearn", "fastapi", "uvicorn", "sqlalchemy", "celery", "worker", "app")
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom cli.main import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        f"print(sorted(set(sys.modules) & set({heavy!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert len(result.output) > 200


def test_an_export_that_holds_ends_with_0(tmp_path: Path) -> None:
    code, output = _verify(tmp_path / "ledger.json", json.dumps(_export()))
    assert code == 0
    assert "All 3 entries are chained without gap" in output


def test_a_changed_entry_ends_with_1_and_is_named(tmp_path: Path) -> None:
    export = _export()
    leaf = canonical({"seq": 1, "prev": "00"})
    export["entries"][1] = {"leaf": base64.b64encode(leaf).decode()}  # type: ignore[index]
    code, output = _verify(tmp_path / "ledger.json", json.dumps(export))
    assert code == 1
    assert "Entry 1:" in output


@pytest.mark.parametrize("content", ["", "no JSON", "[]", '{"format": "other"}', "[" * 100_000])
def test_another_document_ends_with_2(tmp_path: Path, content: str) -> None:
    code, output = _verify(tmp_path / "ledger.json", content)
    assert code == 2
    assert output.startswith("Error: Expected")


def test_a_missing_file_ends_with_2(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["verify", str(tmp_path / "missing.json")])
    assert result.exit_code == 2
    assert "No such file" in result.stderr


def test_an_error_is_one_sentence_on_standard_error() -> None:
    result = CliRunner().invoke(app, ["dispatch"])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: Expected EXPUNGE_REDIS_URL")
    assert result.stderr.count("\n") == 1


def test_debug_shows_the_traceback() -> None:
    result = CliRunner().invoke(app, ["--debug", "dispatch"])
    assert "Traceback" in result.stderr
    assert "Error: Expected EXPUNGE_REDIS_URL" in result.stderr


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPUNGE_PORT", "70000")
    result = CliRunner().invoke(app, ["migrate"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: EXPUNGE_PORT:")


def test_a_database_that_cannot_be_opened_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "expunge.db").mkdir()
    result = CliRunner().invoke(app, ["migrate"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: The database did not answer as expected")
    assert result.stderr.count("\n") == 1
