"""What reports cost: `python benchmarks/report.py [--requests N] [--postgres-url URL]`.

A database of our own is filled in bulk with N requests received in one year, each with a result of the size that a
worker leaves, and the register of that year is made in every form, each in a fresh process: seconds by the clock and of
the processor, megabytes written, and the most memory that the process and the typesetter it starts had at any time.
PDF comes in parts of at most 5,000 requests; all of them are made. Without `--postgres-url` it is SQLite in a temporary
folder. The rows are made up and the ledger's entries not chained: only reports are read here. Nothing is judged.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import create_engine, insert, text
from sqlalchemy.engine import make_url

from app.reports.filters import Filters
from app.reports.kinds import Kind
from app.reports.registers import Register
from app.reports.scope import Scope
from core.db.migrate import upgrade
from core.db.session import Database, normalise_url
from core.deadlines.tables import Deadline
from core.ledger.tables import LedgerEntry
from core.requests.tables import Job, UnlearnRequest
from core.states import JobKind, JobState, VersionState
from models_store.tables import Model, ModelVersion

YEAR = date(2026, 1, 1)
CHUNK = 1000
CURVE = [place / 1000 for place in range(400)]
RESULT = {
    "verdict": {"outcome": "pass", "decided_by": [], "tests": [{"name": f"test_{place}"} for place in range(40)]},
    "curves": {"membership_roc": dict.fromkeys(("fpr", "tpr", "low", "high"), CURVE)},
}


def main() -> None:
    arguments = _arguments()
    if arguments.kind:
        print(json.dumps(made(Database(arguments.database), Kind(arguments.kind))))
        return
    print(json.dumps({"load_before": [round(load, 2) for load in os.getloadavg()], "cores": os.cpu_count()}))
    with _database(arguments.postgres_url) as url:
        fill(Database(url), arguments.requests)
        for kind in Kind:
            command = [sys.executable, __file__, "--database", url, "--kind", kind.value]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            print(json.dumps({"requests": arguments.requests, "form": kind.value, **json.loads(done.stdout)}))


def made(database: Database, kind: Kind) -> dict[str, Any]:
    """The whole register in one form, thrown away piece by piece as a client would take it."""
    began, num_bytes, num_parts, after, first = time.perf_counter(), 0, 0, None, 0.0
    while True:
        scope = Scope(since=YEAR, until=YEAR.replace(month=12, day=31), after=after)
        with database.reading() as session:
            filters = Filters(tenant="default", since=scope.since, until=scope.until)
            register = Register(session, database, filters, scope, kind)
        for piece in register.pieces():
            first = first or time.perf_counter() - began
            num_bytes += len(piece)
        num_parts += 1
        after = register.part.next_after
        if after is None:
            break
    spent = [resource.getrusage(number) for number in WHOM.values()]
    peak = {who: resource.getrusage(number).ru_maxrss / 1024 for who, number in WHOM.items()}
    return {
        "seconds": round(time.perf_counter() - began, 2),
        "processor_seconds": round(sum(one.ru_utime + one.ru_stime for one in spent), 2),
        "seconds_to_first_piece": round(first, 2),
        "parts": num_parts,
        "megabytes": round(num_bytes / 1e6, 2),
        "peak_mib": {who: round(size) for who, size in peak.items()},
    }


WHOM = {"service": resource.RUSAGE_SELF, "typesetter": resource.RUSAGE_CHILDREN}


def fill(database: Database, count: int) -> None:
    """Models with a hundred versions each, and one published request for each version."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    who = {"tenant": "default", "actor": "key:1"}
    labels = [f"class {place}" for place in range(100)]
    with database.writing() as session:
        for number in range(-(-count // 100)):
            named = {"name": f"model-{number}", "architecture": "expunge/small_convnet", "architecture_options": {}}
            row = {**who, **named, "labels": labels, "input_spec": {}, "created_at": now, "last_version": 0}
            session.execute(insert(Model).values(id=number + 1, **row))
    for start in range(0, count, CHUNK):
        rows = [_rows(place, now, who) for place in range(start, min(start + CHUNK, count))]
        with database.writing() as session:
            for table in (Job, UnlearnRequest, Deadline, ModelVersion, LedgerEntry):
                session.execute(insert(table), [row[table] for row in rows])


def _rows(place: int, now: datetime, who: dict[str, str]) -> dict[type, dict[str, Any]]:
    request, received = uuid4(), YEAR + timedelta(days=place % 365)
    common = {"job_id": request, **who}
    return {
        Job: _job(place, request, now, who),
        UnlearnRequest: common
        | {
            "model_name": f"model-{place // 100}",
            "dataset_name": "images",
            "class_indices": [place % 100],
            "class_labels": [f"class {place % 100}"],
            "new_version_id": place + 1,
            "policy_name": "standard",
            "policy_version": 1,
            "subject_reference": f"crm-{place}",
            "legal_ground": f"art17_1_{'abcdef'[place % 6]}",
            "received_on": received,
            "external_reference": f"T-{place}",
            "note": "Asked for by letter.",
        },
        Deadline: common
        | {
            "due_on": received + timedelta(days=30),
            "further_months": 0,
            "days_paused": 0,
            "closed_on": received,
            "closed_by": "published",
        },
        ModelVersion: common
        | {
            "id": place + 1,
            "model_id": place // 100 + 1,
            "number": place % 100 + 2,
            "state": VersionState.READY,
            "artifact_sha256": f"{place:064x}",
            "size_bytes": 37_000_000,
            "forgotten": [place % 100],
            "created_at": now,
        },
        LedgerEntry: {
            "seq": place,
            "leaf": b"{}",
            "leaf_hash": place.to_bytes(32, "big"),
            "type": "request.accepted",
            "tenant": "default",
            "request_id": request,
            "at": now,
        },
    }


def _job(place: int, request: UUID, now: datetime, who: dict[str, str]) -> dict[str, Any]:
    return {
        "seq": place + 1,
        "id": request,
        "kind": JobKind.UNLEARN,
        **who,
        "model_id": place // 100 + 1,
        "state": JobState.PUBLISHED,
        "revision": 3,
        "priority": 0,
        "not_before": now,
        "created_at": now,
        "finished_at": now,
        "attempt": 1,
        "max_attempts": 3,
        "fence": 1,
        "percent": 100,
        "spec": {"method": {"name": "auto"}, "seed": 0},
        "result": RESULT,
    }


@contextmanager
def _database(postgres_url: str | None) -> Iterator[str]:
    if postgres_url is None:
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{Path(folder) / 'expunge.db'}"
            upgrade(url)
            yield url
        return
    name, admin = f"expunge_bench_{os.getpid()}", make_url(normalise_url(postgres_url))
    engine = create_engine(admin, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    url = admin.set(database=name).render_as_string(hide_password=False)
    try:
        upgrade(url)
        yield url
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--postgres-url")
    parser.add_argument("--database", help=argparse.SUPPRESS)
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
