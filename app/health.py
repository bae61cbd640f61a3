"""Is the process alive, and can it do its work? Open to everybody, so it tells no more than that."""

import shutil
import socket
import time
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Response
from sqlalchemy import insert
from sqlalchemy.exc import SQLAlchemyError

from app.dependencies import Held
from app.keys.tables import ApiKey
from app.resources import Resources
from app.schemas import Out
from core.clock import database_now
from core.settings import Settings

router = APIRouter(tags=["health"])

MIN_FREE_BYTES = 10**9
REMEMBERED_SECONDS = 1.0


class Alive(Out):
    status: Literal["alive"] = "alive"


class Check(Out):
    status: Literal["ok", "degraded", "failed"]
    detail: str


class Ready(Out):
    status: Literal["ready", "degraded", "not ready"]
    checks: dict[str, Check]
    durability: dict[str, str]


@router.get("/livez", operation_id="live")
def live() -> Alive:
    """Answers as long as the process does; looks at nothing else."""
    return Alive()


@router.get("/readyz", operation_id="ready", responses={503: {"model": Ready, "description": "Not ready."}})
def ready(held: Held, response: Response) -> Ready:
    """Whether requests can be served.

    The database takes writes, its schema is the newest, the disk has room, the ledger is the one that was signed, and
    its old entries, which are read again round by round (`history`), are what they were.
    A doorbell (Redis) that cannot be reached makes the service slower to start work, not unready. `durability` is what
    the database says of itself.
    """
    report = _remembered(held)
    if report.status == "not ready":
        response.status_code = 503
        response.headers["Retry-After"] = "5"
    return report


def _remembered(held: Resources) -> Ready:
    # The route is open and the probe writes, so what was found holds for a second.
    known = held.last_readiness
    if known is not None and time.monotonic() - known[0] < REMEMBERED_SECONDS:
        remembered: Ready = known[1]
        return remembered
    report = _examine(held)
    held.last_readiness = (time.monotonic(), report)
    return report


def _examine(held: Resources) -> Ready:
    checks = {
        "database": _database(held),
        "schema": _schema(held),
        "ledger": _ledger(held),
        "history": _history(held),
        "disk": _disk(held.settings.data_dir),
        "doorbell": _doorbell(held.settings),
    }
    found = {check.status for check in checks.values()}
    status: Any = "not ready" if "failed" in found else "degraded" if "degraded" in found else "ready"
    try:
        durability = held.database.durability()
    except SQLAlchemyError:
        durability = {}
    return Ready(status=status, checks=checks, durability=durability)


def _database(held: Resources) -> Check:
    """A row is written and taken back: a read-only replica or a full disk shows only then."""
    try:
        with held.database.writing() as session:
            now = database_now(session)
            probe = {"id": "-probe-", "tenant": "-", "actor": "-", "name": "-", "secret_sha256": b"", "scopes": []}
            session.execute(insert(ApiKey).values(created_at=now, **probe))
            session.rollback()
    except SQLAlchemyError as error:
        return Check(status="failed", detail=f"The database takes no writes ({type(error).__name__}).")
    return Check(status="ok", detail="The database takes writes.")


def _schema(held: Resources) -> Check:
    from core.db.migrate import is_at_head  # noqa: PLC0415 Alembic would be a fifth of the start

    try:
        if is_at_head(held.database.engine):
            return Check(status="ok", detail="The schema is the newest.")
    except SQLAlchemyError as error:
        return Check(status="failed", detail=f"The schema cannot be read ({type(error).__name__}).")
    return Check(status="failed", detail="The schema is not the newest; run `expunge migrate`.")


def _ledger(held: Resources) -> Check:
    try:
        health = held.sealer.examine()
    except SQLAlchemyError as error:
        return Check(status="failed", detail=f"The ledger cannot be read ({type(error).__name__}).")
    return Check(status="ok" if health.holds else "failed", detail=health.sentence)


def _history(held: Resources) -> Check:
    found = held.rechecker.examine()
    return Check(status="ok" if found.holds else "failed", detail=found.sentence)


def _disk(folder: Path) -> Check:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        return Check(status="failed", detail=f"Expected at least 1 GB of free disk, got {free / 1e9:.2f} GB.")
    return Check(status="ok", detail=f"{free / 1e9:.0f} GB of disk are free.")


def _doorbell(settings: Settings) -> Check:
    if settings.redis_url is None:
        return Check(status="ok", detail="No Redis is configured; workers poll the database.")
    url = urlsplit(settings.redis_url.get_secret_value())
    try:
        if url.scheme in {"unix", "redis+socket"}:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1)
                connection.connect(url.path)
        else:
            socket.create_connection((url.hostname or "localhost", url.port or 6379), timeout=1).close()
    except OSError as error:
        return Check(status="degraded", detail=f"Redis cannot be reached ({type(error).__name__}).")
    return Check(status="ok", detail="Redis can be reached.")
