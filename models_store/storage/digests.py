"""SHA-256 of files, and the only gate from a caller's digest string to a file name."""

import hashlib
import re
from pathlib import Path

from models_store.errors import MalformedDigest

CHUNK_BYTES = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


def check_sha256(text: str) -> str:
    """Return `text` if it is a digest as we write them; nothing else can ever become part of a path.

    Raises:
        MalformedDigest: it is not 64 lower-case hexadecimal digits.
    """
    if not _SHA256.fullmatch(text):
        raise MalformedDigest(f"Expected a SHA-256 as 64 lower-case hexadecimal digits, got {text[:80]!r}.")
    return text


def hash_file(path: Path) -> tuple[str, int]:
    """SHA-256 (hexadecimal) and size in bytes of a file, read in chunks; both from the same pass."""
    digest, size_bytes = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size_bytes += len(chunk)
    return digest.hexdigest(), size_bytes
