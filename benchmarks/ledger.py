"""The ledger's figures, measured where this runs: `python benchmarks/ledger.py [--postgres-url URL] [--entries N]`.

1. Appends per second with 8 writers, each append a transaction of its own; beside it the commits per second that one
   connection gets from the same disk with a row of the same size. Afterwards every entry is followed: no gap, no fork.
2. With N entries: milliseconds for an inclusion and for a consistency proof, at random places, for a checkpoint, and
   for checking a proof file; seconds to read all of it again, and the part of that which one step of a service takes.
3. The same N entries exported by a serving process, whose resident memory is watched.

`--postgres-url` names a server's maintenance database; a database of our own is made there and dropped. Without it the
figures are those of SQLite in a temporary folder. The N entries of the second part are written in bulk, row for
row what appending them one by one would have left (`tests/integration/core/test_bulk.py`). Nothing here is a limit: the
figures are printed, and with `--write docs/evidence.md` put there with the load they were measured under.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import create_engine, insert, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from core.clock import to_rfc3339
from core.db.migrate import upgrade
from core.db.session import Database, normalise_url
from core.ledger.entries import NO_PREVIOUS, Record, append, canonical
from core.ledger.following import Position, follow, refuse_other_head, rows_after
from core.ledger.nodes import consistency_proof, inclusion_proof
from core.ledger.rechecking import Rechecker, check_stored
from core.ledger.sealing import Sealer
from core.ledger.tables import LedgerEntry, LedgerHead
from core.ledger.tlog_proof import check_proof, write_proof
from core.ledger.tree import grow, leaf_hash
from core.signing.keyring import KeyFile, Keyring, write
from core.signing.published import publish

WRITERS = 8
SECONDS = 5.0
PROOFS = 300
CHUNK = 5000


BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"


def main() -> None:
    arguments = _arguments()
    figures: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "store": "PostgreSQL" if arguments.postgres_url else "SQLite",
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    with _database(arguments.postgres_url) as (database, folder):
        figures["commits_per_second"] = commits(database, arguments.seconds)
        figures["appends"] = appends(database, arguments.writers, arguments.seconds)
        print(json.dumps(figures), flush=True)
    with _database(arguments.postgres_url) as (database, folder):
        figures |= proofs(database, folder, arguments.entries)
        print(json.dumps(figures), flush=True)
        figures["export"] = export(database, folder)
    figures["load_after"] = [round(load, 2) for load in os.getloadavg()]
    print(json.dumps(figures))
    if arguments.write:
        text = arguments.write.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        after = rest.partition(END)[2]
        arguments.write.write_text(before + BEGIN + _table(figures) + END + after, encoding="utf-8")


def _table(found: dict[str, Any]) -> str:
    appended, exported = found["appends"], found["export"]
    inclusion, consistency = found["inclusion_ms"], found["consistency_ms"]
    rows = {
        f"appends/s with {appended['writers']} writers, no gap and no fork": appended["per_second"],
        "commits/s of one connection to the same disk": found["commits_per_second"],
        "entries of what follows": f"{found['entries']:,}",
        "inclusion proof, ms (median, 99 %)": f"{inclusion['median']}, {inclusion['p99']}",
        "consistency proof, ms (median, 99 %)": f"{consistency['median']}, {consistency['p99']}",
        "checking a proof file, ms": found["check_proof_ms"],
        "first checkpoint of all of them, s": found["first_checkpoint_s"],
        "next checkpoint, ms": found["next_checkpoint_ms"],
        "`expunge verify --database`, s": found["verify_database_s"],
        "one step of the rolling check (2,000 entries), ms": found["recheck_step_ms"],
        "export, MB and s": f"{exported['megabytes']}, {exported['seconds']}",
        "resident memory of the server before, at most, after, MB": ", ".join(map(str, exported["resident_mb"])),
    }
    told = (
        f"{found['store']}, {found['cores']} cores, Python {found['python']}, {found['date']}; load averages "
        f"{found['load_before']} before and {found['load_after']} after: other work was running as well.\n"
    )
    lines = [told, "\n", "| figure | measured |\n", "| --- | --- |\n"]
    return "".join([*lines, *(f"| {name} | {value} |\n" for name, value in rows.items())])


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
    steps = Rechecker(database, entries=2000, interval=timedelta(0))
    steps.step()
    return {
        "entries": size,
        "inclusion_ms": _times(database, lambda session: inclusion_proof(session, chance.randrange(size), size)),
        "consistency_ms": _times(database, lambda session: consistency_proof(session, chance.randrange(size), size)),
        "check_proof_ms": _check_proof(database, sealer, ring),
        "first_checkpoint_s": round(first, 2),
        "next_checkpoint_ms": round(following * 1000, 2),
        "recheck_step_ms": round(_seconds(steps.step) * 1000, 1),
        "verify_database_s": round(_seconds(lambda: check_stored(database, ring.publics("checkpoint"))), 1),
    }


def _check_proof(database: Database, sealer: Sealer, ring: Keyring) -> float:
    """The proof file of an entry in the middle, signature and all."""
    signed = sealer.current()
    with database.reading() as session:
        index = signed.size // 2
        leaf = session.get_one(LedgerEntry, index).leaf
        text = write_proof(leaf, index, inclusion_proof(session, index, signed.size).hashes, signed.note)
    return round(_seconds(lambda: check_proof(text, ring.publics("checkpoint"))) * 1000, 2)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def export(database: Database, folder: Path) -> dict[str, Any]:
    """Stream the whole ledger from a server of our own and watch its memory."""
    url = database.engine.url.render_as_string(hide_password=False)
    port = 18931
    command = [sys.executable, "-m", "uvicorn", "app.main:app", "--port", str(port), "--log-level", "warning"]
    chosen = {"DATABASE_URL": url, "DATA_DIR": str(folder), "ALLOW_ANONYMOUS_LOOPBACK": "1", "RECHECKED_ENTRIES": "0"}
    environment = {f"EXPUNGE_{name}": value for name, value in chosen.items()}
    with subprocess.Popen(command, env={**os.environ, **environment}) as server:  # noqa: TID251 handed on to the server
        try:
            _wait_for(f"http://127.0.0.1:{port}/livez")
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/audit/entries?limit=1") as answer:
                answer.read()
            before, most, read, began = _resident(server.pid), 0.0, 0, time.perf_counter()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/audit/export") as answer:
                while piece := answer.read(1 << 20):
                    read += len(piece)
                    most = max(most, _resident(server.pid))
            seconds = time.perf_counter() - began
            after = _resident(server.pid)
        finally:
            server.terminate()
    return {"megabytes": round(read / 1e6), "seconds": round(seconds, 1), "resident_mb": [before, most, after]}


def _wait_for(url: str) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(url).close()  # noqa: S310 our own loopback
        except OSError:
            time.sleep(0.1)
        else:
            return
    msg = f"Expected {url} to answer within a minute."
    raise RuntimeError(msg)


def _resident(pid: int) -> float:
    """Resident memory in MB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1000, 1)
    msg = f"Expected process {pid} to tell its memory."
    raise RuntimeError(msg)


