"""Which kind of file this is, by content alone, and its members."""

import gzip
import zlib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from models_store.archives.limits import ArchiveLimits
from models_store.archives.tars import BLOCK_BYTES, is_tar_header, iterate_tar
from models_store.archives.zips import ZipReader
from models_store.errors import MalformedDataset, UnsafeArchive


class Format(StrEnum):
    """What a data set file can be."""

    ZIP = "zip"
    NPZ = "npz"
    TAR = "tar"
    TAR_GZ = "tar.gz"


class File(NamedTuple):
    """A regular file of an archive."""

    name: str
    content: bytes


def sniff(path: Path, limits: ArchiveLimits) -> Format:
    """Tell the format from the content; names and media types are not asked.

    Raises:
        MalformedDataset: it is none of the four.
        UnsafeArchive: it starts like a zip but is not a plain one.
    """
    with path.open("rb") as file:
        start = file.read(BLOCK_BYTES)
        if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            members = ZipReader(file, limits).members
            arrays = bool(members) and all(member.name.endswith(".npy") for member in members)
            return Format.NPZ if arrays else Format.ZIP
    if start.startswith(b"\x1f\x8b\x08"):
        return Format.TAR_GZ
    if is_tar_header(start):
        return Format.TAR
    raise MalformedDataset(f"Expected a zip, tar, tar.gz or npz file, got one that starts with {start[:8]!r}.")


def iterate_files(path: Path, limits: ArchiveLimits) -> Iterator[File]:
    """Read a zip, tar or tar.gz.

    Yields:
        Every regular file in the order of the archive, each whole and checked.

    Raises:
        MalformedDataset: it is no such archive.
        UnsafeArchive: it holds something that is refused, or is damaged.
        ArchiveOverLimit: it is over a limit.
    """
    kind = sniff(path, limits)
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        if kind in {Format.ZIP, Format.NPZ}:
            reader = ZipReader(file, limits)
            yield from (File(member.name, reader.read(member)) for member in reader.members)
        elif kind is Format.TAR:
            yield from (File(*member) for member in iterate_tar(file, limits, size_bytes))
        else:
            with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
                members = iterate_tar(unpacked, limits, size_bytes)  # type: ignore[arg-type]
                yield from _readable(File(*member) for member in members)


def _readable(files: Iterator[File]) -> Iterator[File]:
    try:
        yield from files
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UnsafeArchive("Expected a whole gzip stream, got a damaged one.") from error
