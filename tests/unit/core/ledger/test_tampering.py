"""Exports that somebody has tampered with, thousands of them: every one is found, with the pinned key and without.

The check's cost grows with the export, so it is a small one; which entry is hit does not matter to it.
"""

import base64
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from core.ledger.verifying import NoEvidence, Trust, check
from tests.unit.core.ledger.test_verifying import PINNED, checkpoint, make_export, make_leaves

ENTRIES, SIGNED_AT = 12, 9
BYTES, MOVES = 10_000, 1_000

Entries = list[dict[str, str]]


def export() -> dict[str, Any]:
    leaves = make_leaves(ENTRIES)
    return make_export(leaves, checkpoint(leaves[:SIGNED_AT]))


def is_found(content: bytes, trust: Trust = PINNED) -> bool:
    """Exit code 1 or 2 of `expunge verify`."""
    try:
        return not all(finding.holds for finding in check(content, trust))
    except NoEvidence:
        return True


def spelled(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def test_10000_single_bytes_changed_anywhere_in_an_export_are_found() -> None:
    chance, original = random.Random(0), spelled(export())
    assert not is_found(original)
    for _ in range(BYTES):
        changed = bytearray(original)
        place = chance.randrange(len(changed))
        changed[place] ^= chance.randrange(1, 256)
        assert is_found(bytes(changed)), (place, changed[max(0, place - 30) : place + 30])


def test_10000_single_bytes_changed_inside_leaves_are_found_without_any_key() -> None:
    chance, document = random.Random(1), export()
    leaves = [base64.b64decode(entry["leaf"]) for entry in document["entries"]]
    for _ in range(BYTES):
        entries = list(document["entries"])
        place = chance.randrange(ENTRIES)
        leaf = bytearray(leaves[place])
        leaf[chance.randrange(len(leaf))] ^= chance.randrange(1, 256)
        entries[place] = {"leaf": base64.b64encode(bytes(leaf)).decode()}
        assert is_found(spelled(document | {"entries": entries}), Trust()), bytes(leaf)


def delete(entries: Entries, chance: random.Random) -> None:
    del entries[chance.randrange(len(entries))]


def reorder(entries: Entries, chance: random.Random) -> None:
    one, other = chance.sample(range(len(entries)), 2)
    entries.insert(other, entries.pop(one))


def insert(entries: Entries, chance: random.Random) -> None:
    entries.insert(chance.randrange(len(entries) + 1), chance.choice(entries))


def forge(entries: Entries, chance: random.Random) -> None:
    """An entry that fits where it is put in, and nothing after it."""
    place = chance.randrange(len(entries))
    fields = json.loads(base64.b64decode(entries[place]["leaf"]))
    fields["data"] = {"n": chance.randrange(10**6), "mark": "forged"}
    leaf = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    entries.insert(place, {"leaf": base64.b64encode(leaf).decode()})


@pytest.mark.parametrize("tamper", [delete, reorder, insert, forge])
def test_1000_deletions_reorders_and_insertions_are_found(tamper: Callable[[Entries, random.Random], None]) -> None:
    chance, document = random.Random(2), export()
    for number in range(MOVES):
        entries = list(document["entries"])
        tamper(entries, chance)
        size = len(entries) if number % 2 else ENTRIES
        assert is_found(spelled(document | {"entries": entries, "tree_size": size}))


def test_a_checkpoint_under_another_name_is_not_overlooked() -> None:
    document = export()
    document["chxckpoint"] = document.pop("checkpoint")
    assert is_found(spelled(document), Trust())


def test_a_leaf_in_another_spelling_of_base64_is_found() -> None:
    document = export()
    place = next(number for number, one in enumerate(document["entries"]) if one["leaf"].endswith("="))
    text = document["entries"][place]["leaf"]
    last = text.rstrip("=")[-1]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = alphabet[alphabet.index(last) ^ 1]
    changed = text.rstrip("=")[:-1] + other + "=" * text.count("=")
    assert base64.b64decode(changed) == base64.b64decode(text), "the same bytes, spelled otherwise"
    document["entries"][place] = {"leaf": changed}
    assert is_found(spelled(document))
