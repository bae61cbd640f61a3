"""Signed notes of C2SP (c2sp.org/signed-note), and the cosignatures of witnesses (c2sp.org/tlog-cosignature).

A note is text, a blank line and signature lines. Rules: the signed bytes are the text with its last newline and without
the blank line; a line counts only if name and key id are those of a key that the verifier brought along; a line of such
a key that does not verify makes the whole note void; lines of other keys are passed over.
"""

import base64
import binascii
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from core.signing.curves import is_ed25519_signature, is_p256_signature

ED25519 = 0x01
"""Type byte of a key that signs notes."""
P256 = 0x02
"""Type byte of a key that signs models and never a note; its public half is a compressed point."""
COSIGNATURE = 0x04
"""Type byte of a witness's key: an Ed25519 signature over a time and the note."""
KEY_BYTES = {ED25519: 32, P256: 33, COSIGNATURE: 32}
"""Length of the public half of each kind."""
DASH = "\N{EM DASH}"
MAX_NOTE_CHARACTERS = 65_536
MAX_LINES = 64


class BadNote(ValueError):
    """A note, a key or a signature that does not follow its format, or does not verify; the text says which."""


@dataclass(frozen=True)
class PublicKey:
    """A verifier's key: what stands in `name+id+key`."""

    name: str
    kind: int
    public: bytes
    """As many bytes as `KEY_BYTES` says."""

    @property
    def key_id(self) -> bytes:
        """SHA-256(name || 0x0A || kind || key), the first 4 bytes."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    @property
    def vkey(self) -> str:
        """The text by which people pin the key."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(bytes([self.kind]) + self.public).decode()}"

    @classmethod
    def parse(cls, vkey: str) -> Self:
        """The key that a text names.

        Raises:
            BadNote: it is not `name+id+key`, its id is another key's, or its kind is unknown.
        """
        name, _, rest = vkey.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        material = _decoded(encoded, "a public key as name+id+key")
        if not is_key_name(name) or len(material) - 1 != KEY_BYTES.get(material[0] if material else 0):
            msg = f"Expected a public key as name+id+key, got {vkey[:120]!r}."
            raise BadNote(msg)
        key = cls(name, material[0], material[1:])
        if key.key_id.hex() != key_id:
            msg = f"Expected the id {key.key_id.hex()} in the public key of {name}, got {key_id[:16]!r}."
            raise BadNote(msg)
        return key

    def is_signature(self, signature: bytes, message: bytes) -> bool:
        """Whether the bytes are this key's signature of the message: 64 bytes of Ed25519, or DER of ECDSA."""
        if self.kind == P256:
            return is_p256_signature(self.public, signature, message)
        return is_ed25519_signature(self.public, signature, message)


