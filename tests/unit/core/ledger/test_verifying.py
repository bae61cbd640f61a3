"""Evidence with nothing but a pinned key: what holds is said, and every change is found."""

import base64
import copy
import json
import random
from typing import Any

import pytest

from core.ledger.checkpoints import Checkpoint
from core.ledger.entries import NO_PREVIOUS, canonical
from core.ledger.export import export_document
from core.ledger.receipts import PAYLOAD_TYPE
from core.ledger.tlog_proof import write_proof
from core.ledger.tree import leaf_hash, node_hash, root_of_leaves
from core.ledger.verifying import NoEvidence, Trust, check
from core.signing.dsse import envelope
from core.signing.notes import PrivateKey, sign

KEY = PrivateKey.from_seed("unlearn.example.com/audit", bytes(32))
STATEMENTS = PrivateKey.from_seed("unlearn.example.com/audit/statements", bytes([1]) * 32)
NEXT = PrivateKey.from_seed("unlearn.example.com/audit-2", bytes([2]) * 32)
PINNED = Trust(keys=[KEY.public, STATEMENTS.public])
CHANGES = 2000


def make_leaves(count: int, *, mark: str = "") -> list[bytes]:
    leaves: list[bytes] = []
    previous = NO_PREVIOUS
    for seq in range(count):
        leaves.append(canonical({"v": 1, "seq": seq, "prev": previous.hex(), "data": {"n": seq, "mark": mark}}))
        previous = leaf_hash(leaves[-1])
    return leaves


def checkpoint(leaves: list[bytes], key: PrivateKey = KEY) -> str:
    return str(sign(Checkpoint(KEY.name, len(leaves), root_of_leaves(leaves)).text, [key]))


def make_export(leaves: list[bytes], note: str | None) -> dict[str, Any]:
    document = export_document(leaves, tree_size=len(leaves), root=root_of_leaves(leaves))
    return document | ({"checkpoint": note} if note is not None else {})


def results(document: object, trust: Trust = PINNED) -> list[bool]:
    content = document if isinstance(document, str) else json.dumps(document)
    return [finding.holds for finding in check(content.encode(), trust)]


def test_an_export_with_its_checkpoint_holds() -> None:
    leaves = make_leaves(20)
    assert results(make_export(leaves, checkpoint(leaves[:13]))) == [True] * 3


def test_2000_changes_of_an_export_are_found() -> None:
    chance = random.Random(0)
    leaves = make_leaves(20)
    document = make_export(leaves, checkpoint(leaves))
    for number in range(CHANGES):
        changed = copy.deepcopy(document)
        entries = changed["entries"]
        position, other = chance.sample(range(len(entries)), 2)
        match number % 4:
            case 0:
                leaf = bytearray(leaves[position])
                leaf[chance.randrange(len(leaf))] ^= 1 << chance.randrange(8)
                entries[position] = {"leaf": base64.b64encode(bytes(leaf)).decode()}
            case 1:
                del entries[position]
            case 2:
                entries.insert(position, entries[other])
            case _:
                entries[position], entries[other] = entries[other], entries[position]
        changed["tree_size"] = len(entries)
        assert not all(results(changed)), number


def test_an_export_forged_from_the_first_entry_on_fails_against_the_signature_alone() -> None:
    honest, forged = make_leaves(20), make_leaves(20, mark="forged")
    assert results(make_export(forged, None)) == [True], "alone it cannot be told"
    assert results(make_export(forged, checkpoint(honest))).count(False) == 1
    kept = Trust(keys=PINNED.keys, checkpoints=[checkpoint(honest[:5])])
    assert results(make_export(forged, None), kept).count(False) == 1


def test_a_cut_tail_is_found_against_a_newer_checkpoint_and_not_without() -> None:
    leaves = make_leaves(20)
    for size in range(1, 20):
        cut = make_export(leaves[:size], None)
        assert all(results(cut))
        for signed in (size + 1, 20):
            kept = Trust(keys=PINNED.keys, checkpoints=[checkpoint(leaves[:signed])])
            sentences = [finding.sentence for finding in check(json.dumps(cut).encode(), kept) if not finding.holds]
            assert sentences == [
                f"{signed - size} entries are missing at the end: the checkpoint of {signed} entries of {KEY.name} "
                "was signed."
            ]


def rotated(num_leaves: int, *, at: int) -> list[bytes]:
    """A ledger whose first entry announces the first key, and entry `at` the next one."""
    leaves: list[bytes] = []
    previous = NO_PREVIOUS
    for seq in range(num_leaves):
        key = {0: KEY, at: NEXT}.get(seq)
        added = {"type": "signing_key.added", "data": {"use": "checkpoint", "public": key.public.vkey}} if key else {}
        leaves.append(canonical({"v": 1, "seq": seq, "prev": previous.hex()} | added))
        previous = leaf_hash(leaves[-1])
    return leaves


def test_a_checkpoint_kept_from_before_a_rotation_needs_no_second_key() -> None:
    leaves = rotated(20, at=10)
    export, kept = make_export(leaves, checkpoint(leaves, NEXT)), checkpoint(leaves[:8])
    assert results(export, Trust(keys=[NEXT.public], checkpoints=[kept])) == [True] * 5
    rewritten = make_leaves(8, mark="x")
    other = Trust(keys=[NEXT.public], checkpoints=[checkpoint(rewritten)])
    assert results(export, other).count(False) == 1, "the kept one still says what the beginning was"
    nobody = PrivateKey.from_seed(KEY.name, bytes([6]) * 32)
    stranger = Trust(keys=[NEXT.public], checkpoints=[checkpoint(leaves[:8], nobody)])
    assert results(export, stranger).count(False) == 1


