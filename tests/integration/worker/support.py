"""What the worker's tests share: quick settings, jobs without content, processes that behave as told."""

import os
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from core.db.session import Database
from core.ledger.tables import LedgerEntry
from core.requests.repository import enqueue
from core.requests.tables import Job
from core.settings import Settings
from core.states import JobKind
from tests.throwaway import wait_until

HERE = Path(__file__).parent

on_both = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
"""For tests about transactions. The others run on SQLite: on both kinds they would take twice the time."""


def quick_settings(database_url: str, data_dir: Path, **more: Any) -> Settings:
    """Leases of seconds instead of half minutes."""
    values: dict[str, Any] = {
        "lease_ttl": timedelta(seconds=6),
        "heartbeat_interval": timedelta(seconds=0.2),
        "reap_interval": timedelta(seconds=0.2),
        "poll_interval": timedelta(seconds=0.1),
        "ring_interval": timedelta(seconds=0.1),
        "retry_backoff": timedelta(0),
        "torch_threads": 1,
        "device": "cpu",
        "keep_runner_warm": False,
    }
    return Settings(database_url=database_url, data_dir=data_dir, **{**values, **more})


def fake(behaviour: str, folder: Path | str) -> tuple[str, ...]:
    """The command of a job's process that behaves as told."""
    return (sys.executable, str(HERE / "fake_runner.py"), behaviour, str(folder))


def add_job(database: Database, *, max_attempts: int = 3) -> UUID:
    with database.writing() as session:
        kind = JobKind.VALIDATE_DATASET
        return enqueue(session, kind, tenant="t", actor="key:test", spec={}, max_attempts=max_attempts).id


def job_of(database: Database, job_id: UUID) -> Job:
    with database.reading() as session:
        return session.execute(select(Job).where(Job.id == job_id)).scalar_one()


def num_entries(database: Database, job_id: UUID) -> int:
    with database.reading() as session:
        return len(session.execute(select(LedgerEntry.seq).where(LedgerEntry.request_id == job_id)).all())


def is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    with suppress(FileNotFoundError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in {"Z", "X"}
    if Path("/proc/self").exists():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def noted_pid(path: Path, *, seconds: float = 20) -> int:
    """The process id that a fake runner wrote, once it is there."""
    wait_until(path.exists, seconds=seconds, what=f"{path.name} to be written")
    return int(path.read_text())


def wait_gone(pid: int, *, seconds: float) -> None:
    wait_until(lambda: not is_running(pid), seconds=seconds, what=f"process {pid} to be gone")
