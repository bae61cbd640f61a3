"""Proofs from what is stored: the hash of every perfect subtree stands in the row of the leaf that completed it.

So an append writes no further row, and a proof reads about 2 log2(n) rows by their primary key, in one query.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import DigestMismatch
from core.ledger.proofs import (
    Node,
    Range,
    consistency_ranges,
    includes,
    inclusion_ranges,
    is_consistent,
    perfect_subtrees,
    prove,
)
from core.ledger.tables import LedgerEntry
from core.ledger.tree import root_of

HASH_BYTES = 32


class LedgerDamaged(DigestMismatch):
    """The stored ledger contradicts itself or what was signed."""

    slug = "ledger-damaged"
    title = "The ledger is damaged"


@dataclass(frozen=True)
class InclusionProof:
    """That the entry with a number is in the ledger of a size."""

    index: int
    size: int
    leaf_hash: bytes
    hashes: tuple[bytes, ...]
    root: bytes


@dataclass(frozen=True)
class ConsistencyProof:
    """That the ledger of one size is the beginning of that of another."""

    old: int
    new: int
    hashes: tuple[bytes, ...]
    old_root: bytes
    new_root: bytes


def inclusion_proof(session: Session, index: int, size: int) -> InclusionProof:
    """The proof, checked before it is handed out.

    Raises:
        ValueError: `index` is not below `size`.
        LedgerDamaged: what is stored does not add up.
    """
    ranges = inclusion_ranges(index, size)
    stored = _read(session, [Node(0, index), *_nodes([*ranges, (0, size)])])
    leaf, root = stored[Node(0, index)], _root(stored, size)
    hashes = prove(ranges, stored.__getitem__)
    if not includes(leaf, index, size, hashes, root):
        msg = f"The stored hashes do not prove entry {index} in the ledger of {size} entries; one of them was changed."
        raise LedgerDamaged(msg)
    return InclusionProof(index, size, leaf, tuple(hashes), root)


def consistency_proof(session: Session, old: int, new: int) -> ConsistencyProof:
    """The proof, checked before it is handed out.

    Raises:
        ValueError: `old` is above `new`.
        LedgerDamaged: what is stored does not add up.
    """
    ranges = consistency_ranges(old, new)
    stored = _read(session, _nodes([*ranges, (0, old), (0, new)]))
    old_root, new_root = _root(stored, old), _root(stored, new)
    hashes = prove(ranges, stored.__getitem__)
    if not is_consistent(old, new, old_root, new_root, hashes):
        msg = f"The stored hashes do not prove that the ledger grew from {old} to {new} entries; one was changed."
        raise LedgerDamaged(msg)
    return ConsistencyProof(old, new, tuple(hashes), old_root, new_root)


def frontier_at(session: Session, size: int) -> list[bytes]:
    """The frontier the ledger had with `size` entries, from the stored hashes.

    Raises:
        LedgerDamaged: it has fewer entries, or their hashes are not there.
    """
    nodes = perfect_subtrees((0, size))
    stored = _read(session, nodes)
    return [stored[node] for node in nodes]


def _nodes(ranges: Iterable[Range]) -> list[Node]:
    return [node for leaves in ranges for node in perfect_subtrees(leaves)]


def _root(stored: dict[Node, bytes], size: int) -> bytes:
    return root_of([stored[node] for node in perfect_subtrees((0, size))])


def _row_of(node: Node) -> int:
    """Number of the entry that completed the subtree."""
    return ((node.number + 1) << node.level) - 1


def _read(session: Session, nodes: Iterable[Node]) -> dict[Node, bytes]:
    wanted = set(nodes)
    query = select(LedgerEntry.seq, LedgerEntry.leaf_hash, LedgerEntry.nodes).where(
        LedgerEntry.seq.in_(sorted({_row_of(node) for node in wanted}))
    )
    rows = {row.seq: row.leaf_hash + (row.nodes or b"") for row in session.execute(query)}
    found = {}
    for node in wanted:
        start = node.level * HASH_BYTES
        stored = rows.get(_row_of(node), b"")[start : start + HASH_BYTES]
        if len(stored) != HASH_BYTES:
            msg = f"Expected the hash of a subtree beside entry {_row_of(node)}, found none; rows were removed."
            raise LedgerDamaged(msg)
        found[node] = stored
    return found
