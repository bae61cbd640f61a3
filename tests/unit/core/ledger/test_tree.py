"""The tree against the published vectors of RFC 6962 implementations and a naive recursive definition."""

from hashlib import sha256

import pytest

from core.ledger.tree import EMPTY_ROOT, append_to_frontier, leaf_hash, root_of, root_of_leaves

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def naive_root(leaves: list[bytes]) -> bytes:
    """The recursive definition of RFC 6962 section 2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_the_published_ones(size: int) -> None:
    assert root_of_leaves(LEAVES[:size]).hex() == ROOTS[size - 1]


@pytest.mark.parametrize("size", range(40))
def test_frontier_gives_the_root_of_the_recursive_definition(size: int) -> None:
    leaves = [str(number).encode() for number in range(size)]
    assert root_of_leaves(leaves) == naive_root(leaves)


def test_empty_tree_has_the_hash_of_nothing() -> None:
    assert root_of([]) == EMPTY_ROOT == sha256(b"").digest()


def test_frontier_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected 2 subtree roots for a tree of 3 leaves, got 1"):
        append_to_frontier([leaf_hash(b"a")], 3, leaf_hash(b"b"))
