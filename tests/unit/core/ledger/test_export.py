"""An export is checked without a database; every change to it is found."""

import base64
import copy
import random
from typing import Any

import pytest

from core.ledger.entries import NO_PREVIOUS, canonical
from core.ledger.export import check_export, export_document
from core.ledger.tree import leaf_hash, root_of_leaves

NUM_ENTRIES = 20


def make_export(num_entries: int = NUM_ENTRIES) -> dict[str, Any]:
    leaves: list[bytes] = []
    previous = NO_PREVIOUS
    for seq in range(num_entries):
        leaf = canonical({"v": 1, "seq": seq, "type": "request.transition", "prev": previous.hex(), "data": {"n": seq}})
        leaves.append(leaf)
        previous = leaf_hash(leaf)
    return export_document(leaves, tree_size=num_entries, root=root_of_leaves(leaves))


def holds(document: object) -> bool:
    return all(finding.holds for finding in check_export(document))


@pytest.mark.parametrize("num_entries", [0, 1, 2, 7, 40])
def test_an_untouched_export_holds(num_entries: int) -> None:
    assert holds(make_export(num_entries))


def test_every_single_byte_change_of_a_leaf_is_found() -> None:
    chance = random.Random(0)
    document = make_export()
    for _ in range(500):
        changed = copy.deepcopy(document)
        entry = chance.choice(changed["entries"])
        leaf = bytearray(base64.b64decode(entry["leaf"]))
        position = chance.randrange(len(leaf))
        leaf[position] ^= 1 << chance.randrange(8)
        entry["leaf"] = base64.b64encode(bytes(leaf)).decode()
        assert not holds(changed), f"byte {position} of {bytes(leaf)!r}"


def test_every_deletion_insertion_and_swap_is_found() -> None:
    chance = random.Random(1)
    document = make_export()
    for _ in range(500):
        changed = copy.deepcopy(document)
        entries = changed["entries"]
        position, other = chance.sample(range(NUM_ENTRIES), 2)
        match chance.randrange(3):
            case 0:
                del entries[position]
                changed["tree_size"] -= chance.randrange(2)
            case 1:
                entries.insert(position, copy.deepcopy(entries[other]))
                changed["tree_size"] += chance.randrange(2)
            case _:
                entries[position], entries[other] = entries[other], entries[position]
        assert not holds(changed)


def test_a_cut_tail_with_a_recomputed_root_cannot_be_found_by_a_bare_export() -> None:
    """The limit of an export alone, stated in the README: only a root kept elsewhere shows a cut tail."""
    assert holds(make_export(NUM_ENTRIES - 5))
    assert make_export(NUM_ENTRIES - 5)["root"] != make_export()["root"]


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"format": "expunge-ledger/2"},
        {"format": "expunge-ledger/1", "entries": [{"leaf": "not base64!"}], "tree_size": 1, "root": ""},
        {"format": "expunge-ledger/1", "entries": [{}], "tree_size": 1, "root": ""},
        {"format": "expunge-ledger/1", "entries": [], "tree_size": "1", "root": ""},
        {"format": "expunge-ledger/1", "entries": [{"leaf": "e30="}], "tree_size": 1, "root": "00"},
        {"format": "expunge-ledger/1", "entries": [{"leaf": "W10="}], "tree_size": 1, "root": "00"},
        {"format": "expunge-ledger/1", "entries": [{"leaf": "/////w=="}], "tree_size": 1, "root": "00"},
    ],
)
def test_what_is_no_export_is_answered_with_a_sentence_not_an_exception(document: object) -> None:
    findings = check_export(document)
    assert not all(finding.holds for finding in findings)
    assert all(finding.sentence for finding in findings)