def fill(database: Database, count: int) -> None:
    """As many entries as if they had been appended one by one."""
    write_bulk(database, _leaves(count))


def _leaves(count: int) -> Iterator[bytes]:
    previous, now = NO_PREVIOUS, datetime.now(UTC)
    for seq in range(count):
        leaf = _leaf(seq, previous, now)
        previous = leaf_hash(leaf)
        yield leaf


def write_bulk(database: Database, leaves: Iterable[bytes]) -> None:
    """Write chained leaves into an empty ledger: row for row, and in the head, what `append` would have left."""
    frontier: list[bytes] = []
    rows: list[dict[str, Any]] = []
    hashed = NO_PREVIOUS

    def flush() -> None:
        head = {
            "tree_size": rows[-1]["seq"] + 1,
            "last_leaf_hash": hashed,
            "frontier": [node.hex() for node in frontier],
        }
        with database.writing() as session:
            session.execute(insert(LedgerEntry), rows)
            session.execute(update(LedgerHead).values(head))
        rows.clear()

    for seq, leaf in enumerate(leaves):
        hashed = leaf_hash(leaf)
        frontier, completed = grow(frontier, seq, hashed)
        fields = json.loads(leaf)
        rows.append({
            "seq": seq,
            "leaf": leaf,
            "leaf_hash": hashed,
            "nodes": b"".join(completed) or None,
            "type": fields["type"],
            "tenant": fields["tenant"],
            "request_id": UUID(fields["request"]) if "request" in fields else None,
            "at": datetime.fromisoformat(fields["ts"]),
        })
        if len(rows) == CHUNK:
            flush()
    if rows:
        flush()


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
    parser.add_argument("--write", type=Path, help="page whose figures are replaced, as docs/evidence.md")
    parser.add_argument("--writers", type=int, default=WRITERS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each measurement in the first part")
    return parser.parse_args()


if __name__ == "__main__":
    main()
