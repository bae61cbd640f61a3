"""What a piece of evidence proves to somebody who has nothing but a pinned key.

Five kinds are told apart by their content: an export, a signed checkpoint, a proof file of one entry, a proof as JSON,
a receipt. Every sentence says what holds, what does not, or what was not checked for want of a key.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from core.ledger.checkpoints import Checkpoint, Opened, open_checkpoint
from core.ledger.export import FORMAT, Finding, check_export
from core.ledger.proofs import includes, is_consistent
from core.ledger.receipts import PAYLOAD_TYPE, open_receipt
from core.ledger.tlog_proof import HEADER, check_proof
from core.signing.dsse import BadEnvelope
from core.signing.notes import COSIGNATURE, DASH, BadNote, Note, PublicKey, cosigned_at

INCLUSION = "expunge-inclusion/1"
CONSISTENCY = "expunge-consistency/1"


class NoEvidence(ValueError):
    """The content is none of the five kinds; or it needs a key to be checked with, and none was given."""


@dataclass(frozen=True)
class Trust:
    """What the verifier brings along: never taken from the evidence itself."""

    keys: Sequence[PublicKey] = ()
    checkpoints: Sequence[str] = field(default=())
    """Signed checkpoints kept from earlier."""
    request: bytes | None = None
    """The request as it was sent, for a receipt."""


def check(content: bytes, trust: Trust) -> list[Finding]:
    """What the evidence proves, sentence by sentence; it holds if all of them do.

    Raises:
        NoEvidence: it is none of the kinds, or cannot be checked without a key.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        msg = "expected text in UTF-8."
        raise NoEvidence(msg) from error
    try:
        if text.startswith(HEADER):
            return _proof_file(text, _needing(trust))
        if f"\n\n{DASH} " in text and not text.startswith("{"):
            return _checkpoint(text, _needing(trust))
        return _document(text, trust)
    except (BadNote, BadEnvelope) as error:
        return [_wrong(str(error))]


def _document(text: str, trust: Trust) -> list[Finding]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = "expected a ledger export, a checkpoint, a proof or a receipt."
        raise NoEvidence(msg) from error
    # A receipt may come alone or in the answer that carried it.
    if isinstance(document, dict) and isinstance(document.get("receipt"), dict):
        document = document["receipt"]
    if not isinstance(document, dict):
        msg = "expected a JSON object."
        raise NoEvidence(msg)
    if document.get("payloadType") == PAYLOAD_TYPE:
        return _receipt(document, _needing(trust))
    kinds = {FORMAT: _export, INCLUSION: _inclusion, CONSISTENCY: _consistency}
    checked = kinds.get(str(document.get("format")))
    if checked is None:
        msg = f"expected a document of format {FORMAT}, {INCLUSION} or {CONSISTENCY}, or a receipt."
        raise NoEvidence(msg)
    return checked(document, trust)


def _export(document: dict[str, Any], trust: Trust) -> list[Finding]:
    opened, findings = [], []
    inside = document.get("checkpoint")
    notes = [str(inside)] if inside is not None else []
    if inside is not None and not trust.keys:
        findings.append(_right("Not checked: the signature of the checkpoint inside, because no key was given."))
        notes = []
    for note in [*notes, *trust.checkpoints]:
        try:
            opened.append(open_checkpoint(note, trust.keys))
        except BadNote as error:
            findings.append(_wrong(str(error)))
    signatures = [_right(_signed_by(one)) for one in opened]
    return check_export(document, [one.checkpoint for one in opened]) + signatures + findings


def _checkpoint(note: str, trust: Trust) -> list[Finding]:
    opened = open_checkpoint(note, trust.keys)
    witnesses = {(key.name, key.key_id) for key in opened.signers if key.kind == COSIGNATURE}
    seen = [line for line in Note.parse(note).lines if (line.name, line.key_id) in witnesses]
    findings = [_right(_signed_by(opened))]
    findings += [_right(f"{line.name} saw it at {cosigned_at(line)} seconds since 1970.") for line in seen]
    return findings + [_same_ledger(opened, open_checkpoint(kept, trust.keys)) for kept in trust.checkpoints]


def _same_ledger(one: Opened, other: Opened) -> Finding:
    first, second = one.checkpoint, other.checkpoint
    if first.size == second.size:
        if first.root == second.root:
            return _right(f"It states the same {first.size} entries as the checkpoint kept.")
        return _wrong(f"Two different ledgers of {first.size} entries were signed: this is a split view.")
    return _right(
        f"Not checked: whether it agrees with the checkpoint of {second.size}; a consistency proof shows that."
    )


