"""Merkle tree hashes of RFC 6962 section 2.1, kept as a compact range.

The frontier of a tree of n leaves is the list of roots of its maximal perfect subtrees, largest first: one for every
set bit of n. It is all that an append needs, so appending costs at most log2(n) hashes and no reads of old leaves.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256

EMPTY_ROOT = sha256(b"").digest()
"""Root of the tree without leaves (RFC 6962 section 2.1)."""


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256(0x00 || leaf), 32 bytes."""
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right), 32 bytes."""
    return sha256(b"\x01" + left + right).digest()


def append_to_frontier(frontier: Sequence[bytes], size: int, leaf: bytes) -> list[bytes]:
    """The frontier after one more leaf.

    Args:
        frontier: roots of the perfect subtrees of the tree of `size` leaves, largest first.
        size: leaves so far.
        leaf: hash of the new leaf, 32 bytes.

    Returns:
        The new frontier; its length is the number of set bits of `size + 1`.

    Raises:
        ValueError: the frontier cannot belong to a tree of that size.
    """
    return grow(frontier, size, leaf)[0]


def grow(frontier: Sequence[bytes], size: int, leaf: bytes) -> tuple[list[bytes], list[bytes]]:
    """The frontier after one more leaf, and the roots of the perfect subtrees that this leaf completed.

    Args:
        frontier: as in `append_to_frontier`.
        size: leaves so far.
        leaf: hash of the new leaf, 32 bytes.

    Returns:
        The new frontier, and one root for every trailing zero bit of `size + 1`, smallest subtree (two leaves) first.

    Raises:
        ValueError: the frontier cannot belong to a tree of that size.
    """
    if len(frontier) != size.bit_count():
        msg = f"Expected {size.bit_count()} subtree roots for a tree of {size} leaves, got {len(frontier)}."
        raise ValueError(msg)
    grown, completed = [*frontier, leaf], []
    while size & 1:
        right, left = grown.pop(), grown.pop()
        completed.append(node_hash(left, right))
        grown.append(completed[-1])
        size >>= 1
    return grown, completed


def root_of(frontier: Sequence[bytes]) -> bytes:
    """The tree's root from its frontier, 32 bytes."""
    if not frontier:
        return EMPTY_ROOT
    root = frontier[-1]
    for subtree in reversed(frontier[:-1]):
        root = node_hash(subtree, root)
    return root


def root_of_leaves(leaves: Iterable[bytes]) -> bytes:
    """The root over whole leaves, streamed; memory O(log n)."""
    frontier: list[bytes] = []
    for size, leaf in enumerate(leaves):
        frontier = append_to_frontier(frontier, size, leaf_hash(leaf))
    return root_of(frontier)
