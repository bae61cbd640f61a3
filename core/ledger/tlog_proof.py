"""One entry's proof as a file (c2sp.org/tlog-proof): the leaf, where it stands, the hashes, the signed checkpoint.

c2sp.org/tlog-proof@v1
extra <base64 of the leaf>
index <number>
<base64 of a hash>, one line each, from the leaf upwards

<the checkpoint, verbatim>
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from core.ledger.checkpoints import open_checkpoint
from core.ledger.proofs import includes
from core.ledger.tree import leaf_hash
from core.signing.notes import BadNote, PublicKey

HEADER = "c2sp.org/tlog-proof@v1"
_FILE = re.compile(
    rf"{re.escape(HEADER)}\nextra ([A-Za-z0-9+/=]*)\nindex (0|[1-9][0-9]{{0,18}})\n"
    r"((?:[A-Za-z0-9+/]{43}=\n){0,63})\n(.*)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Proven:
    """An entry that a signed checkpoint covers."""

    leaf: bytes
    index: int
    size: int
    signers: tuple[PublicKey, ...]


def write_proof(leaf: bytes, index: int, hashes: Sequence[bytes], checkpoint: str) -> str:
    """The file."""
    lines = [HEADER, f"extra {base64.b64encode(leaf).decode()}", f"index {index}"]
    lines += [base64.b64encode(one).decode() for one in hashes]
    return "\n".join(lines) + "\n\n" + checkpoint


def check_proof(text: str, keys: Sequence[PublicKey]) -> Proven:
    """The entry that a file proves.

    Raises:
        BadNote: the file is malformed, its checkpoint is signed by none of the keys, or the hashes do not lead there.
    """
    match = _FILE.fullmatch(text)
    if match is None:
        msg = f"Expected a proof: {HEADER}, extra, index, hashes, a checkpoint."
        raise BadNote(msg)
    try:
        leaf = base64.b64decode(match[1], validate=True)
        hashes = [base64.b64decode(line, validate=True) for line in match[3].split()]
    except ValueError as error:
        msg = "Expected base64 in the proof."
        raise BadNote(msg) from error
    opened = open_checkpoint(match[4], keys)
    signed, index = opened.checkpoint, int(match[2])
    if not includes(leaf_hash(leaf), index, signed.size, hashes, signed.root):
        msg = f"The proof does not show entry {index} in the checkpoint of {signed.size} entries; one was changed."
        raise BadNote(msg)
    return Proven(leaf, index, signed.size, opened.signers)
