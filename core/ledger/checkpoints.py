"""Checkpoints (c2sp.org/tlog-checkpoint): a signed note that states a ledger's size and root.

The text is three lines: the ledger's origin, its size in decimal, its root in base64. No extension lines.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from core.signing.notes import ED25519, BadNote, Note, PublicKey

KEY_ADDED = "signing_key.added"
"""The type of the entries that announce keys."""
_TEXT = re.compile(r"([^\n]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint states."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The checkpoint that a note's text is.

        Raises:
            BadNote: it is not one.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            msg = "Expected a checkpoint of three lines: origin, size, root in base64."
            raise BadNote(msg)
        try:
            root = base64.b64decode(match[3], validate=True)
        except binascii.Error as error:
            msg = "Expected the root of a checkpoint in base64."
            raise BadNote(msg) from error
        found = cls(match[1], int(match[2]), root)
        if found.text != text:
            msg = "Expected the root of a checkpoint in canonical base64."
            raise BadNote(msg)
        return found


@dataclass(frozen=True)
class Opened:
    """A checkpoint whose signature holds, and who signed it."""

    checkpoint: Checkpoint
    signers: tuple[PublicKey, ...]
    note: str


def open_checkpoint(note: str, keys: Sequence[PublicKey]) -> Opened:
    """What a signed checkpoint states, once one of the keys is known to have signed it.

    A witness's cosignature is listed, but only the signature of a ledger's key makes a checkpoint.

    Raises:
        BadNote: it is malformed, changed, or signed by none of the keys.
    """
    parsed = Note.parse(note)
    signers = parsed.signers(keys)
    if not any(key.kind == ED25519 for key in signers):
        names = ", ".join(sorted({line.name for line in parsed.lines}))
        msg = f"The checkpoint is signed by none of the keys given; its signatures are of {names}."
        raise BadNote(msg)
    return Opened(Checkpoint.parse(parsed.text), tuple(signers), note)


def open_earlier(note: str, below: int, announced: Sequence[PublicKey]) -> Opened | None:
    """A checkpoint of an earlier key, kept from before a rotation; None if it is none.

    Whoever relies on a checkpoint relies on the entries below it, and so on the keys that they announce, but for no
    more entries than these: what such a key signed beyond them may be of somebody who stole it after its end.

    Args:
        note: the signed checkpoint.
        below: size of the largest checkpoint that a pinned key signed.
        announced: the keys that entries below it announce.
    """
    try:
        opened = open_checkpoint(note, announced)
    except BadNote:
        return None
    return opened if opened.checkpoint.size <= below else None


def keys_announced(leaves: Iterable[bytes]) -> list[PublicKey]:
    """The keys for checkpoints that entries of the ledger announce; entries that cannot be read announce none."""
    found = []
    for leaf in leaves:
        if KEY_ADDED.encode() not in leaf:
            continue
        try:
            entry = json.loads(leaf)
            if (entry["type"], entry["data"]["use"]) == (KEY_ADDED, "checkpoint"):
                found.append(PublicKey.parse(entry["data"]["public"]))
        except (BadNote, KeyError, TypeError, ValueError, RecursionError):
            continue
    return found
