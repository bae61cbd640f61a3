"""Making proofs from the stored hashes, towards a checkpoint where one is signed."""

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.audit.proofs_schemas import ConsistencyOut, InclusionOut
from app.dependencies import Caller
from app.errors import MalformedParameter
from app.resources import Resources
from core.errors import NotFound
from core.ledger.nodes import consistency_proof, inclusion_proof
from core.ledger.sealing import NoCheckpoint
from core.ledger.tables import LedgerEntry, LedgerHead, StoredCheckpoint
from core.ledger.tlog_proof import write_proof
from core.requests.repository import find_request


class UnknownEntry(NotFound):
    """The caller has no entry with that number."""

    slug = "unknown-entry"
    title = "Unknown entry"


def inclusion(held: Resources, index: int, size: int | None) -> InclusionOut:
    """The proof that entry `index` is in the ledger of `size` entries.

    Raises:
        MalformedParameter: there is no such entry or size.
    """
    size = _size(held, size, "size", covering=index)
    if index >= size:
        msg = f"Expected the number of an entry below {size}, got {index}."
        raise MalformedParameter(msg, "index")
    with held.database.reading() as session:
        proof = inclusion_proof(session, index, size)
        return InclusionOut(
            index=index,
            size=size,
            leaf_hash=proof.leaf_hash.hex(),
            hashes=[one.hex() for one in proof.hashes],
            root=proof.root.hex(),
            checkpoint=_note(session, size),
        )


def consistency(held: Resources, old: int, new: int | None) -> ConsistencyOut:
    """The proof that the ledger of `old` entries is the beginning of that of `new` entries.

    Raises:
        MalformedParameter: there are no such sizes, or they shrink.
    """
    new = _size(held, new, "to", covering=old - 1)
    if old > new:
        msg = f"Expected a size of at most {new}, got {old}."
        raise MalformedParameter(msg, "from")
    with held.database.reading() as session:
        proof = consistency_proof(session, old, new)
        return ConsistencyOut(
            old=old,
            new=new,
            hashes=[one.hex() for one in proof.hashes],
            old_root=proof.old_root.hex(),
            new_root=proof.new_root.hex(),
            old_checkpoint=_note(session, old),
            new_checkpoint=_note(session, new),
        )


def entry_proof(held: Resources, who: Caller, index: int) -> str:
    """One of the caller's entries as a proof file.

    Raises:
        UnknownEntry: it is not theirs, or does not exist.
        NoCheckpoint: no key signs checkpoints.
    """
    with held.database.reading() as session:
        leaf = session.execute(
            select(LedgerEntry.leaf).where(LedgerEntry.seq == index, LedgerEntry.tenant == who.tenant)
        ).scalar_one_or_none()
    if leaf is None:
        msg = f"Expected the number of one of your entries, got {index}."
        raise UnknownEntry(msg)
    signed = held.sealer.current(covering=index)
    with held.database.reading() as session:
        proof = inclusion_proof(session, index, signed.size)
    return write_proof(leaf, index, proof.hashes, signed.note)


def request_proof(held: Resources, who: Caller, request_id: UUID) -> str:
    """The newest entry about one of the caller's requests as a proof file.

    Raises:
        UnknownRequest: the tenant has none with this id.
        NoCheckpoint: no key signs checkpoints.
    """
    with held.database.reading() as session:
        find_request(session, who.tenant, request_id)
        about = (LedgerEntry.request_id == request_id, LedgerEntry.tenant == who.tenant)
        newest = session.execute(select(func.max(LedgerEntry.seq)).where(*about)).scalar_one()
    return entry_proof(held, who, newest)


def _size(held: Resources, wanted: int | None, parameter: str, *, covering: int) -> int:
    with held.database.reading() as session:
        most = session.execute(select(LedgerHead.tree_size).where(LedgerHead.id == 1)).scalar_one()
    if wanted is not None:
        if wanted > most:
            msg = f"Expected a size of at most {most}, got {wanted}."
            raise MalformedParameter(msg, parameter)
        return wanted
    try:
        return held.sealer.current(covering=min(covering, most - 1)).size
    except NoCheckpoint:
        return most


def _note(session: Session, size: int) -> str | None:
    stored = session.get(StoredCheckpoint, size)
    return stored.note if stored is not None else None