def _proof_file(text: str, trust: Trust) -> list[Finding]:
    proven = check_proof(text, trust.keys)
    names = ", ".join(key.name for key in proven.signers)
    return [_right(f"Entry {proven.index} is in the ledger of {proven.size} entries, signed by {names}.")]


def _inclusion(document: dict[str, Any], trust: Trust) -> list[Finding]:
    try:
        leaf, root = bytes.fromhex(document["leaf_hash"]), bytes.fromhex(document["root"])
        index, size = int(document["index"]), int(document["size"])
        holds = includes(leaf, index, size, [bytes.fromhex(one) for one in document["hashes"]], root)
    except (KeyError, TypeError, ValueError):
        return [_wrong("This is not an inclusion proof as GET /audit/proof/inclusion sends it.")]
    word = "leads" if holds else "does not lead"
    finding = Finding(
        holds=holds, sentence=f"The proof {word} from entry {index} to root {root.hex()} of {size} entries."
    )
    return [finding, *_states(document.get("checkpoint"), size, root, trust)]


def _consistency(document: dict[str, Any], trust: Trust) -> list[Finding]:
    try:
        old_root, new_root = bytes.fromhex(document["old_root"]), bytes.fromhex(document["new_root"])
        old, new = int(document["old"]), int(document["new"])
        holds = is_consistent(old, new, old_root, new_root, [bytes.fromhex(one) for one in document["hashes"]])
    except (KeyError, TypeError, ValueError):
        return [_wrong("This is not a consistency proof as GET /audit/proof/consistency sends it.")]
    word = "are" if holds else "are not shown to be"
    findings = [Finding(holds=holds, sentence=f"The {old} entries {word} the beginning of the {new} entries.")]
    findings += _states(document.get("old_checkpoint"), old, old_root, trust)
    findings += _states(document.get("new_checkpoint"), new, new_root, trust)
    for note in trust.checkpoints:
        kept = open_checkpoint(note, trust.keys).checkpoint
        if (kept.size, kept.root) not in {(old, old_root), (new, new_root)}:
            findings.append(_wrong(f"The proof is not about the checkpoint of {kept.size} entries that was kept."))
    return findings


def _states(note: object, size: int, root: bytes, trust: Trust) -> list[Finding]:
    """Whether a checkpoint in the document says the same as the document."""
    if note is None:
        return [
            _right(f"Not checked: that anybody signed the ledger of {size} entries; no checkpoint of it came along.")
        ]
    if not trust.keys:
        return [_right(f"Not checked: the signature of the checkpoint of {size} entries, because no key was given.")]
    opened = open_checkpoint(str(note), trust.keys)
    if (opened.checkpoint.size, opened.checkpoint.root) != (size, root):
        return [_wrong(f"The checkpoint inside states another ledger of {opened.checkpoint.size} entries.")]
    return [_right(_signed_by(opened))]


def _receipt(document: Mapping[str, Any], trust: Trust) -> list[Finding]:
    receipt = open_receipt(document, trust.keys)
    findings = [
        _right(
            f"Request {receipt.request} was accepted at {receipt.received_at} as entry {receipt.index} of "
            f"{receipt.origin}, leaf hash {receipt.leaf_hash.hex()}."
        )
    ]
    if trust.request is None:
        findings.append(_right(f"Not checked: that the request is the one with SHA-256 {receipt.request_sha256}."))
    elif sha256(trust.request).hexdigest() == receipt.request_sha256:
        findings.append(_right("The request is the one that was received."))
    else:
        findings.append(_wrong("The receipt is for another request: the digests differ."))
    if receipt.checkpoint is not None:
        findings.append(_riding(receipt.checkpoint, trust))
    return findings


def _riding(note: str, trust: Trust) -> Finding:
    try:
        return _right(_signed_by(open_checkpoint(note, trust.keys)))
    except BadNote as error:
        if "none of the keys" in str(error):
            return _right(f"Not checked: the checkpoint that rides along. {error}")
        return _wrong(str(error))


def _signed_by(opened: Opened) -> str:
    signed: Checkpoint = opened.checkpoint
    names = ", ".join(key.name for key in opened.signers)
    return f"The ledger {signed.origin} of {signed.size} entries with root {signed.root.hex()} is signed by {names}."


def _needing(trust: Trust) -> Trust:
    if not trust.keys:
        msg = "expected --key with the public key that was pinned; without one a signature says nothing."
        raise NoEvidence(msg)
    return trust


def _right(sentence: str) -> Finding:
    return Finding(holds=True, sentence=sentence)


def _wrong(sentence: str) -> Finding:
    return Finding(holds=False, sentence=sentence)