@dataclass(frozen=True)
class PrivateKey:
    """A signer's key; its text never shows the secret."""

    name: str
    secret: Ed25519PrivateKey | ec.EllipticCurvePrivateKey

    @classmethod
    def from_seed(cls, name: str, seed: bytes, kind: int = ED25519) -> Self:
        """The key of a 32-byte seed: RFC 8032 section 5.1.5, or a P-256 scalar in big-endian bytes.

        Raises:
            ValueError: the seed is not 32 bytes, or no scalar of the curve.
        """
        if kind == P256:
            return cls(name, ec.derive_private_key(int.from_bytes(seed), ec.SECP256R1()))
        return cls(name, Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def public(self) -> PublicKey:
        """Its public half."""
        if isinstance(self.secret, Ed25519PrivateKey):
            return PublicKey(self.name, ED25519, self.secret.public_key().public_bytes_raw())
        point = self.secret.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        return PublicKey(self.name, P256, point)

    def sign(self, message: bytes) -> bytes:
        """The signature: 64 bytes of Ed25519, the same every time; or DER of ECDSA, another one every time."""
        if isinstance(self.secret, Ed25519PrivateKey):
            return self.secret.sign(message)
        return self.secret.sign(message, ec.ECDSA(SHA256()))


@dataclass(frozen=True)
class SignatureLine:
    """One line below a note."""

    name: str
    key_id: bytes
    payload: bytes

    def __str__(self) -> str:
        """The line as it stands in a note, without its newline."""
        return f"{DASH} {self.name} {base64.b64encode(self.key_id + self.payload).decode()}"

    @classmethod
    def parse(cls, line: str) -> Self:
        """The line that a text is.

        Raises:
            BadNote: it is not one.
        """
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != DASH or not is_key_name(parts[1]):
            msg = f"Expected a signature line {DASH} name base64, got {line[:120]!r}."
            raise BadNote(msg)
        material = _decoded(parts[2], "a signature")
        if len(material) <= 4:
            msg = f"Expected a signature line of more than 4 bytes, got {len(material)}."
            raise BadNote(msg)
        return cls(parts[1], material[:4], material[4:])


@dataclass(frozen=True)
class Note:
    """A text and the signature lines below it."""

    text: str
    lines: tuple[SignatureLine, ...]

    def __str__(self) -> str:
        """The note verbatim."""
        return self.text + "\n" + "".join(f"{line}\n" for line in self.lines)

    @classmethod
    def parse(cls, note: str) -> Self:
        """The note that a text is.

        Raises:
            BadNote: it has no text, no blank line, no signature line, or is over the limits.
        """
        text, gap, below = note.rpartition("\n\n")
        lines = below.split("\n")
        if len(note) > MAX_NOTE_CHARACTERS or not gap or not text or lines.pop() != "" or not lines:
            msg = "Expected a signed note: text, a blank line, signature lines, each with its newline."
            raise BadNote(msg)
        if len(lines) > MAX_LINES or not all(letter == "\n" or letter >= " " for letter in text):
            msg = f"Expected a signed note without control characters and with at most {MAX_LINES} signature lines."
            raise BadNote(msg)
        return cls(text + "\n", tuple(SignatureLine.parse(line) for line in lines))

    def signers(self, keys: Sequence[PublicKey]) -> list[PublicKey]:
        """Which of the keys signed it.

        Raises:
            BadNote: a line names one of the keys and is not its signature.
        """
        found = []
        for line in self.lines:
            key = _key_of(line, keys)
            if key is None:
                continue
            if not _verifies(line, key, self.text.encode()):
                msg = f"The signature of {key.name} does not fit the text: one of the two was changed."
                raise BadNote(msg)
            found.append(key)
        return found


def sign(text: str, keys: Sequence[PrivateKey]) -> Note:
    """A note with a signature line of every key, in their order; the text ends with a newline."""
    lines = [SignatureLine(key.name, key.public.key_id, key.sign(text.encode())) for key in keys]
    return Note(text, tuple(lines))


def cosign(text: str, name: str, key: PrivateKey, *, at: int) -> SignatureLine:
    """A witness's line below a note, at a time in seconds since 1970."""
    public = PublicKey(name, COSIGNATURE, key.public.public)
    return SignatureLine(name, public.key_id, struct.pack(">Q", at) + key.sign(_witnessed(text.encode(), at)))


def cosigned_at(line: SignatureLine) -> int:
    """The time that a witness's line states, seconds since 1970; not checked here.

    Raises:
        BadNote: the line is too short to state one.
    """
    if len(line.payload) != 72:
        msg = f"Expected a cosignature of 72 bytes after the key id, got {len(line.payload)}."
        raise BadNote(msg)
    return int(struct.unpack(">Q", line.payload[:8])[0])


def is_key_name(name: str) -> bool:
    """Whether a key may be called so: not empty, no space of any kind, no plus sign, nothing unprintable."""
    return bool(name) and "+" not in name and name.isprintable() and not any(letter.isspace() for letter in name)


def _key_of(line: SignatureLine, keys: Sequence[PublicKey]) -> PublicKey | None:
    fitting = (key for key in keys if key.name == line.name and key.key_id == line.key_id)
    return next(fitting, None)


def _verifies(line: SignatureLine, key: PublicKey, text: bytes) -> bool:
    if key.kind == ED25519:
        return key.is_signature(line.payload, text)
    if len(line.payload) != 72:
        return False
    return key.is_signature(line.payload[8:], _witnessed(text, cosigned_at(line)))


def _witnessed(text: bytes, at: int) -> bytes:
    return f"cosignature/v1\ntime {at}\n".encode() + text


def _decoded(text: str, what: str) -> bytes:
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        msg = f"Expected base64 in {what}, got {text[:60]!r}."
        raise BadNote(msg) from error
    # Two spellings of the same bytes would be two notes of one text.
    if base64.b64encode(decoded).decode() != text:
        msg = f"Expected canonical base64 in {what}, got {text[:60]!r}."
        raise BadNote(msg)
    return decoded
