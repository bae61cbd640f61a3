"""The file of signing keys: outside the database, readable by the service alone.

It holds every key ever used, so that what an old key signed can be checked when the database cannot be trusted. A key
has one use: `checkpoint` keys sign the ledger's checkpoints, `statement` keys receipts and attestations, `model` keys
the weights. A rotation adds a key of each use; the one before signs along until `valid_until`, and its private half
goes with the next rotation. Model signatures have room for one signer, which is the newest key.
"""

import base64
import json
import os
import secrets
import stat
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Literal, Self

from core.clock import to_rfc3339
from core.errors import Conflict, ServiceError
from core.signing.notes import ED25519, P256, BadNote, PrivateKey, PublicKey, is_key_name

FORMAT = "expunge-signing-keys/1"
Use = Literal["checkpoint", "statement", "model"]
USES: tuple[Use, ...] = ("checkpoint", "statement", "model")
KINDS: dict[Use, int] = {"checkpoint": ED25519, "statement": ED25519, "model": P256}
"""What each use signs with: the public format of model signatures knows no Ed25519."""
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Number of points of the curve (FIPS 186-5, SP 800-186 section 3.2.1.3)."""
FOREIGN_ACCESS = stat.S_IRWXO | stat.S_IWGRP
"""What nobody but the owner may do with the file; a group may read it, as mounted secrets need."""


class BadKeyFile(ServiceError):
    """The file of signing keys cannot be used."""

    slug = "bad-key-file"
    title = "The signing keys cannot be used"


class KeysExist(Conflict):
    """There are signing keys already."""

    slug = "signing-keys-exist"
    title = "Signing keys exist already"


@dataclass(frozen=True)
class Key:
    """A signing key with its validity; `seed` is None once its private half is gone."""

    use: Use
    public: PublicKey
    valid_from: datetime
    valid_until: datetime | None = None
    seed: bytes | None = None

    def __repr__(self) -> str:
        """Without the seed: this text reaches logs."""
        return f"Key({self.use}, {self.public.vkey})"

    def signs_at(self, moment: datetime) -> bool:
        """Whether it signs at this moment."""
        return self.seed is not None and (self.valid_until is None or moment < self.valid_until)


@dataclass(frozen=True)
class Keyring:
    """Every key of one ledger, oldest first."""

    origin: str
    keys: tuple[Key, ...]

    def publics(self, use: Use) -> list[PublicKey]:
        """The public halves of all keys of a use, oldest first."""
        return [key.public for key in self.keys if key.use == use]

    def signers(self, use: Use, moment: datetime | None = None) -> list[PrivateKey]:
        """The keys that sign now, the newest first."""
        moment = moment or datetime.now(UTC)
        signing = [key for key in self.keys if key.use == use and key.signs_at(moment)]
        kind = KINDS[use]
        return [
            PrivateKey.from_seed(key.public.name, key.seed, kind) for key in reversed(signing) if key.seed is not None
        ]

    @classmethod
    def first(cls, origin: str, *, now: datetime, retired: tuple[Key, ...] = ()) -> Self:
        """A new ring for a ledger that is called `origin`, which is also the name of its first checkpoint key.

        Raises:
            BadKeyFile: that is no name for a key, or a retired key has it.
        """
        if not is_key_name(origin) or len(origin) > 200:
            msg = f"Expected a name without spaces and plus signs, such as unlearn.example.com/audit, got {origin!r}."
            raise BadKeyFile(msg)
        names = {key.public.name for key in retired}
        made = tuple(_new_key(use, _name(origin, use, 1), now) for use in USES)
        if taken := sorted(names & {key.public.name for key in made}):
            msg = f"Expected a new origin, got one whose key {taken[0]} was lost; choose another name."
            raise BadKeyFile(msg)
        return cls(origin, (*retired, *made))

    def rotated(self, *, now: datetime, until: datetime) -> Self:
        """The ring with a new key of each use; keys that sign now do so until `until`, older ones lose their half."""
        keys = []
        for key in self.keys:
            if not key.signs_at(now):
                keys.append(replace(key, seed=None))
            elif key.valid_until is None:
                keys.append(replace(key, valid_until=until))
            else:
                keys.append(key)
        taken = {key.public.name for key in self.keys}
        for use in USES:
            names = (_name(self.origin, use, number) for number in count(2))
            keys.append(_new_key(use, next(name for name in names if name not in taken), now))
        return replace(self, keys=tuple(keys))


class KeyFile:
    """Reads the file again when it has changed, so that a rotation needs no restart."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: tuple[tuple[int, ...], Keyring] | None = None

    def current(self) -> Keyring | None:
        """The keys as the file has them; None if there is no file.

        Raises:
            BadKeyFile: it is there and cannot be used.
        """
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            msg = f"Expected to read the file of signing keys, got refused: {error.strerror}."
            raise BadKeyFile(msg) from error
        mark = (found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode)
        if self._known is None or self._known[0] != mark:
            self._known = (mark, load(self.path))
        return self._known[1]


