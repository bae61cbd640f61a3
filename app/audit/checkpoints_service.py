"""Stored checkpoints, and the cosignatures below them."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.clock import database_now
from core.errors import Invalid
from core.ledger.sealing import NoCheckpoint, newest_checkpoint
from core.ledger.tables import StoredCheckpoint, StoredCosignature
from core.signing.notes import BadNote, Note, PublicKey, SignatureLine

MAX_COSIGNATURES = 16


class BadCosignature(Invalid):
    """The lines are not cosignatures of known witnesses below this checkpoint."""

    slug = "bad-cosignature"
    title = "Not a cosignature of a known witness"


def newest_note(session: Session) -> str | None:
    """The newest signed checkpoint with its cosignatures, as reports carry it; None before the first."""
    signed = newest_checkpoint(session)
    return note_of(session, signed.size) if signed is not None else None


def note_of(session: Session, size: int) -> str:
    """The checkpoint of this size with its cosignatures.

    Raises:
        NoCheckpoint: none was signed at this size.
    """
    stored = _stored(session, size)
    return str(Note(stored.text, (*stored.lines, *_cosignatures(session, size))))


def add_cosignatures(session: Session, size: int, text: str, witnesses: Sequence[str]) -> str:
    """Store each line that is new, all or none; the caller commits.

    Raises:
        NoCheckpoint: none was signed at this size.
        BadCosignature: a line is malformed, of no configured witness, or does not verify.
    """
    stored = _stored(session, size)
    keys = [PublicKey.parse(vkey) for vkey in witnesses]
    known = {(line.name, line.key_id) for line in _cosignatures(session, size)}
    for line in _checked(text, stored.text, keys):
        if (line.name, line.key_id) in known:
            continue
        known.add((line.name, line.key_id))
        row = {"size": size, "name": line.name, "key_id": line.key_id, "line": str(line)}
        session.add(StoredCosignature(**row, added_at=database_now(session)))
    session.flush()
    return note_of(session, size)


def _checked(text: str, signed: str, keys: Sequence[PublicKey]) -> list[SignatureLine]:
    lines = text.splitlines()
    if not 1 <= len(lines) <= MAX_COSIGNATURES:
        msg = f"Expected 1 to {MAX_COSIGNATURES} cosignature lines, got {len(lines)}."
        raise BadCosignature(msg)
    try:
        parsed = [SignatureLine.parse(line) for line in lines]
        for line in parsed:
            if not Note(signed, (line,)).signers(keys):
                msg = f"Expected a cosignature of a configured witness, got one of {line.name} under another key."
                raise BadCosignature(msg)
    except BadNote as error:
        raise BadCosignature(str(error)) from error
    return parsed


def _stored(session: Session, size: int) -> Note:
    stored = session.get(StoredCheckpoint, size)
    if stored is None:
        msg = f"Expected the size of a signed checkpoint, got {size}; GET /audit/checkpoint names the newest."
        raise NoCheckpoint(msg)
    return Note.parse(stored.note)


def _cosignatures(session: Session, size: int) -> list[SignatureLine]:
    query = select(StoredCosignature.line).where(StoredCosignature.size == size).order_by(StoredCosignature.id)
    return [SignatureLine.parse(line) for line in session.execute(query).scalars()]
