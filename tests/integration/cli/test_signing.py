"""`expunge keys init|rotate|list` and `expunge verify` with a pinned key, as an operator and an auditor use them."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from core.db.session import Database
from core.ledger.entries import Record, append
from core.ledger.sealing import Sealer
from core.settings import get_settings
from core.signing.keyring import KeyFile

ORIGIN = "test.example/audit"


@pytest.fixture(autouse=True)
def _fresh_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EXPUNGE_DATA_DIR", str(tmp_path))
    for name in ("EXPUNGE_REDIS_URL", "EXPUNGE_DATABASE_URL", "EXPUNGE_SIGNING_KEYS"):
        monkeypatch.delenv(name, raising=False)
    get_settings.cache_clear()


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def sealer() -> Sealer:
    settings = get_settings()
    keys = KeyFile(settings.signing_keys_file)
    return Sealer(Database(settings.database_url, pooled=False), keys, interval=settings.checkpoint_interval)


def test_keys_are_made_once_printed_and_closed_to_others(tmp_path: Path) -> None:
    made = run("keys", "init", "--origin", ORIGIN)
    assert made.exit_code == 0
    vkeys = made.stdout.split()
    assert [vkey.split("+")[0] for vkey in vkeys] == [ORIGIN, f"{ORIGIN}/statements", f"{ORIGIN}/models"]
    path = tmp_path / "signing-keys.json"
    assert os.stat(path).st_mode & 0o777 == 0o600  # noqa: PTH116 the mode is what is tested
    private = [key["private"] for key in json.loads(path.read_text())["keys"]]
    assert not any(secret in made.output for secret in private)
    again = run("keys", "init", "--origin", ORIGIN)
    assert again.exit_code == 1
    assert "expunge keys rotate" in again.stderr
    assert sealer().examine().holds


def test_a_rotation_adds_keys_and_the_list_shows_all() -> None:
    first = run("keys", "init", "--origin", ORIGIN).stdout.split()
    second = run("keys", "rotate", "--overlap-days", "7").stdout.split()
    assert [vkey.split("+")[0] for vkey in second] == [f"{ORIGIN}-2", f"{ORIGIN}/statements-2", f"{ORIGIN}/models-2"]
    listed = run("keys", "list").stdout
    assert all(vkey.split("+")[0] in listed for vkey in first + second)
    assert sealer().examine().holds


def test_a_lost_file_is_replaced_under_a_new_name_only(tmp_path: Path) -> None:
    run("keys", "init", "--origin", ORIGIN)
    (tmp_path / "signing-keys.json").unlink()
    refused = run("keys", "init", "--origin", ORIGIN)
    assert refused.exit_code == 1
    assert "new origin" in refused.stderr
    assert run("keys", "init", "--origin", "test.example/audit-b").exit_code == 0
    assert sealer().examine().holds


def test_keys_that_the_database_does_not_know_are_written_down_by_running_init_again(tmp_path: Path) -> None:
    made = run("keys", "init", "--origin", ORIGIN).stdout
    (tmp_path / "expunge.db").unlink()
    assert run("migrate").exit_code == 0
    assert "run `expunge keys init` again" in sealer().examine().sentence
    again = run("keys", "init", "--origin", ORIGIN)
    assert (again.exit_code, again.stdout) == (0, made)
    assert sealer().examine().holds


def test_where_the_file_cannot_be_written_the_database_knows_no_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    monkeypatch.setenv("EXPUNGE_SIGNING_KEYS", str(tmp_path / "taken" / "keys.json"))
    get_settings.cache_clear()
    failed = run("keys", "init", "--origin", ORIGIN)
    assert (failed.exit_code, failed.stderr.startswith("Error: ")) == (1, True)
    monkeypatch.delenv("EXPUNGE_SIGNING_KEYS")
    get_settings.cache_clear()
    assert run("keys", "init", "--origin", ORIGIN).exit_code == 0


@pytest.mark.parametrize("words", [("keys", "rotate"), ("keys", "init", "--origin", "a b"), ("keys", "init")])
def test_what_cannot_be_done_is_one_sentence(words: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.exit_code != 0
    assert "Traceback" not in result.output


def test_no_keys_can_be_listed() -> None:
    assert "expunge keys init" in run("keys", "list").stdout


def test_a_checkpoint_is_verified_against_the_pinned_key(tmp_path: Path) -> None:
    vkey = run("keys", "init", "--origin", ORIGIN).stdout.split()[0]
    note = tmp_path / "checkpoint.txt"
    made = sealer()
    note.write_text(made.current().note)
    held = run("verify", str(note), "--key", vkey)
    assert (held.exit_code, f"is signed by {ORIGIN}" in held.output) == (0, True)
    assert run("verify", str(note)).exit_code == 2
    assert run("verify", str(note), "--key", "nonsense").exit_code == 2
    note.write_text(note.read_text().replace("\n3\n", "\n4\n"))
    changed = run("verify", str(note), "--key", vkey)
    assert (changed.exit_code, "one of the two was changed" in changed.output) == (1, True)


def test_an_export_is_verified_against_a_kept_checkpoint(tmp_path: Path) -> None:
    from sqlalchemy import select

    from core.ledger.export import export_document
    from core.ledger.tables import LedgerEntry
    from core.ledger.tree import root_of_leaves

    vkey = run("keys", "init", "--origin", ORIGIN).stdout.split()[0]
    database = Database(get_settings().database_url, pooled=False)
    with database.writing() as session:
        append(session, Record(type="test.written", tenant="t", actor="test"))
    kept = tmp_path / "kept.txt"
    kept.write_text(sealer().current().note)
    with database.reading() as session:
        leaves = list(session.execute(select(LedgerEntry.leaf).order_by(LedgerEntry.seq)).scalars())
    for count, code in ((4, 0), (3, 1)):
        export = tmp_path / f"{count}.json"
        root = root_of_leaves(leaves[:count])
        export.write_text(json.dumps(export_document(leaves[:count], tree_size=count, root=root)))
        result = run("verify", str(export), "--key", vkey, "--checkpoint", str(kept))
        assert result.exit_code == code, result.output
        assert run("verify", str(export)).exit_code == 0
