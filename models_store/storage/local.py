"""The store as a folder: `sha256/<first two>/<digest>` for blobs, `tmp/<uuid>` for those being written."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

from core.errors import DigestMismatch
from models_store.errors import MalformedDigest, UnknownBlob
from models_store.storage.digests import check_sha256, hash_file
from models_store.storage.protocol import OrphansRemoved
from models_store.storage.writer import BlobWriter, StoredBlob, fsync_directory, make_directory


class LocalStorage:
    """Content-addressed files under one folder of a local file system.

    Args:
        root: the folder; created when missing.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        make_directory(self._root)

    def writer(self, max_bytes: int) -> BlobWriter:
        """Open a writer for one blob; used in `with`, and nothing is kept unless it is committed."""
        return BlobWriter(self._root, max_bytes)

    def put(self, chunks: Iterable[bytes], max_bytes: int) -> StoredBlob:
        """Store all chunks as one blob; stops taking chunks at the first one over the limit.

        Raises:
            TooLarge: there are more than `max_bytes`.
        """
        with self.writer(max_bytes) as writer:
            for chunk in chunks:
                writer.write(chunk)
            return writer.commit()

    def path(self, sha256: str) -> Path:
        """The file of a blob; not to be written to.

        Raises:
            UnknownBlob: there is none.
        """
        path = self._place(sha256)
        if not path.is_file():
            raise UnknownBlob(f"Expected stored bytes with SHA-256 {sha256}, got none.")
        return path

    def open(self, sha256: str) -> BinaryIO:
        """Open a blob for reading; the caller closes it."""
        return self.path(sha256).open("rb")

    def size(self, sha256: str) -> int:
        """Size of a blob in bytes."""
        return self.path(sha256).stat().st_size

    def exists(self, sha256: str) -> bool:
        """Whether the blob is here; says nothing about its soundness."""
        return self._place(sha256).is_file()

    def verify(self, sha256: str) -> StoredBlob:
        """Read the whole blob and compare its digest.

        Raises:
            DigestMismatch: the bytes have changed since they were stored.
        """
        found, size_bytes = hash_file(self.path(sha256))
        if found != sha256:
            raise DigestMismatch(f"Expected stored bytes with SHA-256 {sha256}, got {found} ({size_bytes:,} bytes).")
        return StoredBlob(sha256, size_bytes)

    def remove(self, sha256: str) -> bool:
        """Remove a blob for good; durable on return. Whether it was there: removing twice is no error."""
        place = self._place(sha256)
        try:
            place.unlink()
        except FileNotFoundError:
            return False
        fsync_directory(place.parent)
        return True

    def listing(self) -> dict[str, Any]:
        """What is in the store now, in a form that two moments can be compared by.

        Returns:
            `num_blobs`, `num_partial` (files not announced yet) and `sha256` of the listing: for every blob in order
            its digest, a space, its size in decimal and a line feed.
        """
        listed, count = hashlib.sha256(), 0
        for file in self._files("sha256/*/*"):
            listed.update(f"{file.name} {file.stat().st_size}\n".encode())
            count += 1
        return {
            "num_blobs": count,
            "num_partial": sum(1 for _ in self._files("tmp/*")),
            "sha256": listed.hexdigest(),
        }

    def remove_orphans(self, keep: Callable[[str], bool], older_than: timedelta) -> OrphansRemoved:
        """Remove partial files and blobs last used longer ago than `older_than` that `keep` does not want.

        `older_than` must exceed the longest time between `put` and the commit of the row that names the blob.
        """
        deadline = time.time() - older_than.total_seconds()
        partial = [file for file in self._files("tmp/*") if _is_older(file, deadline)]
        for file in partial:
            file.unlink(missing_ok=True)
        removed = []
        for file in self._files("sha256/*/*"):
            # Age is asked again after `keep`: a `put` of the same bytes in between makes the blob young.
            if _is_older(file, deadline) and not self._is_kept(file, keep) and _is_older(file, deadline):
                file.unlink(missing_ok=True)
                removed.append(file.name)
        return OrphansRemoved(tuple(removed), len(partial))

    def _place(self, sha256: str) -> Path:
        check_sha256(sha256)
        return self._root / "sha256" / sha256[:2] / sha256

    def _files(self, pattern: str) -> Iterator[Path]:
        return (file for file in sorted(self._root.glob(pattern)) if file.is_file())

    @staticmethod
    def _is_kept(file: Path, keep: Callable[[str], bool]) -> bool:
        try:
            return keep(check_sha256(file.name))
        except MalformedDigest:
            # Not ours, so not ours to delete.
            return True


def _is_older(file: Path, deadline: float) -> bool:
    try:
        return file.stat().st_mtime < deadline
    except FileNotFoundError:
        return False
