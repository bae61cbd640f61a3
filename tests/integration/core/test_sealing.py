"""Checkpoints of a real database: consistent with each other, refused when the ledger is not what was signed."""

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.orm import Session

from core.clock import database_now
from core.db.session import Database
from core.ledger.checkpoints import open_checkpoint
from core.ledger.export import check_export, export_document
from core.ledger.following import Position, follow, refuse_other_head, rows_after
from core.ledger.nodes import LedgerDamaged, consistency_proof, inclusion_proof
from core.ledger.proofs import includes, is_consistent
from core.ledger.sealing import NoCheckpoint, Sealer
from core.ledger.tables import LedgerEntry, LedgerHead, StoredCheckpoint
from core.ledger.tree import root_of_leaves
from core.signing.keyring import KeyFile, Keyring, write
from core.signing.published import publish, published
from tests.integration.core.support import LOG, ORIGIN, cut, fill, make_keys, make_sealer, rewrite, ring_of

WRITERS, EACH = 20, 10
CHANGES = 2000


def leaves_of(database: Database) -> list[bytes]:
    with database.reading() as session:
        return list(session.execute(select(LedgerEntry.leaf).order_by(LedgerEntry.seq)).scalars())


@pytest.fixture
def keys(database: Database, tmp_path: Path) -> KeyFile:
    return make_keys(database, tmp_path / "signing.json")


@pytest.fixture
def sealer(database: Database, keys: KeyFile) -> Sealer:
    return make_sealer(database, keys)


# ------------------------------------------------------------------------------------------------------- what is signed


def test_a_checkpoint_states_the_root_of_the_leaves(database: Database, keys: KeyFile, sealer: Sealer) -> None:
    for _ in range(3):
        fill(database, 5)
        stored = sealer.current()
        signed = open_checkpoint(stored.note, ring_of(keys).publics("checkpoint")).checkpoint
        leaves = leaves_of(database)
        assert (signed.origin, signed.size, signed.root) == (ORIGIN, len(leaves), root_of_leaves(leaves))
        assert sealer.examine().holds
    assert sealer.current().size == len(leaves_of(database))


def test_a_young_checkpoint_is_not_replaced_unless_an_entry_needs_it(database: Database, keys: KeyFile) -> None:
    sealer = Sealer(database, keys, interval=timedelta(hours=1))
    first = sealer.current().size
    fill(database, 3)
    assert sealer.current().size == first
    assert sealer.current(covering=first - 1).size == first
    assert sealer.current(covering=first).size == first + 3


def test_without_a_key_nothing_is_signed_and_nothing_is_wrong(database: Database, tmp_path: Path) -> None:
    fill(database, 3)
    sealer = make_sealer(database, KeyFile(tmp_path / "none.json"))
    with pytest.raises(NoCheckpoint, match="expunge keys init"):
        sealer.current()
    assert sealer.examine().holds
    assert "No signing key" in sealer.examine().sentence


def test_stored_hashes_prove_every_entry_and_every_growth(database: Database) -> None:
    fill(database, 27)
    leaves = leaves_of(database)
    with database.reading() as session:
        for size in range(1, len(leaves) + 1):
            root = root_of_leaves(leaves[:size])
            for index in range(size):
                proof = inclusion_proof(session, index, size)
                assert proof.root == root
                assert includes(proof.leaf_hash, index, size, proof.hashes, root)
            grown = consistency_proof(session, size, len(leaves))
            assert grown.old_root == root
            assert is_consistent(size, len(leaves), root, root_of_leaves(leaves), grown.hashes)


def test_twenty_writers_and_a_signer_leave_no_gap_and_no_fork(postgresql_url: str, tmp_path: Path) -> None:
    database = Database(postgresql_url)
    keys = make_keys(database, tmp_path / "signing.json")
    sealers = [make_sealer(database, keys) for _ in range(2)]

    def work(number: int) -> None:
        for _ in range(EACH):
            fill(database, 1, actor=f"w{number}")
            if number < len(sealers):
                sealers[number].current()

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(work, range(WRITERS)))
    leaves = leaves_of(database)
    times = [json.loads(leaf)["ts"] for leaf in leaves]
    assert times == sorted(times)
    final = sealers[0].current()
    assert final.size == len(leaves) == WRITERS * EACH + len(ring_of(keys).keys)
    with database.reading() as session:
        notes = list(session.execute(select(StoredCheckpoint.note)).scalars())
        assert follow(Position(), rows_after(session, Position(), limit=10**6)).root == final.root
    opened = [open_checkpoint(note, ring_of(keys).publics("checkpoint")).checkpoint for note in notes]
    findings = check_export(export_document(leaves, tree_size=len(leaves), root=final.root), opened)
    assert all(finding.holds for finding in findings), findings
    assert len(opened) > 2
    database.dispose()


