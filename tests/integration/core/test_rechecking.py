"""Old entries: what the rolling check and the operator's command find, and within how many steps."""

import random
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from core.clock import database_now
from core.db.session import Database
from core.ledger.nodes import LedgerDamaged
from core.ledger.rechecking import Rechecker, check_stored
from core.ledger.tables import LedgerEntry
from core.signing.keyring import KeyFile, write
from core.signing.published import publish
from tests.integration.core.support import cut, drop_guards, fill, make_sealer, rewrite, ring_of

STEP = 4

Change = Callable[[Session], object]


def statement(sql: str) -> Change:
    return lambda session: session.execute(text(sql))


LEAF = statement("UPDATE audit_log SET leaf = CAST(replace(leaf, 'test', 'best') AS BLOB) WHERE seq = 6")
OLD_CHANGES: dict[str, Change] = {
    "leaf": LEAF,
    "tenant": statement("UPDATE audit_log SET tenant = 'x' WHERE seq = 0"),
    "hash": statement("UPDATE audit_log SET leaf_hash = zeroblob(32) WHERE seq = 6"),
    "nodes": statement("UPDATE audit_log SET nodes = zeroblob(length(nodes)) WHERE seq = 7"),
    "removed": statement("DELETE FROM audit_log WHERE seq = 6"),
    "last removed": statement("DELETE FROM audit_log WHERE seq = (SELECT max(seq) FROM audit_log)"),
    "rewritten": lambda session: rewrite(session, 5),
}


def recheck(database: Database, *, entries: int = STEP) -> Rechecker:
    return Rechecker(database, entries=entries, interval=timedelta(0))


