"""Opening a bundle: from the pinned key to entries and further keys that can be relied upon.

The order is the argument. The pinned key signed the checkpoint; the checkpoint covers each entry in the bundle, by its
inclusion proof; entries announce the keys for statements and models; and one of these signed the list of all files.
Nothing in the bundle is relied upon before it was reached in this way.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from core.evidence.canonical import canonical_bytes
from core.evidence.layout import BUNDLE_FORMAT, CHECKPOINT_FILE, INDEX, INDEX_TYPE, PROOFS_FILE, entry_file
from core.ledger.checkpoints import KEY_ADDED, Opened, open_checkpoint
from core.ledger.proofs import includes
from core.ledger.tree import leaf_hash
from core.signing.dsse import BadEnvelope, key_hint, open_envelope, pae
from core.signing.notes import ED25519, BadNote, PublicKey

GRACE = timedelta(minutes=5)
"""How much later than its key's end a statement may seem to be: the clocks of database and signer differ."""


class BadBundle(ValueError):
    """A bundle that does not hold; the text says what and why."""


@dataclass(frozen=True)
class Announced:
    """A key that an entry of the ledger announced, and until when it signs as a later entry says."""

    use: str
    key: PublicKey
    until: datetime | None


@dataclass(frozen=True)
class Bundle:
    """A bundle whose checkpoint, entries and file list hold."""

    files: Mapping[str, bytes]
    request: str
    state: str
    checkpoint: Opened
    leaves: Mapping[int, dict[str, Any]]
    """The entries about the request, by number."""
    hashes: Mapping[int, bytes]
    """Leaf hashes of all entries in the bundle, by number."""
    announced: tuple[Announced, ...]
    pinned: tuple[PublicKey, ...]

    def read(self, name: str) -> Any:
        """A file of the bundle as JSON.

        Raises:
            BadBundle: it is missing, or is none.
        """
        return read_json(self.files, name)

    def signed(self, name: str, payload_type: str, use: str, moment: datetime, *, inner: str | None = None) -> Any:
        """What a signed file states, once a key of that use, valid at the moment, is known to have signed it.

        Raises:
            BadBundle: no such key signed it, or one did after its end.
        """
        envelope = self.read(name)
        return open_signed(
            envelope[inner] if inner else envelope, name, payload_type, (use, moment), (self.announced, self.pinned)
        )

    @property
    def newest(self) -> datetime:
        """When the newest entry in the bundle was written."""
        return max(moment_of(leaf) for leaf in self.leaves.values())

    def transition(self, to: str) -> tuple[int, dict[str, Any]] | None:
        """The last entry by which the request came into a state, with its number."""
        found = [
            (index, leaf)
            for index, leaf in sorted(self.leaves.items())
            if leaf["type"] == "request.transition" and leaf.get("to") == to
        ]
        return found[-1] if found else None


def open_bundle(files: Mapping[str, bytes], pinned: tuple[PublicKey, ...]) -> Bundle:
    """The bundle, once pinned key, checkpoint, entries and list of files were found to hang together.

    Raises:
        BadBundle: they do not; the text says where.
    """
    index = _stated_index(files)
    checkpoint = _signed_checkpoint(files, index, pinned)
    hashes, leaves = _proven_entries(files, index, checkpoint)
    announced = _announced(leaves, index["keys"])
    own = {number: leaves[number] for number in index["entries"]}
    if not own:
        msg = "The bundle holds no entry of the ledger about its request."
        raise BadBundle(msg)
    if foreign := [number for number, leaf in own.items() if leaf.get("request") != index["request"]]:
        msg = f"The bundle says that it is about request {index['request']}, but entry {foreign[0]} is not."
        raise BadBundle(msg)
    bundle = Bundle(
        files, str(index["request"]), str(index["state"]), checkpoint, own, hashes, announced, tuple(pinned)
    )
    signed = bundle.signed(INDEX, INDEX_TYPE, "statement", bundle.newest)
    if signed != index:
        msg = "The list of files is not the one that was signed."
        raise BadBundle(msg)
    _refuse_slack(bundle)
    _refuse_other_files(files, index["files"])
    return bundle


