"""Reading the ledger. Nothing here writes, and a tenant is shown its own entries only."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode
from uuid import UUID

from sqlalchemy import Select, exists, select
from sqlalchemy.orm import Session

from app.audit.schemas import EntriesOut, EntryOut
from app.dependencies import Caller
from core.db.session import Database
from core.errors import Forbidden
from core.ledger.export import FORMAT
from core.ledger.tables import LedgerEntry, LedgerHead
from core.ledger.tree import root_of

EXPORT_CHUNK = 500


@dataclass(frozen=True)
class Head:
    """The ledger's size and root at one moment."""

    tree_size: int
    root: str


def read_head(session: Session) -> Head:
    """The head as it is now; the entries below `tree_size` will never change."""
    head = session.execute(select(LedgerHead).where(LedgerHead.id == 1)).scalar_one()
    return Head(head.tree_size, root_of([bytes.fromhex(node) for node in head.frontier]).hex())


def own_entries(session: Session, tenant: str, *, start: int, limit: int, request: UUID | None) -> EntriesOut:
    """One page of the tenant's entries from number `start` on, by number."""
    head = read_head(session)
    # What was appended after the head was read would lie outside the tree that the page names.
    if request is None:
        query = _from(start).where(LedgerEntry.tenant == tenant, LedgerEntry.seq < head.tree_size).limit(limit + 1)
        rows = list(session.execute(query).scalars())
    else:
        rows = [entry for entry in entries_of(session, request, tenant) if start <= entry.seq < head.tree_size]
    shown = [_shown(row) for row in rows[:limit]]
    following = _next(rows[limit].seq, limit, request) if len(rows) > limit else None
    return EntriesOut(tree_size=head.tree_size, root=head.root, entries=shown, next=following)


def entries_of(session: Session, request: UUID, tenant: str) -> list[LedgerEntry]:
    """Every entry about one request."""
    # Without the tenant in the query: SQLite would look through all of a tenant's entries to find these.
    query = select(LedgerEntry).where(LedgerEntry.request_id == request).order_by(LedgerEntry.seq)
    return [entry for entry in session.execute(query).scalars() if entry.tenant == tenant]


def refuse_foreign_ledger(session: Session, who: Caller) -> None:
    """Let a caller have the whole ledger if it is all their own, or if they are the operator.

    Raises:
        Forbidden: it holds entries of other tenants and the caller lacks `admin`.
    """
    foreign = session.execute(select(exists().where(LedgerEntry.tenant != who.tenant))).scalar_one()
    if foreign and not who.may("admin"):
        msg = "Expected an API key with the scope admin, because the ledger holds entries of other tenants."
        raise Forbidden(msg, scope="admin")


def export(database: Database, head: Head, checkpoint: str | None = None) -> Iterator[str]:
    """The export document of `core.ledger.export`, piece by piece, so that its size costs no memory.

    Entries never change, so short transactions add up to one consistent export of the ledger as `head` names it.

    Args:
        database: where the entries are.
        head: the ledger's size and root that it names.
        checkpoint: the newest signed one, if any is signed.

    Yields:
        Pieces of JSON text.
    """
    yield f'{{"format":{json.dumps(FORMAT)},"tree_size":{head.tree_size},"root":{json.dumps(head.root)},'
    if checkpoint is not None:
        yield f'"checkpoint":{json.dumps(checkpoint)},'
    yield '"entries":['
    for first in range(0, head.tree_size, EXPORT_CHUNK):
        with database.reading() as session:
            query = select(LedgerEntry.leaf).where(LedgerEntry.seq >= first, LedgerEntry.seq < head.tree_size)
            leaves = list(session.execute(query.order_by(LedgerEntry.seq).limit(EXPORT_CHUNK)).scalars())
        lines = ",\n".join(f'{{"leaf":"{base64.b64encode(leaf).decode()}"}}' for leaf in leaves)
        yield (",\n" if first else "\n") + lines
    yield "\n]}\n"


def _from(start: int) -> Select[LedgerEntry]:
    return select(LedgerEntry).where(LedgerEntry.seq >= start).order_by(LedgerEntry.seq)


def _shown(entry: LedgerEntry) -> EntryOut:
    return EntryOut(seq=entry.seq, leaf=base64.b64encode(entry.leaf).decode(), hash=entry.leaf_hash.hex())


def _next(start: int, limit: int, request: UUID | None) -> str:
    members: dict[str, object] = {"start": start, "limit": limit}
    if request is not None:
        members["request"] = request
    return "/audit/entries?" + urlencode(members)
