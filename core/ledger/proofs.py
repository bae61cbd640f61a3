"""Inclusion and consistency proofs of RFC 6962 sections 2.1.1 and 2.1.2, made and verified.

A proof is a list of hashes of leaf ranges. Each range is a run of perfect subtrees, which is all that is stored
(`core.ledger.nodes`), so a proof over n leaves needs at most about 2 log2(n) stored hashes and no leaf.

Verification is that of RFC 9162 sections 2.1.3.2 and 2.1.4.2: it takes nothing but hashes.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from core.ledger.tree import EMPTY_ROOT, node_hash, root_of


class Node(NamedTuple):
    """A perfect subtree: 2 ** level leaves from leaf number * 2 ** level on."""

    level: int
    number: int


Range = tuple[int, int]
"""Leaves from the first number up to, not including, the second."""

Hashes = Callable[[Node], bytes]


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The ranges whose hashes prove that leaf `index` is in the tree of `size` leaves, from the leaf upwards.

    Raises:
        ValueError: the tree has no such leaf.
    """
    if not 0 <= index < size:
        msg = f"Expected the number of an entry below {size}, got {index}."
        raise ValueError(msg)
    ranges: list[Range] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    return ranges[::-1]


def consistency_ranges(old: int, new: int) -> list[Range]:
    """The ranges whose hashes prove that the tree of `old` leaves is the beginning of the one of `new` leaves.

    Nothing needs proving when the old tree is empty or the new one itself.

    Raises:
        ValueError: the old tree is the larger one.
    """
    if not 0 <= old <= new:
        msg = f"Expected sizes in growing order, got {old} and {new}."
        raise ValueError(msg)
    if old in {0, new}:
        return []
    ranges: list[Range] = []
    start, end = 0, new
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    # The whole old tree needs no hash: its root is what the verifier has.
    return ranges[::-1] if start == 0 else [(start, end), *ranges[::-1]]


def perfect_subtrees(leaves: Range) -> list[Node]:
    """The perfect subtrees that a range consists of, largest first, as `core.ledger.tree.root_of` takes them.

    The range starts at a multiple of the largest one's size, as every range of a proof does.
    """
    start, end = leaves
    nodes = []
    while start < end:
        level = (end - start).bit_length() - 1
        nodes.append(Node(level, start >> level))
        start += 1 << level
    return nodes


def prove(ranges: Sequence[Range], hash_of: Hashes) -> list[bytes]:
    """The proof: the hash of every range."""
    return [root_of([hash_of(node) for node in perfect_subtrees(leaves)]) for leaves in ranges]


def includes(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the proof shows the leaf's hash at `index` of the tree with that size and root."""
    if not 0 <= index < size:
        return False
    position, last, computed = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            computed = node_hash(sibling, computed)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            computed = node_hash(computed, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and computed == root


def is_consistent(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows that the tree of `old` leaves is the beginning of the one of `new` leaves."""
    if old == 0:
        return not proof and old_root == EMPTY_ROOT and new >= 0
    if old == new:
        return not proof and old_root == new_root
    if not 0 < old < new or not proof:
        return False
    path = [old_root, *proof] if old.bit_count() == 1 else list(proof)
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and first == old_root and second == new_root


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)
