"""What a store of bytes can do, whatever it is made of."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, Protocol

from models_store.storage.writer import BlobWriter, StoredBlob

__all__ = ["OrphansRemoved", "Storage", "StoredBlob"]


@dataclass(frozen=True)
class OrphansRemoved:
    """What a clean-up took away."""

    blobs: tuple[str, ...]
    num_partial_files: int


class Storage(Protocol):
    """Content-addressed bytes. Every method taking a digest raises `MalformedDigest` or `UnknownBlob` for a bad one."""

    def writer(self, max_bytes: int) -> BlobWriter:
        """Open a writer for one blob; used in `with`, and nothing is kept unless it is committed."""

    def put(self, chunks: Iterable[bytes], max_bytes: int) -> StoredBlob:
        """Store all chunks as one blob; durable on return."""

    def open(self, sha256: str) -> BinaryIO:
        """Open a blob for reading; the caller closes it."""

    def size(self, sha256: str) -> int:
        """Size of a blob in bytes."""

    def path(self, sha256: str) -> Path:
        """A local, read-only file with the bytes of a blob."""

    def exists(self, sha256: str) -> bool:
        """Whether the blob is here; says nothing about its soundness."""

    def verify(self, sha256: str) -> StoredBlob:
        """Read the blob again and compare its digest."""

    def remove_orphans(self, keep: Callable[[str], bool], older_than: timedelta) -> OrphansRemoved:
        """Remove partial files and blobs that are older and that `keep` does not want."""
