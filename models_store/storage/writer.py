"""One blob being written.

The order is the promise: write `tmp/<uuid>`, fsync the file, rename to `sha256/<aa>/<digest>`, fsync the directory,
and only then tell anyone the digest. A crash at any point leaves either no blob or a whole one.
"""

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

from core.errors import TooLarge
from models_store.storage.digests import hash_file


@dataclass(frozen=True)
class StoredBlob:
    """Bytes that are safely in the store."""

    sha256: str
    size_bytes: int


def fsync_directory(directory: Path) -> None:
    """Make the names in a directory survive a power loss."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Create a directory and its missing parents, each durable in its own parent."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    directory.mkdir(exist_ok=True)
    fsync_directory(directory.parent)


class BlobWriter:
    """Takes chunks, hashes them on the way, and becomes a blob on `commit`. Leaving `with` without it drops the bytes.

    Args:
        root: folder of the store.
        max_bytes: most bytes it takes.
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._size_bytes = 0
        self._digest = hashlib.sha256()
        make_directory(root / "tmp")
        self._temporary = root / "tmp" / str(uuid4())
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.fdopen(os.open(self._temporary, flags, 0o640), "wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    @property
    def size_bytes(self) -> int:
        """Bytes taken so far."""
        return self._size_bytes

    def write(self, chunk: bytes) -> None:
        """Take some bytes.

        Raises:
            TooLarge: they would be more than allowed; nothing of the blob remains.
        """
        if self._size_bytes + len(chunk) > self._max_bytes:
            self.abort()
            raise TooLarge(f"Expected at most {self._max_bytes:,} bytes, got more.", max_bytes=self._max_bytes)
        self._size_bytes += len(chunk)
        self._digest.update(chunk)
        self._file.write(chunk)

    @property
    def sha256(self) -> str:
        """Digest of the bytes so far: compare it with what the sender announced before `commit`."""
        return self._digest.hexdigest()

    def commit(self) -> StoredBlob:
        """Flush and name the blob; durable on return. A sound blob of this digest is kept, a damaged one replaced."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        blob = StoredBlob(self.sha256, self._size_bytes)
        target = self._root / "sha256" / blob.sha256[:2] / blob.sha256
        make_directory(target.parent)
        if target.is_file() and hash_file(target) == (blob.sha256, blob.size_bytes):
            # A new use makes an old blob young, else a clean-up could take it between this and the caller's commit.
            os.utime(target)
            self._temporary.unlink()
        else:
            self._temporary.replace(target)
        # Also for a blob already there: its writer may have died between rename and fsync.
        fsync_directory(target.parent)
        return blob

    def abort(self) -> None:
        """Drop everything written; harmless after `commit`."""
        with suppress(OSError):
            # Closing writes what is still buffered, which fails on a full disk; the descriptor is closed all the same.
            self._file.close()
        self._temporary.unlink(missing_ok=True)
