"""The ledger's figures, measured where this runs: `python benchmarks/ledger.py [--postgres-url URL] [--entries N]`.

1. Appends per second with 8 writers, each append a transaction of its own; beside it the commits per second that one
   connection gets from the same disk with a row of the same size. Afterwards every entry is followed: no gap, no fork.
2. With N entries: milliseconds for an inclusion and for a consistency proof, at random places, and for a checkpoint.

`--postgres-url` names a server's maintenance database; a database of our own is made there and dropped. Without it the
figures are those of SQLite in a temporary folder. The N entries of the second part are written in bulk, with the hashes
that appending them one by one would have left. Nothing here is a limit: the figures are printed, not judged.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import create_engine, insert, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from core.clock import to_rfc3339
from core.db.migrate import upgrade
from core.db.session import Database, normalise_url
from core.ledger.entries import NO_PREVIOUS, Record, append, canonical
from core.ledger.following import Position, follow, refuse_other_head, rows_after
from core.ledger.nodes import consistency_proof, inclusion_proof
from core.ledger.sealing import Sealer
from core.ledger.tables import LedgerEntry, LedgerHead
from core.ledger.tree import grow, leaf_hash
from core.signing.keyring import KeyFile, Keyring, write
from core.signing.published import publish

WRITERS = 8
SECONDS = 5.0
PROOFS = 300
CHUNK = 5000


def main() -> None:
    arguments = _arguments()
    print(json.dumps({"load_before": [round(load, 2) for load in os.getloadavg()], "cores": os.cpu_count()}))
    with _database(arguments.postgres_url) as (database, folder):
        print(json.dumps({"commits_per_second": commits(database, arguments.seconds)}))
        print(json.dumps({"appends": appends(database, arguments.writers, arguments.seconds)}))
    with _database(arguments.postgres_url) as (database, folder):
        print(json.dumps({"proofs": proofs(database, folder, arguments.entries)}))


def commits(database: Database, seconds: float) -> float:
    """Rows of the size of an entry, one connection, one commit each."""
    with database.writing() as session:
        session.execute(text("CREATE TABLE scratch (id INTEGER PRIMARY KEY, content VARCHAR(500))"))
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        with database.writing() as session:
            session.execute(text("INSERT INTO scratch VALUES (:id, :content)"), {"id": done, "content": "x" * 450})
        done += 1
    return round(done / (time.perf_counter() - began), 1)


def appends(database: Database, writers: int, seconds: float) -> dict[str, Any]:
    began = time.perf_counter()

    def work(number: int) -> int:
        done = 0
        while time.perf_counter() - began < seconds:
            with database.writing() as session:
                append(session, _record(f"w{number}", done))
            done += 1
        return done

    with ThreadPoolExecutor(writers) as pool:
        done = sum(pool.map(work, range(writers)))
    wall = time.perf_counter() - began
    with database.reading() as session:
        refuse_other_head(_followed(session), session.get_one(LedgerHead, 1))
    return {"writers": writers, "entries": done, "per_second": round(done / wall, 1), "gap_or_fork": False}


def proofs(database: Database, folder: Path, entries: int) -> dict[str, Any]:
    keys = KeyFile(folder / "signing-keys.json")
    fill(database, entries)
    with database.writing() as session:
        ring = Keyring.first("benchmark.example/audit", now=datetime.now(UTC))
        publish(session, ring, actor="benchmark")
    write(keys.path, ring, replacing=False)
    sealer = Sealer(database, keys, interval=timedelta(0))
    began = time.perf_counter()
    size = sealer.current().size
    first = time.perf_counter() - began
    with database.writing() as session:
        append(session, _record("benchmark", 0))
    began = time.perf_counter()
    sealer.current()
    following = time.perf_counter() - began
    chance = random.Random(0)  # noqa: S311 which entries are proved
    return {
        "entries": size,
        "inclusion_ms": _times(database, lambda session: inclusion_proof(session, chance.randrange(size), size)),
        "consistency_ms": _times(database, lambda session: consistency_proof(session, chance.randrange(size), size)),
        "first_checkpoint_s": round(first, 2),
        "next_checkpoint_ms": round(following * 1000, 2),
    }


def fill(database: Database, count: int) -> None:
    """As many entries as if they had been appended one by one."""
    frontier: list[bytes] = []
    previous, rows = NO_PREVIOUS, []
    now = datetime.now(UTC)
    for seq in range(count):
        leaf = _leaf(seq, previous, now)
        previous = leaf_hash(leaf)
        frontier, completed = grow(frontier, seq, previous)
        rows.append({
            "seq": seq,
            "leaf": leaf,
            "leaf_hash": previous,
            "nodes": b"".join(completed) or None,
            "type": "benchmark.written",
            "tenant": "default",
            "request_id": None,
            "at": now,
        })
        if len(rows) == CHUNK or seq + 1 == count:
            head = {"tree_size": seq + 1, "last_leaf_hash": previous, "frontier": [node.hex() for node in frontier]}
            with database.writing() as session:
                session.execute(insert(LedgerEntry), rows)
                session.execute(update(LedgerHead).values(head))
            rows.clear()


def _leaf(seq: int, previous: bytes, now: datetime) -> bytes:
    members = {"v": 1, "seq": seq, "ts": to_rfc3339(now), "type": "benchmark.written", "tenant": "default"}
    return canonical(members | {"actor": "benchmark", "data": {"number": seq}, "prev": previous.hex()})


def _record(actor: str, number: int) -> Record:
    facts = {"kind": "unlearn", "fence": 1, "model": "digits", "classes": ["hmac-sha256:" + "0" * 64], "n": number}
    return Record(type="request.transition", tenant="default", actor=actor, request=uuid4(), data=facts)


def _followed(session: Session) -> Position:
    position = Position()
    while rows := rows_after(session, position, limit=CHUNK):
        position = follow(position, rows)
        session.expunge_all()
    return position


def _times(database: Database, prove: Callable[[Session], object]) -> dict[str, float]:
    """As a request would: a transaction of its own for each."""
    taken = []
    for _ in range(PROOFS):
        began = time.perf_counter()
        with database.reading() as session:
            prove(session)
        taken.append((time.perf_counter() - began) * 1000)
    cuts = statistics.quantiles(taken, n=100)
    return {"median": round(statistics.median(taken), 2), "p99": round(cuts[98], 2)}


@contextmanager
def _database(postgres_url: str | None) -> Iterator[tuple[Database, Path]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if postgres_url is None:
            yield from _opened(f"sqlite:///{folder / 'ledger.db'}", folder)
            return
        server = create_engine(normalise_url(postgres_url), isolation_level="AUTOCOMMIT")
        own = f"expunge_ledger_{uuid4().hex[:12]}"
        with server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {own}"))
        try:
            url = make_url(normalise_url(postgres_url)).set(database=own).render_as_string(hide_password=False)
            yield from _opened(url, folder)
        finally:
            with server.connect() as connection:
                connection.execute(text(f"DROP DATABASE {own} WITH (FORCE)"))
            server.dispose()


def _opened(url: str, folder: Path) -> Iterator[tuple[Database, Path]]:
    upgrade(url)
    database = Database(url)
    try:
        yield database, folder
    finally:
        database.dispose()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Figures of the ledger.")
    parser.add_argument("--postgres-url", help="maintenance database of a server")
    parser.add_argument("--entries", type=int, default=1_000_000, help="entries of the second part")
    parser.add_argument("--writers", type=int, default=WRITERS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each measurement in the first part")
    return parser.parse_args()


if __name__ == "__main__":
    main()