def test_an_earlier_key_vouches_for_nothing_beyond_what_the_pinned_one_signed() -> None:
    leaves = rotated(20, at=10)
    for inside, kept in ((checkpoint(leaves), checkpoint(leaves[:15], NEXT)), (None, checkpoint(leaves))):
        export = make_export(leaves, inside)
        trust = Trust(keys=[NEXT.public], checkpoints=[kept])
        assert results(export, trust).count(False) == 1, "who stole the ended key may have added the rest"
    later = make_export(leaves, checkpoint(leaves, NEXT))
    assert results(later, Trust(keys=[KEY.public], checkpoints=[checkpoint(leaves[:8])])).count(False) == 1


def test_without_a_key_the_signature_is_said_to_be_unchecked() -> None:
    leaves = make_leaves(3)
    findings = check(json.dumps(make_export(leaves, checkpoint(leaves))).encode(), Trust())
    assert all(finding.holds for finding in findings)
    assert findings[1].sentence.startswith("Not checked:")


def test_a_checkpoint_of_another_key_is_found() -> None:
    leaves = make_leaves(3)
    other = Trust(keys=[PrivateKey.from_seed(KEY.name, bytes([5]) * 32).public])
    assert results(make_export(leaves, checkpoint(leaves)), other) == [True, False]
    assert results(checkpoint(leaves), other) == [False]
    assert results(checkpoint(leaves)) == [True]


def test_a_split_view_is_found() -> None:
    one, other = (checkpoint(make_leaves(4, mark=mark)) for mark in ("a", "b"))
    assert results(one, Trust(keys=PINNED.keys, checkpoints=[one])) == [True, True]
    assert results(one, Trust(keys=PINNED.keys, checkpoints=[other])) == [True, False]


def test_every_single_byte_change_of_a_proof_file_is_found() -> None:
    chance = random.Random(1)
    leaves = make_leaves(2)
    file = write_proof(leaves[0], 0, [leaf_hash(leaves[1])], checkpoint(leaves))
    assert node_hash(leaf_hash(leaves[0]), leaf_hash(leaves[1])) == root_of_leaves(leaves)
    assert results(file) == [True]
    for _ in range(500):
        changed = bytearray(file.encode())
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        try:
            found = check(bytes(changed), PINNED)
        except NoEvidence:
            continue
        assert not all(finding.holds for finding in found), bytes(changed)


def test_the_checkpoint_inside_a_receipt_may_be_of_a_key_that_was_not_pinned() -> None:
    facts = {
        "v": 1,
        "origin": KEY.name,
        "request": "r",
        "request_sha256": "00",
        "received_at": "2026-01-31T12:00:00.000000Z",
        "index": 3,
        "leaf_hash": "00" * 32,
        "fence": 0,
        "checkpoint": checkpoint(make_leaves(3)),
    }
    receipt = envelope(PAYLOAD_TYPE, canonical(facts), [STATEMENTS])
    assert results(receipt) == [True] * 3
    findings = check(json.dumps({"receipt": receipt}).encode(), Trust(keys=[STATEMENTS.public]))
    assert findings[-1].sentence.startswith("Not checked: the checkpoint that rides along")
    wrong = facts | {"checkpoint": checkpoint(make_leaves(3)).replace("\n3\n", "\n4\n")}
    assert results(envelope(PAYLOAD_TYPE, canonical(wrong), [STATEMENTS])).count(False) == 1
    nothing = envelope(PAYLOAD_TYPE, canonical({"v": 1}), [STATEMENTS])
    assert results(nothing) == [False]


@pytest.mark.parametrize("content", ["", "x", "[]", "{}", "3", '{"format": "other"}', '{"receipt": 3}', "[" * 100_000])
def test_other_content_is_no_evidence(content: str) -> None:
    with pytest.raises(NoEvidence, match="expected"):
        check(content.encode(), PINNED)


def test_a_services_refusal_saved_as_evidence_is_told_as_one() -> None:
    problem = {"type": "urn:expunge:problem:unknown-request", "detail": "Expected the id of a request, got 7."}
    with pytest.raises(NoEvidence, match="got 7"):
        check(json.dumps(problem).encode(), PINNED)


def test_bytes_that_are_no_text_are_no_evidence() -> None:
    with pytest.raises(NoEvidence, match="UTF-8"):
        check(b"\xff\xfe", PINNED)


@pytest.mark.parametrize("kind", ["checkpoint", "proof", "receipt"])
def test_what_is_nothing_but_a_signature_needs_a_key(kind: str) -> None:
    leaves = make_leaves(1)
    content = {
        "checkpoint": checkpoint(leaves),
        "proof": write_proof(leaves[0], 0, [], checkpoint(leaves)),
        "receipt": json.dumps(envelope(PAYLOAD_TYPE, b"{}", [STATEMENTS])),
    }[kind]
    with pytest.raises(NoEvidence, match="--key"):
        check(content.encode(), Trust())


@pytest.mark.parametrize(
    "document",
    [
        {"format": "expunge-inclusion/1"},
        {"format": "expunge-inclusion/1", "leaf_hash": "zz", "root": "", "index": 0, "size": 1, "hashes": []},
        {"format": "expunge-inclusion/1", "leaf_hash": "", "root": "", "index": 0, "size": 1, "hashes": 3},
        {"format": "expunge-consistency/1", "old": "x"},
        {"format": "expunge-consistency/1", "old_root": "", "new_root": "", "old": 2, "new": 1, "hashes": []},
    ],
)
def test_a_malformed_proof_does_not_hold(document: dict[str, Any]) -> None:
    assert False in results(document)
