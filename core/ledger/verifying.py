"""What a piece of evidence proves to somebody who has nothing but a pinned key.

Six kinds are told apart by their content: an evidence bundle, an export, a signed checkpoint, a proof file of one
entry, a proof as JSON, a receipt. Every sentence says what holds, what does not, or what was not checked and why.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from core.evidence.archive import is_archive
from core.evidence.bundle import check_bundle
from core.evidence.trust import Trust
from core.ledger.checkpoints import Checkpoint, Opened, keys_announced, open_checkpoint, open_earlier
from core.ledger.export import FORMAT, Finding, check_export, leaves_of, right, wrong
from core.ledger.proofs import includes, is_consistent
from core.ledger.receipts import PAYLOAD_TYPE, open_receipt
from core.ledger.tlog_proof import HEADER, check_proof
from core.signing.dsse import BadEnvelope
from core.signing.notes import COSIGNATURE, DASH, BadNote, Note, cosigned_at

__all__ = ["NoEvidence", "Trust", "check"]

INCLUSION = "expunge-inclusion/1"
CONSISTENCY = "expunge-consistency/1"
KINDS = "an evidence bundle (zip), a ledger export, a checkpoint, a proof or a receipt"


class NoEvidence(ValueError):
    """The content is none of the six kinds; or it needs a key to be checked with, and none was given."""


def check(content: bytes, trust: Trust) -> list[Finding]:
    """What the evidence proves, sentence by sentence; it holds if all of them do.

    Raises:
        NoEvidence: it is none of the kinds, or cannot be checked without a key.
    """
    if is_archive(content):
        return check_bundle(content, _needing(trust))
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        msg = f"expected {KINDS} (all but the first are text in UTF-8)."
        raise NoEvidence(msg) from error
    try:
        if text.startswith(HEADER):
            return _proof_file(text, _needing(trust))
        if f"\n\n{DASH} " in text and not text.startswith("{"):
            return _checkpoint(text, _needing(trust))
        return _document(text, trust)
    except (BadNote, BadEnvelope) as error:
        return [wrong(str(error))]


def _document(text: str, trust: Trust) -> list[Finding]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = f"expected {KINDS}."
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
        if str(document.get("type")).startswith("urn:expunge:problem:"):
            msg = f"expected evidence, got the answer of a service that there is none. {document.get('detail')}"
        raise NoEvidence(msg)
    return checked(document, trust)


def _export(document: dict[str, Any], trust: Trust) -> list[Finding]:
    opened, findings = [], []
    inside = document.get("checkpoint")
    notes = [str(inside)] if inside is not None else []
    if inside is not None and not trust.keys:
        findings.append(right("Not checked: the signature of the checkpoint inside, because no key was given."))
        notes = []
    refused: dict[str, BadNote] = {}
    for note in [*notes, *trust.checkpoints]:
        try:
            opened.append(open_checkpoint(note, trust.keys))
        except BadNote as error:
            refused[note] = error
    below = max((one.checkpoint.size for one in opened), default=0)
    announced = keys_announced(leaves_of(document, below)) if refused else []
    for note, reason in refused.items():
        earlier = open_earlier(note, below, announced) if note in trust.checkpoints else None
        if earlier is not None:
            opened.append(earlier)
        else:
            findings.append(wrong(str(reason)))
    signatures = [right(_signed_by(one)) for one in opened]
    return check_export(document, [one.checkpoint for one in opened]) + signatures + findings


def _checkpoint(note: str, trust: Trust) -> list[Finding]:
    opened = open_checkpoint(note, trust.keys)
    witnesses = {(key.name, key.key_id) for key in opened.signers if key.kind == COSIGNATURE}
    seen = [line for line in Note.parse(note).lines if (line.name, line.key_id) in witnesses]
    findings = [right(_signed_by(opened))]
    findings += [right(f"{line.name} saw it at {cosigned_at(line)} seconds since 1970.") for line in seen]
    return findings + [_same_ledger(opened, open_checkpoint(kept, trust.keys)) for kept in trust.checkpoints]


def _same_ledger(one: Opened, other: Opened) -> Finding:
    first, second = one.checkpoint, other.checkpoint
    if first.size == second.size:
        if first.root == second.root:
            return right(f"It states the same {first.size} entries as the checkpoint kept.")
        return wrong(f"Two different ledgers of {first.size} entries were signed: this is a split view.")
    return right(
        f"Not checked: whether it agrees with the checkpoint of {second.size}; a consistency proof shows that."
    )


def _proof_file(text: str, trust: Trust) -> list[Finding]:
    proven = check_proof(text, trust.keys)
    names = ", ".join(key.name for key in proven.signers)
    return [right(f"Entry {proven.index} is in the ledger of {proven.size} entries, signed by {names}.")]


def _inclusion(document: dict[str, Any], trust: Trust) -> list[Finding]:
    try:
        leaf, root = bytes.fromhex(document["leaf_hash"]), bytes.fromhex(document["root"])
        index, size = int(document["index"]), int(document["size"])
        holds = includes(leaf, index, size, [bytes.fromhex(one) for one in document["hashes"]], root)
    except (KeyError, TypeError, ValueError):
        return [wrong("This is not an inclusion proof as GET /audit/proof/inclusion sends it.")]
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
        return [wrong("This is not a consistency proof as GET /audit/proof/consistency sends it.")]
    word = "are" if holds else "are not shown to be"
    findings = [Finding(holds=holds, sentence=f"The {old} entries {word} the beginning of the {new} entries.")]
    findings += _states(document.get("old_checkpoint"), old, old_root, trust)
    findings += _states(document.get("new_checkpoint"), new, new_root, trust)
    for note in trust.checkpoints:
        kept = open_checkpoint(note, trust.keys).checkpoint
        if (kept.size, kept.root) not in {(old, old_root), (new, new_root)}:
            findings.append(wrong(f"The proof is not about the checkpoint of {kept.size} entries that was kept."))
    return findings


def _states(note: object, size: int, root: bytes, trust: Trust) -> list[Finding]:
    """Whether a checkpoint in the document says the same as the document."""
    if note is None:
        return [
            right(f"Not checked: that anybody signed the ledger of {size} entries; no checkpoint of it came along.")
        ]
    if not trust.keys:
        return [right(f"Not checked: the signature of the checkpoint of {size} entries, because no key was given.")]
    opened = open_checkpoint(str(note), trust.keys)
    if (opened.checkpoint.size, opened.checkpoint.root) != (size, root):
        return [wrong(f"The checkpoint inside states another ledger of {opened.checkpoint.size} entries.")]
    return [right(_signed_by(opened))]


def _receipt(document: Mapping[str, Any], trust: Trust) -> list[Finding]:
    receipt = open_receipt(document, trust.keys)
    findings = [
        right(
            f"Request {receipt.request} was accepted at {receipt.received_at} as entry {receipt.index} of "
            f"{receipt.origin}, leaf hash {receipt.leaf_hash.hex()}."
        )
    ]
    if trust.request is None:
        findings.append(right(f"Not checked: that the request is the one with SHA-256 {receipt.request_sha256}."))
    elif sha256(trust.request).hexdigest() == receipt.request_sha256:
        findings.append(right("The request is the one that was received."))
    else:
        findings.append(wrong("The receipt is for another request: the digests differ."))
    if receipt.checkpoint is not None:
        findings.append(_riding(receipt.checkpoint, trust))
    return findings


def _riding(note: str, trust: Trust) -> Finding:
    try:
        return right(_signed_by(open_checkpoint(note, trust.keys)))
    except BadNote as error:
        if "none of the keys" in str(error):
            return right(f"Not checked: the checkpoint that rides along. {error}")
        return wrong(str(error))


def _signed_by(opened: Opened) -> str:
    signed: Checkpoint = opened.checkpoint
    names = ", ".join(key.name for key in opened.signers)
    return f"The ledger {signed.origin} of {signed.size} entries with root {signed.root.hex()} is signed by {names}."


def _needing(trust: Trust) -> Trust:
    if not trust.keys:
        msg = "expected --key with the public key that was pinned; without one a signature says nothing."
        raise NoEvidence(msg)
    return trust
