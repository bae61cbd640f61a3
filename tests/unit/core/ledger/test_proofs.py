"""Proofs against the recursive definitions of RFC 6962, for every pair of sizes up to 39, and against forgeries."""

import random
from functools import cache
from hashlib import sha256

import pytest

from core.ledger.proofs import (
    Node,
    consistency_ranges,
    includes,
    inclusion_ranges,
    is_consistent,
    perfect_subtrees,
    prove,
)
from core.ledger.tree import leaf_hash, root_of_leaves

LARGEST = 39
LEAVES = [str(number).encode() for number in range(LARGEST)]

# The eight leaves of the published vectors, and proofs over them as the recursive definition gives them.
PUBLISHED = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = {
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def split(size: int) -> int:
    return 1 << ((size - 1).bit_length() - 1)


@cache
def tree_hash(start: int, end: int) -> bytes:
    """MTH of section 2.1."""
    if end - start == 1:
        return sha256(b"\x00" + LEAVES[start]).digest()
    middle = start + split(end - start)
    return sha256(b"\x01" + tree_hash(start, middle) + tree_hash(middle, end)).digest()


def path(index: int, start: int, end: int) -> list[bytes]:
    """PATH of section 2.1.1."""
    if end - start == 1:
        return []
    middle = start + split(end - start)
    if index < middle:
        return [*path(index, start, middle), tree_hash(middle, end)]
    return [*path(index, middle, end), tree_hash(start, middle)]


def subproof(old: int, start: int, end: int, *, whole: bool) -> list[bytes]:
    """SUBPROOF of section 2.1.2."""
    if old == end:
        return [] if whole else [tree_hash(start, end)]
    middle = start + split(end - start)
    if old <= middle:
        return [*subproof(old, start, middle, whole=whole), tree_hash(middle, end)]
    return [*subproof(old, middle, end, whole=False), tree_hash(start, middle)]


def stored(node: Node) -> bytes:
    return tree_hash(node.number << node.level, (node.number + 1) << node.level)


@pytest.mark.parametrize("size", range(1, LARGEST + 1))
def test_inclusion_proofs_are_those_of_the_definition_and_verify(size: int) -> None:
    root = tree_hash(0, size)
    assert root == root_of_leaves(LEAVES[:size])
    for index in range(size):
        proof = prove(inclusion_ranges(index, size), stored)
        assert proof == path(index, 0, size)
        assert includes(leaf_hash(LEAVES[index]), index, size, proof, root)


@pytest.mark.parametrize("new", range(1, LARGEST + 1))
def test_consistency_proofs_are_those_of_the_definition_and_verify(new: int) -> None:
    for old in range(1, new + 1):
        proof = prove(consistency_ranges(old, new), stored)
        assert proof == subproof(old, 0, new, whole=True)
        assert is_consistent(old, new, tree_hash(0, old), tree_hash(0, new), proof)


def test_nothing_but_stored_subtrees_is_asked_for() -> None:
    for size in range(1, LARGEST + 1):
        ranges = [*inclusion_ranges(size // 2, size), *consistency_ranges(size // 3, size), (0, size)]
        for leaves in ranges:
            nodes = perfect_subtrees(leaves)
            assert nodes[0].number << nodes[0].level == leaves[0]
            assert sum(1 << node.level for node in nodes) == leaves[1] - leaves[0]


def test_no_inclusion_proof_verifies_for_another_leaf_place_size_or_root() -> None:
    for size in range(2, LARGEST + 1):
        for index in range(size):
            leaf, proof, root = leaf_hash(LEAVES[index]), path(index, 0, size), tree_hash(0, size)
            others = [other for other in range(size) if other != index]
            assert not any(includes(leaf, other, size, proof, root) for other in others)
            assert not any(includes(leaf_hash(LEAVES[other]), index, size, proof, root) for other in others)
            assert not includes(leaf, index, size, [*proof, root], root)
            assert not includes(leaf, index, size, proof[:-1], root)
            assert not includes(leaf, index, size, proof[::-1], root) or proof == proof[::-1]


def test_no_changed_consistency_proof_verifies() -> None:
    chance = random.Random(0)
    for _ in range(1000):
        old, new = sorted(chance.sample(range(1, LARGEST + 1), 2))
        proof = subproof(old, 0, new, whole=True)
        first, second = tree_hash(0, old), tree_hash(0, new)
        changed = [bytearray(one) for one in [first, second, *proof]]
        hit = chance.choice(changed)
        hit[chance.randrange(32)] ^= 1 << chance.randrange(8)
        one, two, *rest = map(bytes, changed)
        assert not is_consistent(old, new, one, two, rest)
        assert not is_consistent(old, new, first, second, [*proof, first])
        assert not is_consistent(old, new, first, second, proof[:-1])


def test_edges_of_consistency() -> None:
    empty, one = root_of_leaves([]), tree_hash(0, 1)
    assert is_consistent(0, 1, empty, one, [])
    assert not is_consistent(0, 1, one, one, [])
    assert is_consistent(1, 1, one, one, [])
    assert not is_consistent(1, 1, one, empty, [])
    assert not is_consistent(2, 1, tree_hash(0, 2), one, [])
    assert consistency_ranges(0, 5) == consistency_ranges(5, 5) == []


def test_the_published_tree_proves_its_entries() -> None:
    hashes = [leaf_hash(leaf) for leaf in PUBLISHED]

    def node(one: Node) -> bytes:
        return root_of_leaves(PUBLISHED[one.number << one.level : (one.number + 1) << one.level])

    for index in range(8):
        proof = prove(inclusion_ranges(index, 8), node)
        assert includes(hashes[index], index, 8, proof, bytes.fromhex(ROOTS[8]))
    proof = prove(consistency_ranges(3, 8), node)
    assert is_consistent(3, 8, bytes.fromhex(ROOTS[3]), bytes.fromhex(ROOTS[8]), proof)


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_an_entry_beyond_the_end_has_no_proof(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="Expected the number of an entry below"):
        inclusion_ranges(index, size)
    assert not includes(bytes(32), index, size, [], bytes(32))


def test_sizes_that_shrink_have_no_proof() -> None:
    with pytest.raises(ValueError, match="growing order"):
        consistency_ranges(4, 3)
