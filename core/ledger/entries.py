"""Appending to the ledger: canonical leaf bytes, chained and counted under one lock.

Rules: an entry is written in the transaction of the change it records, so neither can exist without the other; the head
row is locked first, so `seq` has no gap and the chain no fork; the leaf's bytes are stored and never serialised again.
"""

import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import rfc8785
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.clock import database_now, to_rfc3339
from core.ledger.tables import LedgerEntry, LedgerHead
from core.ledger.tree import grow, leaf_hash

NO_PREVIOUS = bytes(32)
"""What `prev` of the first entry holds."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What happened, before it has a place in the ledger. Holds no class name, subject reference or image data."""

    type: str
    tenant: str
    actor: str
    request: UUID | None = None
    from_state: str | None = None
    to_state: str | None = None
    attempt: int | None = None
    subject: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


def canonical(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value.

    Raises:
        ValueError: a float is inside; measures go in as decimal strings, because two writers spell floats differently.
    """
    _refuse_floats(value, "$")
    return rfc8785.dumps(value)


def decimal(value: float) -> str:
    """A measure as the decimal string that ledger entries carry (six decimals)."""
    return f"{value:.6f}"


def commitment(key: bytes, kind: str, value: str) -> str:
    """HMAC-SHA256(key, kind || 0x00 || value) as `hmac-sha256:<hex>`; unlinkable once the key is destroyed."""
    digest = hmac.new(key, kind.encode() + b"\x00" + value.encode(), sha256).hexdigest()
    return f"hmac-sha256:{digest}"


def append(session: Session, record: Record) -> LedgerEntry:
    """Append one entry in the caller's transaction; the caller commits.

    Locks the head row until then: append last, so that writers wait for each other as briefly as possible.
    """
    head, now = _lock_head(session)
    leaf = canonical(_leaf(record, seq=head.tree_size, at=to_rfc3339(now), prev=head.last_leaf_hash))
    hashed = leaf_hash(leaf)
    frontier, completed = grow([bytes.fromhex(node) for node in head.frontier], head.tree_size, hashed)
    entry = LedgerEntry(
        seq=head.tree_size,
        leaf=leaf,
        leaf_hash=hashed,
        nodes=b"".join(completed) or None,
        type=record.type,
        tenant=record.tenant,
        request_id=record.request,
        at=now,
    )
    head.frontier = [node.hex() for node in frontier]
    head.last_leaf_hash = hashed
    head.tree_size += 1
    session.add(entry)
    session.flush()
    return entry


def _lock_head(session: Session) -> tuple[LedgerHead, datetime]:
    """The head, locked, and the database's time since then."""
    query = select(LedgerHead).where(LedgerHead.id == 1).with_for_update().execution_options(populate_existing=True)
    if session.get_bind().dialect.name != "postgresql":
        return session.execute(query).scalar_one(), database_now(session)
    # One statement, because every other writer waits from here on. PostgreSQL evaluates it again when it had to wait
    # for a row that was changed, so the time is that of the lock.
    head, now = session.execute(query.add_columns(func.clock_timestamp())).one()
    return head, now.astimezone(UTC)


def _leaf(record: Record, *, seq: int, at: str, prev: bytes) -> dict[str, Any]:
    leaf: dict[str, Any] = {
        "v": 1,
        "seq": seq,
        "ts": at,
        "type": record.type,
        "tenant": record.tenant,
        "actor": record.actor,
        "data": record.data,
        "prev": prev.hex(),
    }
    optional = {
        "request": str(record.request) if record.request else None,
        "from": record.from_state,
        "to": record.to_state,
        "attempt": record.attempt,
        "subject": record.subject,
    }
    return leaf | {name: value for name, value in optional.items() if value is not None}


def _refuse_floats(value: Any, where: str) -> None:
    if isinstance(value, float):
        msg = f"Expected integers or decimal strings in a ledger entry, got the float {value!r} at {where}."
        raise ValueError(msg)  # noqa: TRY004 the value breaks a rule of the format
    if isinstance(value, dict):
        for name, inner in value.items():
            _refuse_floats(inner, f"{where}.{name}")
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            _refuse_floats(inner, f"{where}[{position}]")