def moment_of(leaf: Mapping[str, Any]) -> datetime:
    """When an entry was written."""
    return datetime.fromisoformat(leaf["ts"])


def read_json(files: Mapping[str, bytes], name: str) -> Any:
    """A file as JSON.

    Raises:
        BadBundle: it is missing, or is none.
    """
    if name not in files:
        msg = f"The bundle lacks {name}."
        raise BadBundle(msg)
    try:
        return json.loads(files[name])
    except (ValueError, RecursionError) as error:
        msg = f"In the bundle, {name} is not JSON."
        raise BadBundle(msg) from error


def open_signed(
    envelope: Any,
    name: str,
    payload_type: str,
    when: tuple[str, datetime],
    known: tuple[tuple[Announced, ...], tuple[PublicKey, ...]],
) -> Any:
    """What an envelope states; see `Bundle.signed`."""
    (use, moment), (announced, pinned) = when, known
    ends = {one.key: one.until for one in announced if one.use == use}
    ends |= {key: None for key in pinned if key not in {one.key for one in announced}}
    for key, until in ends.items():
        try:
            payload = open_envelope(envelope, payload_type, [key])
        except BadEnvelope as error:
            if "none of the keys" in str(error):
                continue
            msg = f"{name} does not hold. {error}"
            raise BadBundle(msg) from error
        if until is not None and moment >= until + GRACE:
            over = f"which signed until {until:%Y-%m-%d %H:%M}"
            msg = f"{name} is signed by {key.name}, {over}; it is of {moment:%Y-%m-%d %H:%M}."
            raise BadBundle(msg)
        return json.loads(payload)
    msg = f"{name} is signed by no {use} key that was pinned or that the ledger announces in this bundle."
    raise BadBundle(msg)


