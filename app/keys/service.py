"""API keys: `exp_<environment>_<id>_<secret><checksum>`.

The id is looked up in the clear; of the rest only a SHA-256 is kept. The secret has 256 random bits, so a slow hash
would add nothing but a way to keep the service busy. The checksum lets scanners recognise a leaked key and lets a
mistyped one be refused without a look at the database.
"""

import hmac
import re
import secrets
import string
import zlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Literal, get_args

from sqlalchemy import or_, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.keys.tables import ApiKey
from core.clock import database_now
from core.db.session import Database
from core.errors import Invalid, NotFound, Unauthenticated
from core.ledger.entries import Record, append

Scope = Literal[
    "models:read",
    "models:write",
    "requests:submit",
    "requests:read",
    "requests:cancel",
    "artifacts:read",
    "audit:read",
    "policies:read",
    "policies:write",
    "subjects:read",
    "subjects:erase",
    "deadlines:write",
    "override",
    "break-glass",
    "purge",
    "admin",
]
SCOPES: tuple[str, ...] = get_args(Scope)

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID_LENGTH = 8
SECRET_LENGTH = 43  # 62**43 > 2**256
CHECKSUM_LENGTH = 6  # 62**6 > 2**32
USE_IS_NOTED_EVERY = timedelta(minutes=1)

_KEY = re.compile(
    rf"exp_[a-z]{{2,10}}_([0-9A-Za-z]{{{ID_LENGTH}}})_[0-9A-Za-z]{{{SECRET_LENGTH}}}([0-9A-Za-z]{{{CHECKSUM_LENGTH}}})"
)
_INVALID = "Expected an API key that is known, neither expired nor revoked."
_NOBODY = sha256(secrets.token_bytes(32)).digest()


class UnknownKey(NotFound):
    """No API key has the id."""

    slug = "unknown-key"
    title = "Unknown API key"


class InvalidKey(Unauthenticated):
    """The key is malformed, unknown, expired or revoked; which of these is not told."""

    slug = "invalid-key"
    title = "The API key is not valid"


@dataclass(frozen=True)
class KnownKey:
    """A key that was presented and holds."""

    id: str
    tenant: str
    scopes: tuple[str, ...]


def create(
    session: Session,
    *,
    tenant: str,
    actor: str,
    name: str,
    scopes: list[str],
    environment: str,
    lifetime: timedelta | None = None,
) -> tuple[ApiKey, str]:
    """Make a key; the caller commits.

    Returns:
        The row, and the key itself, which cannot be had a second time.

    Raises:
        Invalid: a scope does not exist, or there is none.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        msg = f"Expected at least one of the scopes {', '.join(SCOPES)}, got {', '.join(unknown) or 'none'}."
        raise Invalid(msg)
    now = database_now(session)
    identifier = _random(ID_LENGTH)
    text = _with_checksum(f"exp_{environment}_{identifier}_{_random(SECRET_LENGTH)}")
    row = ApiKey(
        id=identifier,
        tenant=tenant,
        actor=actor,
        name=name,
        secret_sha256=_digest(text),
        scopes=sorted(set(scopes)),
        created_at=now,
        expires_at=now + lifetime if lifetime else None,
    )
    session.add(row)
    session.flush()
    _record(session, row, "key.created", actor=actor)
    return row, text


def verify(database: Database, text: str) -> KnownKey:
    """Who holds this key, in transactions of its own; notes the use at most once a minute.

    Raises:
        InvalidKey: it is malformed, unknown, expired or revoked.
    """
    match = _KEY.fullmatch(text)
    if match is None or _with_checksum(text[:-CHECKSUM_LENGTH]) != text:
        raise InvalidKey(_INVALID)
    with database.reading() as session:
        now = database_now(session)
        row = session.get(ApiKey, match[1])
    # An unknown id is compared as well, so that the time taken does not tell which ids exist.
    matches = hmac.compare_digest(row.secret_sha256 if row else _NOBODY, _digest(text))
    if (
        row is None
        or not matches
        or row.revoked_at is not None
        or (row.expires_at is not None and row.expires_at <= now)
    ):
        raise InvalidKey(_INVALID)
    if row.last_used_at is None or row.last_used_at < now - USE_IS_NOTED_EVERY:
        _note_use(database, row.id)
    return KnownKey(row.id, row.tenant, tuple(row.scopes))


def revoke(session: Session, key_id: str, *, actor: str) -> ApiKey:
    """Revoke a key for good; the caller commits. Revoking twice changes nothing.

    Raises:
        UnknownKey: there is none.
    """
    row = session.execute(select(ApiKey).where(ApiKey.id == key_id).with_for_update()).scalar_one_or_none()
    if row is None:
        msg = f"Expected the id of an API key, got {key_id!r}."
        raise UnknownKey(msg)
    if row.revoked_at is None:
        row.revoked_at = database_now(session)
        session.flush()
        _record(session, row, "key.revoked", actor=actor)
    return row


def list_keys(session: Session) -> list[ApiKey]:
    """Every key of every tenant, oldest first."""
    return list(session.execute(select(ApiKey).order_by(ApiKey.created_at, ApiKey.id)).scalars())


def _note_use(database: Database, key_id: str) -> None:
    # A busy database must not fail a request over a note.
    with suppress(OperationalError), database.writing() as session:
        now = database_now(session)
        stale = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < now - USE_IS_NOTED_EVERY)
        session.execute(update(ApiKey).where(ApiKey.id == key_id, stale).values(last_used_at=now))


def _record(session: Session, row: ApiKey, kind: str, *, actor: str) -> None:
    data = {"key": row.id, "scopes": list(row.scopes)}
    append(session, Record(type=kind, tenant=row.tenant, actor=actor, data=data))


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()


def _random(length: int) -> str:
    return "".join(secrets.choice(BASE62) for _ in range(length))


def _with_checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(BASE62))
        digits = BASE62[digit] + digits
    return text + digits