# ------------------------------------------------------------------------------------------------------------- rotation


def test_a_rotation_in_the_middle_is_signed_by_both_keys(database: Database, keys: KeyFile, sealer: Sealer) -> None:
    old_key = ring_of(keys).publics("checkpoint")
    before = sealer.current()
    with database.writing() as session:
        now = database_now(session)
        ring = ring_of(keys).rotated(now=now, until=now + timedelta(days=1))
        shown = publish(session, ring, actor="local:cli")
    write(keys.path, ring, replacing=True)
    fill(database, 4)
    after = sealer.current()
    new_key = ring.publics("checkpoint")[1:]
    both = open_checkpoint(after.note, [*old_key, *new_key])
    assert {key.name for key in both.signers} == {ORIGIN, f"{ORIGIN}-2"}
    assert open_checkpoint(before.note, old_key).checkpoint.origin == both.checkpoint.origin
    checkpoints = [key for key in shown if key.use == "checkpoint"]
    assert [key.valid_until for key in checkpoints] == [now + timedelta(days=1), None]


def test_after_the_overlap_the_new_key_signs_alone_and_old_checkpoints_still_count(
    database: Database, keys: KeyFile, sealer: Sealer
) -> None:
    old_key = ring_of(keys).publics("checkpoint")
    sealer.current()
    with database.writing() as session:
        now = database_now(session)
        ring = ring_of(keys).rotated(now=now, until=now)
        publish(session, ring, actor="local:cli")
    write(keys.path, ring, replacing=True)
    after = make_sealer(database, keys).current()
    with pytest.raises(ValueError, match="none of the keys"):
        open_checkpoint(after.note, old_key)
    assert open_checkpoint(after.note, ring.publics("checkpoint")).checkpoint.size == after.size
    assert make_sealer(database, keys).examine().holds


def test_every_key_ever_used_stays_in_the_table_and_in_the_ledger(database: Database, keys: KeyFile) -> None:
    with database.writing() as session:
        now = database_now(session)
        ring = ring_of(keys).rotated(now=now, until=now)
        publish(session, ring, actor="local:cli")
        publish(session, ring, actor="local:cli")
    with database.reading() as session:
        assert [key.public for key in published(session)] == [key.public for key in ring.keys]
    assert sum(b"signing_key.added" in leaf for leaf in leaves_of(database)) == len(ring.keys)


# ------------------------------------------------------------------------------------------------------------ tampering


def test_2000_random_changes_straight_in_the_database_are_found(small: tuple[Database, KeyFile]) -> None:
    database, _ = small
    chance = random.Random(0)
    with database.writing() as session:
        rows = [dict(row._mapping) for row in session.execute(select(LOG)).all()]
        for number in range(CHANGES):
            with session.begin_nested() as change:
                what = tamper(session, rows, chance)
                assert not holds(session), f"change {number} was not found: {what}"
                change.rollback()
        assert holds(session)


def holds(session: Session) -> bool:
    try:
        follow_all(session)
    except LedgerDamaged:
        return False
    return True


def follow_all(session: Session) -> None:
    head = session.execute(select(LedgerHead).execution_options(populate_existing=True)).scalar_one()
    refuse_other_head(follow(Position(), rows_after(session, Position(), limit=10**6)), head)


def tamper(session: Session, rows: list[dict[str, Any]], chance: random.Random) -> str:
    """One change of one kind; says which."""
    row, other = chance.sample(rows, 2)
    at = LOG.c.seq == row["seq"]
    match chance.randrange(6):
        case 0 | 1:
            column = chance.choice([name for name in ("leaf", "leaf_hash", "nodes") if row[name] is not None])
            changed = bytearray(row[column])
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
            session.execute(update(LOG).where(at).values({column: bytes(changed)}))
            return f"a bit of {column} of entry {row['seq']}"
        case 2:
            session.execute(delete(LOG).where(at))
            return f"entry {row['seq']} removed"
        case 3:
            session.execute(insert(LOG).values({**row, "seq": 10_000 + chance.randrange(9)}))
            return f"entry {row['seq']} added again at the end"
        case 4:
            for one, its in ((row, other), (other, row)):
                values = {name: its[name] for name in its if name != "seq"}
                session.execute(update(LOG).where(LOG.c.seq == one["seq"]).values(values))
            return f"entries {row['seq']} and {other['seq']} swapped"
        case _:
            column = chance.choice(["type", "tenant", "request_id", "at"])
            wrong = {"type": "x", "tenant": "x", "request_id": bytes(16).hex(), "at": "2001-01-01 00:00:00.000000"}
            values = {"wrong": wrong[column], "seq": row["seq"]}
            session.execute(text(f"UPDATE audit_log SET {column} = :wrong WHERE seq = :seq"), values)  # noqa: S608
            return f"{column} of entry {row['seq']}"