def _stated_index(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The list of files as it stands there; its signature is checked once the keys are known."""
    try:
        index = json.loads(base64.b64decode(read_json(files, INDEX)["payload"], validate=True))
        numbers = [*index["entries"], *index["keys"]]
        right = index["format"] == BUNDLE_FORMAT and all(type(number) is int and number >= 0 for number in numbers)
        stated = str(index["format"])[:40]
        right = right and isinstance(index["files"], dict) and isinstance(index["request"], str)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        msg = f"{INDEX} is not a signed list of the files of a bundle."
        raise BadBundle(msg) from error
    if not right:
        msg = f"Expected a bundle of format {BUNDLE_FORMAT}, got {stated!r}; a newer verifier may know it."
        raise BadBundle(msg)
    found: dict[str, Any] = index
    return found


def _signed_checkpoint(files: Mapping[str, bytes], index: Mapping[str, Any], pinned: tuple[PublicKey, ...]) -> Opened:
    if CHECKPOINT_FILE not in files:
        msg = f"The bundle lacks {CHECKPOINT_FILE}."
        raise BadBundle(msg)
    try:
        return open_checkpoint(files[CHECKPOINT_FILE].decode(), pinned)
    except UnicodeDecodeError as error:
        msg = f"In the bundle, {CHECKPOINT_FILE} is not text in UTF-8."
        raise BadBundle(msg) from error
    except BadNote as error:
        told = _told_of_ends(files, index, pinned)
        msg = f"The checkpoint does not hold against the key that was pinned. {error}{told}"
        raise BadBundle(msg) from error


def _told_of_ends(files: Mapping[str, bytes], index: Mapping[str, Any], pinned: tuple[PublicKey, ...]) -> str:
    """Why a pinned key may not have signed, by the bundle's own account: a hint for people, and proved by nothing."""
    try:
        leaves = {number: read_json(files, entry_file(number)) for number in index["keys"]}
        ended = [one for one in _announced(leaves, index["keys"]) if one.key in pinned and one.until is not None]
    except (AttributeError, LookupError, TypeError, ValueError):
        return ""
    hints = (f" By the bundle's own account {one.key.name} signed until {one.until:%Y-%m-%d %H:%M}." for one in ended)
    return "".join(hints) + (" Pin its successor over a channel that you trust." if ended else "")


def _proven_entries(
    files: Mapping[str, bytes], index: Mapping[str, Any], opened: Opened
) -> tuple[dict[int, bytes], dict[int, dict[str, Any]]]:
    proofs = read_json(files, PROOFS_FILE)
    signed = opened.checkpoint
    hashes, leaves = {}, {}
    for number in sorted({*index["entries"], *index["keys"]}):
        content = files.get(entry_file(number))
        if content is None:
            msg = f"The bundle lacks entry {number}, which it lists."
            raise BadBundle(msg)
        try:
            proof = [bytes.fromhex(one) for one in proofs["proofs"][str(number)]]
            leaf = json.loads(content)
            is_canonical = canonical_bytes(leaf) == content
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            msg = f"Entry {number} or its proof is not as the format {BUNDLE_FORMAT} has it."
            raise BadBundle(msg) from error
        hashes[number] = leaf_hash(content)
        if not includes(hashes[number], number, signed.size, proof, signed.root):
            msg = f"Entry {number} is not in the ledger that was signed: the entry or its proof was changed."
            raise BadBundle(msg)
        if not is_canonical or not isinstance(leaf, dict) or leaf.get("seq") != number:
            msg = f"Entry {number} is in the ledger that was signed, but is not what entries look like."
            raise BadBundle(msg)
        leaves[number] = leaf
    return hashes, leaves


def _announced(leaves: Mapping[int, dict[str, Any]], numbers: list[int]) -> tuple[Announced, ...]:
    """The keys that entries announce, each with its end as the next one of its use tells."""
    told = [leaves[number]["data"] for number in sorted(numbers) if leaves[number].get("type") == KEY_ADDED]
    found = []
    for position, data in enumerate(told):
        later = [one for one in told[position + 1 :] if one["use"] == data["use"]]
        until = later[0].get("previous_until") if later else None
        end = datetime.fromisoformat(until) if until is not None else None
        found.append(Announced(data["use"], PublicKey.parse(data["public"]), end))
    return tuple(found)


def _refuse_slack(bundle: Bundle) -> None:
    """Refuse a list of files with anything in it that no signature covers: other signatures, hints, spellings."""
    envelope = bundle.read(INDEX)
    payload = base64.b64decode(envelope["payload"])
    signatures = [(str(one["keyid"]), base64.b64decode(one["sig"], validate=True)) for one in envelope["signatures"]]
    known = {key_hint(key): key for key in (*bundle.pinned, *(one.key for one in bundle.announced))}
    plain = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": INDEX_TYPE,
        "signatures": [{"keyid": hint, "sig": base64.b64encode(sig).decode()} for hint, sig in signatures],
    }
    message = pae(INDEX_TYPE, payload)
    is_signed = all(hint in known and known[hint].is_signature(sig, message) for hint, sig in signatures)
    if not is_signed or canonical_bytes(plain) != bundle.files[INDEX]:
        msg = f"{INDEX} is not as the service wrote it: something in it is not signed."
        raise BadBundle(msg)


def _refuse_other_files(files: Mapping[str, bytes], listed: Mapping[str, str]) -> None:
    for name in sorted({*files, *listed} - {INDEX}):
        if name not in files:
            msg = f"The bundle lacks {name}, which was signed as a part of it."
            raise BadBundle(msg)
        if name not in listed:
            msg = f"The bundle holds {name}, which was never a part of it."
            raise BadBundle(msg)
        if sha256(files[name]).hexdigest() != listed[name]:
            msg = f"The bundle's {name} is not the file that was signed as a part of it: it was changed."
            raise BadBundle(msg)


def ends_of(bundle: Bundle) -> list[tuple[PublicKey, datetime]]:
    """The ledger keys below the checkpoint that had ended when the newest entry in the bundle was written."""
    ends = {one.key: one.until for one in bundle.announced if one.use == "checkpoint"}
    signers = [key for key in bundle.checkpoint.signers if key.kind == ED25519]
    found = [(key, until) for key in signers if (until := ends.get(key)) is not None]
    return found if len(found) == len(signers) and all(bundle.newest >= until + GRACE for _, until in found) else []
