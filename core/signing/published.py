"""The table of public keys: written when a key is made, compared with the file, published for ever."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.clock import database_now, to_rfc3339
from core.ledger.checkpoints import KEY_ADDED
from core.ledger.entries import Record, append
from core.signing.keyring import KINDS, USES, Key, Keyring, Use
from core.signing.notes import PublicKey
from core.signing.tables import SigningKey

TENANT = "default"
"""Whose entries those about keys are."""


@dataclass(frozen=True)
class Published:
    """A public key and when it signs or signed."""

    use: Use
    public: PublicKey
    valid_from: datetime
    valid_until: datetime | None


def publish(session: Session, ring: Keyring, *, actor: str) -> list[Published]:
    """Write down the keys of the ring that the table lacks, each with a ledger entry; the caller commits."""
    known = {key.public for key in published(session)}
    fresh = [key for key in ring.keys if key.public not in known]
    now = database_now(session)
    for key in fresh:
        session.add(
            SigningKey(
                name=key.public.name,
                use=key.use,
                public=key.public.public,
                valid_from=now,
                previous_until=_previous_until(ring, key),
            )
        )
    session.flush()
    for key in fresh:
        facts = {"use": key.use, "public": key.public.vkey}
        until = _previous_until(ring, key)
        if until is not None:
            facts["previous_until"] = to_rfc3339(until)
        append(session, Record(type=KEY_ADDED, tenant=TENANT, actor=actor, data=facts))
    return published(session)


def published(session: Session) -> list[Published]:
    """Every public key ever used, oldest first."""
    rows = list(session.execute(select(SigningKey).order_by(SigningKey.id)).scalars())
    found = []
    for row in rows:
        later = [one for one in rows if one.use == row.use and one.id > row.id]
        until = later[0].previous_until if later else None
        public = PublicKey(row.name, KINDS[_use(row.use)], row.public)
        found.append(Published(_use(row.use), public, row.valid_from, until))
    return found


def disagreement(session: Session, ring: Keyring) -> str | None:
    """How table and file differ, in a sentence: a key was written into the table, or one is missing from it."""
    own, told = {key.public for key in ring.keys}, {key.public for key in published(session)}
    if foreign := sorted(key.name for key in told - own):
        return f"The table of keys names {foreign[0]}, which is not a key of this service."
    if untold := sorted(key.name for key in own - told):
        return f"The key {untold[0]} is not written down in the database; run `expunge keys init` again."
    return None


def retired_keys(session: Session, *, now: datetime) -> tuple[Key, ...]:
    """The table's keys as a new file remembers them when the old file was lost: without private halves."""
    return tuple(Key(one.use, one.public, one.valid_from, one.valid_until or now) for one in published(session))


def _previous_until(ring: Keyring, key: Key) -> datetime | None:
    before = [one for one in ring.keys[: ring.keys.index(key)] if one.use == key.use]
    return before[-1].valid_until if before else None


def _use(text: str) -> Use:
    return next(use for use in USES if use == text)