def load(path: Path) -> Keyring:
    """The keys in a file.

    Raises:
        BadKeyFile: others may read or change it, or it does not follow the format.
    """
    try:
        if path.stat().st_mode & FOREIGN_ACCESS:
            msg = "Expected a file of signing keys that only its owner can read and change; run chmod 600 on it."
            raise BadKeyFile(msg)
        content = json.loads(path.read_bytes())
        if content["format"] != FORMAT:
            msg = f"Expected a key file of format {FORMAT}, got {content['format']!r}."
            raise BadKeyFile(msg)
        return Keyring(str(content["origin"]), tuple(_parsed(one) for one in content["keys"]))
    except OSError as error:
        msg = f"Expected to read the file of signing keys, got refused: {error.strerror}."
        raise BadKeyFile(msg) from error
    except (KeyError, TypeError, ValueError) as error:
        # The parser's words could quote a secret.
        msg = f"Expected signing keys in their file, got something else ({type(error).__name__})."
        raise BadKeyFile(msg) from None


def write(path: Path, ring: Keyring, *, replacing: bool) -> None:
    """Write the file, whole or not at all, readable by its owner alone.

    Raises:
        KeysExist: it is there and must not be replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"format": FORMAT, "origin": ring.origin, "keys": [_shown(key) for key in ring.keys]}
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(draft, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(json.dumps(content, indent=1).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if replacing:
            draft.replace(path)
        else:
            os.link(draft, path)
    except FileExistsError as error:
        msg = f"Expected no signing keys at {path} yet, got some; `expunge keys rotate` makes new ones."
        raise KeysExist(msg) from error
    finally:
        draft.unlink(missing_ok=True)


def _new_key(use: Use, name: str, now: datetime) -> Key:
    # Not every 32 bytes are a scalar of P-256.
    seed = secrets.token_bytes(32) if KINDS[use] == ED25519 else (1 + secrets.randbelow(P256_ORDER - 1)).to_bytes(32)
    return Key(use, PrivateKey.from_seed(name, seed, KINDS[use]).public, valid_from=now, seed=seed)


def _name(origin: str, use: Use, number: int) -> str:
    base = origin if use == "checkpoint" else f"{origin}/{use}s"
    return base if number == 1 else f"{base}-{number}"


def _shown(key: Key) -> dict[str, Any]:
    return {
        "use": key.use,
        "public": key.public.vkey,
        "valid_from": to_rfc3339(key.valid_from),
        "valid_until": to_rfc3339(key.valid_until) if key.valid_until else None,
        "private": base64.b64encode(key.seed).decode() if key.seed is not None else None,
    }


def _parsed(one: dict[str, Any]) -> Key:
    public = PublicKey.parse(one["public"])
    seed = base64.b64decode(one["private"], validate=True) if one["private"] is not None else None
    if KINDS.get(one["use"]) != public.kind:
        msg = "a key is not of the kind that its use needs"
        raise BadNote(msg)
    if seed is not None and PrivateKey.from_seed(public.name, seed, public.kind).public != public:
        msg = "a key does not belong to its public half"
        raise BadNote(msg)
    until = one["valid_until"]
    return Key(
        one["use"],
        public,
        valid_from=datetime.fromisoformat(one["valid_from"]),
        valid_until=datetime.fromisoformat(until) if until is not None else None,
        seed=seed,
    )
