"""A ledger changed straight in its database, guards removed, thousands of times: every change is found by reading it.

Reading goes entry by entry and its result up to an entry depends on nothing behind it. So what was followed once up to
the place of the change is not followed again: that is what makes ten thousand changes affordable.
"""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core.clock import database_now
from core.db.session import Database
from core.ledger.checkpoints import open_checkpoint
from core.ledger.following import Position, follow, refuse_other_head, rows_after
from core.ledger.nodes import LedgerDamaged
from core.ledger.rechecking import check_stored
from core.ledger.tables import LedgerHead, StoredCheckpoint
from core.signing.keyring import write
from core.signing.published import publish
from tests.integration.core.support import LOG, drop_guards, fill, make_keys, make_sealer, ring_of

ENTRIES = 120
BYTES, MOVES = 10_000, 1_000
HASHED = ("leaf", "leaf_hash", "nodes")
WRITERS, EACH = 50, 4


class Opened:
    """A ledger whose guards are gone, in one transaction that is never committed."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.connection: Connection = session.connection()
        self.rows = [dict(row._mapping) for row in session.execute(select(LOG).order_by(LOG.c.seq))]
        self.positions = [Position()]
        for row in rows_after(session, Position(), limit=ENTRIES * 2):
            self.positions.append(follow(self.positions[-1], [row]))
        self.head = session.execute(select(LedgerHead)).scalar_one()

    @property
    def size(self) -> int:
        return len(self.rows)

    def holds(self, place: int) -> bool:
        """Whether the ledger from `place` on is what it was; a few rows are enough to tell, or all of them."""
        for limit in (2, ENTRIES * 2):
            position = self.positions[place]
            try:
                rows = rows_after(self.session, position, limit=limit)
                position = follow(position, rows)
                if len(rows) < limit:
                    refuse_other_head(position, self.head)
                    return True
            except LedgerDamaged:
                return False
            finally:
                self.session.expunge_all()
        return True

    def finds(self, place: int, *statements: Any) -> bool:
        change = self.connection.begin_nested()
        try:
            for statement in statements:
                self.connection.execute(statement)
            return not self.holds(place)
        finally:
            change.rollback()


@pytest.fixture
def opened(database: Database) -> Iterator[Opened]:
    fill(database, ENTRIES)
    with database.writing() as session:
        drop_guards(session)
        yield Opened(session)
        session.rollback()


def contents(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "seq"}


def at(seq: int) -> Any:
    return LOG.c.seq == seq


def changed(content: bytes, chance: random.Random) -> bytes:
    """The same with one byte changed."""
    found = bytearray(content)
    found[chance.randrange(len(found))] ^= chance.randrange(1, 256)
    return bytes(found)


def test_10000_bytes_of_leaves_and_hashes_are_found(opened: Opened) -> None:
    """One byte in every row at once, and each row judged alone, by what stands before it undamaged."""
    chance, found = random.Random(0), 0
    assert opened.holds(0)
    while found < BYTES:
        change = opened.connection.begin_nested()
        hit = [(row["seq"], chance.choice([name for name in HASHED if row[name] is not None])) for row in opened.rows]
        for column in HASHED:
            values = [
                {"place": seq, "content": changed(opened.rows[seq][column], chance)}
                for seq, one in hit
                if one == column
            ]
            statement = update(LOG).where(LOG.c.seq == bindparam("place")).values({column: bindparam("content")})
            opened.connection.execute(statement, values)
        for row in rows_after(opened.session, Position(), limit=ENTRIES * 2):
            with pytest.raises(LedgerDamaged, match=f"Entry {row.seq}"):
                follow(opened.positions[row.seq], [row])
            found += 1
        opened.session.expunge_all()
        change.rollback()
    assert opened.holds(0), "put back, it holds"


def test_1000_deletions_are_found(opened: Opened) -> None:
    chance = random.Random(1)
    for _ in range(MOVES):
        place = chance.randrange(opened.size)
        assert opened.finds(place, delete(LOG).where(at(place))), place


def test_1000_reorders_are_found(opened: Opened) -> None:
    chance = random.Random(2)
    for _ in range(MOVES):
        one, other = sorted(chance.sample(range(opened.size), 2))
        first, second = (contents(opened.rows[seq]) for seq in (one, other))
        swaps = (update(LOG).where(at(one)).values(second), update(LOG).where(at(other)).values(first))
        assert opened.finds(one, *swaps), (one, other)


def test_1000_insertions_are_found(opened: Opened) -> None:
    """Something is put in: everything behind moves up by one, numbers, columns and all."""
    chance = random.Random(3)
    for _ in range(MOVES):
        place = chance.randrange(max(0, opened.size - 8), opened.size + 1)
        behind = [delete(LOG).where(LOG.c.seq >= place)]
        moved = [{**contents(row), "seq": row["seq"] + 1} for row in opened.rows[place:]]
        new = {**contents(chance.choice(opened.rows)), "seq": place}
        assert opened.finds(place, *behind, insert(LOG).values([new, *moved])), place


def insist(write: Callable[[], object]) -> None:
    """Write as a client does that is told 503: SQLite lets fifty writers wait for each other in no order."""
    for _ in range(20):
        with suppress(OperationalError):
            write()
            return
    write()


def test_fifty_writers_leave_no_gap_and_no_fork(database: Database) -> None:
    def work(number: int) -> None:
        for _ in range(EACH):
            insist(lambda: fill(database, 1, actor=f"w{number}"))

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(work, range(WRITERS)))
    (finding,) = [one for one in check_stored(database, []) if not one.sentence.startswith("Not checked")]
    assert finding.holds
    assert finding.sentence.startswith(f"All {WRITERS * EACH} entries are chained without gap")


def test_a_key_that_rotates_while_fifty_write_leaves_one_ledger_signed_by_both(
    database: Database, tmp_path: Path
) -> None:
    keys = make_keys(database, tmp_path / "signing.json")
    sealer = make_sealer(database, keys)

    def work(number: int) -> None:
        insist(lambda: fill(database, 2, actor=f"w{number}"))
        if number % 10 == 0:
            insist(sealer.current)
        if number == WRITERS // 2:
            insist(rotate)

    def rotate() -> None:
        with database.writing() as session:
            now = database_now(session)
            ring = ring_of(keys).rotated(now=now, until=now + timedelta(days=1))
            publish(session, ring, actor="local:cli")
        write(keys.path, ring, replacing=True)

    before = sealer.current().size
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(work, range(WRITERS)))
    last = sealer.current()
    publics = ring_of(keys).publics("checkpoint")
    assert last.size > before + 2 * WRITERS
    assert len(open_checkpoint(last.note, publics).signers) == 2
    findings = check_stored(database, publics)
    assert all(one.holds for one in findings), findings
    with database.reading() as session:
        assert len(session.execute(select(StoredCheckpoint.size)).all()) > 2