@pytest.mark.parametrize(
    "change",
    [
        lambda session: cut(session, 3),
        lambda session: rewrite(session, 5),
        lambda session: session.execute(text("UPDATE audit_head SET tree_size = tree_size - 1")),
        lambda session: session.execute(text("UPDATE audit_log SET nodes = zeroblob(length(nodes)) WHERE seq = 15")),
        lambda session: session.execute(text("DELETE FROM audit_log WHERE seq = 15")),
        lambda session: session.execute(text("UPDATE checkpoints SET note = replace(note, '2', '3')")),
        lambda session: session.execute(text("UPDATE checkpoints SET root = zeroblob(32)")),
    ],
    ids=["tail cut", "rewritten", "head set back", "hash changed", "row removed", "note changed", "columns changed"],
)
def test_a_changed_ledger_is_not_signed_and_turns_readiness_red(
    small: tuple[Database, KeyFile], change: Callable[[Session], object]
) -> None:
    database, keys = small
    assert make_sealer(database, keys).examine().holds
    with database.writing() as session:
        change(session)
    fresh = make_sealer(database, keys)
    assert not fresh.examine().holds
    fill_unchecked(database)
    with pytest.raises(LedgerDamaged):
        fresh.current(covering=10**6)
    with database.reading() as session:
        assert len(session.execute(select(StoredCheckpoint.size)).all()) == 1


def fill_unchecked(database: Database) -> None:
    """A further entry, if the head still lets one be appended."""
    with suppress(Exception):
        fill(database, 1)


def test_a_leaf_changed_since_the_last_checkpoint_is_not_signed(small: tuple[Database, KeyFile]) -> None:
    database, keys = small
    fill(database, 4)
    with database.writing() as session:
        session.execute(text("UPDATE audit_log SET leaf = CAST(replace(leaf, 'test', 'best') AS BLOB) WHERE seq = 24"))
    sealer = make_sealer(database, keys)
    with pytest.raises(LedgerDamaged, match="Entry 24"):
        sealer.current()
    assert "Entry 24" in sealer.examine().sentence
    with database.writing() as session:
        session.execute(text("UPDATE audit_log SET leaf = CAST(replace(leaf, 'best', 'test') AS BLOB) WHERE seq = 24"))
    assert sealer.current().size == 24 + 4
    assert sealer.examine().holds


def test_an_older_database_with_its_older_checkpoints_is_caught_by_the_file_beside_the_key(
    small: tuple[Database, KeyFile],
) -> None:
    database, keys = small
    with database.writing() as session:
        cut(session, 5)
        session.execute(text("DELETE FROM checkpoints"))
    sealer = make_sealer(database, keys)
    assert "older database" in sealer.examine().sentence
    with pytest.raises(LedgerDamaged, match="cut off"):
        sealer.current()
    sealer.memory.unlink()
    assert make_sealer(database, keys).examine().holds, "the limit: nothing outside the database remembers it"


def test_a_running_signer_remembers_without_any_file(small: tuple[Database, KeyFile]) -> None:
    database, keys = small
    sealer = make_sealer(database, keys)
    fill(database, 2)
    sealer.current()
    with database.writing() as session:
        session.execute(text("DELETE FROM checkpoints"))
        cut(session, 4)
    sealer.memory.unlink()
    fill(database, 9)
    with pytest.raises(LedgerDamaged):
        sealer.current()


def test_a_key_that_somebody_wrote_into_the_table_turns_readiness_red(small: tuple[Database, KeyFile]) -> None:
    database, keys = small
    with database.writing() as session:
        other = Keyring.first("forger.example/audit", now=database_now(session))
        publish(session, other, actor="forger")
    sealer = make_sealer(database, keys)
    assert "forger.example/audit" in sealer.examine().sentence
    assert not sealer.examine().holds


@pytest.mark.parametrize("table", ["checkpoints", "signing_keys"])
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "UPDATE {} SET {}"])
def test_the_database_refuses_to_change_what_was_signed(
    database: Database, sealer: Sealer, table: str, statement: str
) -> None:
    sealer.current()
    column = {"checkpoints": "note = 'x'", "signing_keys": "name = 'x'"}[table]
    with pytest.raises(Exception, match="append-only"), database.writing() as session:
        session.execute(text(statement.format(table, column)))


def test_sqlite_refuses_to_replace_an_entry(sqlite_url: str) -> None:
    database = Database(sqlite_url, pooled=False)
    fill(database, 2)
    with pytest.raises(Exception, match="append-only"), database.writing() as session:
        session.execute(text("INSERT OR REPLACE INTO audit_log SELECT * FROM audit_log WHERE seq = 0"))
