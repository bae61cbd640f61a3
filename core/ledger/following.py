"""Going through the stored ledger entry by entry: is every leaf, and everything beside it, what it was?

Rules: a leaf is judged by its own bytes; the columns beside it must say what the leaf says; the hashes beside it must
be those that the leaves make. So whoever changes a row in the database changes what is found here.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.clock import to_rfc3339
from core.ledger.entries import NO_PREVIOUS
from core.ledger.export import leaf_problem
from core.ledger.nodes import LedgerDamaged, frontier_at
from core.ledger.tables import LedgerEntry, LedgerHead
from core.ledger.tree import grow, leaf_hash, root_of


@dataclass(frozen=True)
class Position:
    """How far the ledger was followed, and what it adds up to there."""

    size: int = 0
    frontier: tuple[bytes, ...] = ()
    last: bytes = NO_PREVIOUS

    @property
    def root(self) -> bytes:
        """Root of the entries followed."""
        return root_of(self.frontier)


def follow(position: Position, rows: Iterable[LedgerEntry]) -> Position:
    """The position after some more rows, each of which holds.

    Raises:
        LedgerDamaged: a row does not; the text names it.
    """
    for row in rows:
        position = _step(position, row)
    return position


def position_at(session: Session, size: int) -> Position:
    """Where somebody stands who has followed the first `size` entries, from the stored hashes.

    Raises:
        LedgerDamaged: the ledger has fewer entries, or their hashes are not there.
    """
    if size == 0:
        return Position()
    last = session.execute(select(LedgerEntry.leaf_hash).where(LedgerEntry.seq == size - 1)).scalar_one_or_none()
    if last is None:
        msg = f"Entry {size - 1} is missing."
        raise LedgerDamaged(msg)
    return Position(size, tuple(frontier_at(session, size)), last)


def rows_after(session: Session, position: Position, *, limit: int) -> list[LedgerEntry]:
    """The next rows, at most `limit`."""
    query = select(LedgerEntry).where(LedgerEntry.seq >= position.size).order_by(LedgerEntry.seq).limit(limit)
    return list(session.execute(query.execution_options(populate_existing=True)).scalars())


def refuse_other_head(position: Position, head: LedgerHead) -> None:
    """Compare the head row with what the entries add up to.

    Raises:
        LedgerDamaged: they differ.
    """
    frontier = tuple(bytes.fromhex(node) for node in head.frontier)
    if (head.tree_size, frontier, head.last_leaf_hash) != (position.size, position.frontier, position.last):
        msg = (
            f"Expected a head of {position.size} entries with root {position.root.hex()}, got one of "
            f"{head.tree_size} with root {root_of(frontier).hex()}; entries were cut off, or the head was changed."
        )
        raise LedgerDamaged(msg)


def _step(position: Position, row: LedgerEntry) -> Position:
    problem = leaf_problem(row.leaf, position.size, position.last) or _problem_beside(row)
    hashed = leaf_hash(row.leaf)
    frontier, completed = grow(position.frontier, position.size, hashed)
    if problem is None and (
        row.seq != position.size or row.leaf_hash != hashed or row.nodes != (b"".join(completed) or None)
    ):
        problem = "the hashes beside it are not those of its bytes."
    if problem is not None:
        msg = f"Entry {position.size}: {problem}"
        raise LedgerDamaged(msg)
    return Position(position.size + 1, tuple(frontier), hashed)


def _problem_beside(row: LedgerEntry) -> str | None:
    fields = json.loads(row.leaf)
    said = (fields.get("type"), fields.get("tenant"), fields.get("request"), fields.get("ts"))
    request = str(row.request_id) if row.request_id is not None else None
    if said != (row.type, row.tenant, request, to_rfc3339(row.at)):
        return "the columns beside it say something else than its bytes."
    return None