def steps_to_find(rechecker: Rechecker, size: int) -> int | None:
    """Steps until something is found, at most two rounds and a bit."""
    for number in range(3 * (size // STEP + 1)):
        try:
            rechecker.step()
        except LedgerDamaged:
            assert not rechecker.examine().holds
            return number + 1
    return None


def size_of(database: Database) -> int:
    with database.reading() as session:
        return session.execute(select(func.count()).select_from(LedgerEntry)).scalar_one()


def test_a_sound_ledger_is_read_round_after_round(database: Database) -> None:
    assert recheck(database).examine().holds
    rechecker = recheck(database)
    rechecker.step()
    fill(database, 11)
    for _ in range(9):
        rechecker.step()
    assert "a round ended" in rechecker.examine().sentence


@pytest.mark.parametrize("change", OLD_CHANGES.values(), ids=OLD_CHANGES)
def test_every_change_of_an_old_entry_is_found_within_two_rounds(
    small: tuple[Database, KeyFile], change: Change
) -> None:
    database, _ = small
    with database.writing() as session:
        change(session)
    size = size_of(database)
    assert steps_to_find(recheck(database), size) is not None


def test_what_the_signer_cannot_see_is_found_by_reading_again(small: tuple[Database, KeyFile]) -> None:
    database, keys = small
    with database.writing() as session:
        LEAF(session)
    fill(database, 2)
    assert make_sealer(database, keys).current().size == 26, "signed: the stored hashes are what they were"
    assert make_sealer(database, keys).examine().holds
    assert steps_to_find(recheck(database), 26) is not None


def test_from_the_beginning_every_entry_is_read_within_one_round(
    small: tuple[Database, KeyFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, _ = small
    chance, size = random.Random(0), size_of(database)
    monkeypatch.setattr("core.ledger.rechecking.secrets.randbelow", lambda most: 0)
    for _ in range(20):
        seq = chance.randrange(size - 2)
        with database.writing() as session:
            before = session.execute(select(LedgerEntry.leaf).where(LedgerEntry.seq == seq)).scalar_one()
            session.execute(text("UPDATE audit_log SET leaf = zeroblob(9) WHERE seq = :seq"), {"seq": seq})
        rechecker = recheck(database)
        assert steps_to_find(rechecker, size) == seq // STEP + 1
        with database.writing() as session:
            session.execute(text("UPDATE audit_log SET leaf = :leaf WHERE seq = :seq"), {"leaf": before, "seq": seq})
        rechecker.step()
        assert rechecker.examine().holds, "it is red until it holds again, and no longer"


@pytest.mark.parametrize("start", [0, 1, 7, 12, 20])
def test_wherever_it_begins_a_sound_ledger_holds(
    small: tuple[Database, KeyFile], monkeypatch: pytest.MonkeyPatch, start: int
) -> None:
    database, _ = small
    monkeypatch.setattr("core.ledger.rechecking.secrets.randbelow", lambda most: start)
    assert steps_to_find(recheck(database), 24) is None


def test_a_round_ends_however_fast_the_ledger_grows(small: tuple[Database, KeyFile]) -> None:
    database, keys = small
    rechecker, sealer = recheck(database), make_sealer(database, keys)
    for _ in range(2 * (24 // STEP + 1)):
        fill(database, 2 * STEP)
        sealer.current()
        rechecker.step()
    assert "a round ended" in rechecker.examine().sentence


def test_switched_off_it_says_so_and_reads_nothing(database: Database) -> None:
    rechecker = recheck(database, entries=0)
    rechecker.run(threading.Event())
    assert "EXPUNGE_RECHECKED_ENTRIES" in rechecker.examine().sentence


# --------------------------------------------------------------------------------------------- the operator's command


def findings_of(database: Database, keys: KeyFile, **more: list[str]) -> list[tuple[bool, str]]:
    found = check_stored(database, ring_of(keys).publics("checkpoint"), chunk=STEP, **more)
    return [(one.holds, one.sentence) for one in found]


def test_a_sound_database_is_said_to_be_sound(small: tuple[Database, KeyFile]) -> None:
    database, keys = small
    ((held, sentence),) = findings_of(database, keys)
    assert held
    assert sentence == (
        "All 24 entries are chained without gap, beside the right hashes, and add up to the head and to 1 checkpoints."
    )
    assert [one.holds for one in check_stored(database, [])] == [True, True]


@pytest.mark.parametrize("change", OLD_CHANGES.values(), ids=OLD_CHANGES)
def test_every_change_is_found_by_reading_the_whole_database(small: tuple[Database, KeyFile], change: Change) -> None:
    database, keys = small
    with database.writing() as session:
        change(session)
    assert not all(held for held, _ in findings_of(database, keys))


def test_a_cut_tail_is_found_as_long_as_a_newer_checkpoint_is_anywhere(small: tuple[Database, KeyFile]) -> None:
    database, keys = small
    note = make_sealer(database, keys).current().note
    with database.writing() as session:
        cut(session, 3)
    assert findings_of(database, keys)[-1] == (
        False,
        "3 entries are missing at the end: a checkpoint of 24 was signed.",
    )
    with database.writing() as session:
        session.execute(text("DELETE FROM checkpoints"))
    assert [held for held, _ in findings_of(database, keys)] == [True], "the limit: nobody remembers more"
    assert not all(held for held, _ in findings_of(database, keys, kept=[note]))


def test_after_a_rotation_the_newest_key_alone_opens_older_checkpoints_and_an_ended_one_no_newer(
    small: tuple[Database, KeyFile],
) -> None:
    database, keys = small
    before, kept = ring_of(keys).publics("checkpoint"), make_sealer(database, keys).current().note
    with database.writing() as session:
        now = database_now(session)
        ring = ring_of(keys).rotated(now=now, until=now)
        publish(session, ring, actor="local:cli")
    write(keys.path, ring, replacing=True)
    make_sealer(database, keys).current()
    newest = ring.publics("checkpoint")[-1:]
    assert newest != before
    assert [one.holds for one in check_stored(database, newest, kept=[kept])] == [True]
    assert [one.holds for one in check_stored(database, before, kept=[kept])] == [False, True]
    with database.writing() as session:
        rewrite(session, 5)
    assert not all(one.holds for one in check_stored(database, newest, kept=[kept]))


def test_a_checkpoint_that_was_tampered_with_is_named(small: tuple[Database, KeyFile]) -> None:
    database, keys = small
    with database.writing() as session:
        session.execute(text("UPDATE checkpoints SET note = replace(note, '24', '25')"))
    held, sentence = findings_of(database, keys)[0]
    assert (held, sentence.startswith("A checkpoint does not hold")) == (False, True)


def test_the_command_reads_the_settings_database_and_the_key_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from cli.main import app
    from core.settings import get_settings

    monkeypatch.setenv("EXPUNGE_DATA_DIR", str(tmp_path))
    get_settings.cache_clear()
    runner = CliRunner()
    assert runner.invoke(app, ["migrate"]).exit_code == 0
    assert runner.invoke(app, ["keys", "init", "--origin", "test.example/audit"]).exit_code == 0
    database = Database(f"sqlite:///{tmp_path / 'expunge.db'}", pooled=False)
    fill(database, 9)
    assert runner.invoke(app, ["verify", "--database"]).exit_code == 0
    with database.writing() as session:
        drop_guards(session)
        LEAF(session)
    found = runner.invoke(app, ["verify", "--database"])
    assert (found.exit_code, "Entry 6: " in found.output) == (1, True)
    assert runner.invoke(app, ["verify"]).exit_code == 2
    assert runner.invoke(app, ["verify", "--database", "file.json"]).exit_code == 2
    database.dispose()
    get_settings.cache_clear()
