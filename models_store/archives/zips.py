"""Zip members, one at a time."""

import os
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from models_store.archives.directory import DEFLATED, ZipMember, find_directory, read_directory
from models_store.archives.limits import ArchiveLimits, Meter
from models_store.errors import ArchiveOverLimit, UnsafeArchive

__all__ = ["ZipMember", "ZipReader"]

CHUNK_BYTES = 1 << 18
_LOCAL = struct.Struct("<4s5H3L2H")
_HAS_DESCRIPTOR = 0x0008


class ZipReader:
    """The members of a zip archive. Construction reads the directory and refuses what is odd; reading checks the rest.

    Args:
        file: a seekable file.
        limits: what the archive may cost.

    Raises:
        UnsafeArchive: the directory holds something that is refused.
        ArchiveOverLimit: there are too many members.
    """

    def __init__(self, file: BinaryIO, limits: ArchiveLimits) -> None:
        self._file = file
        self._limits = limits
        size_bytes = file.seek(0, os.SEEK_END)
        self._meter = Meter(limits, size_bytes)
        directory = find_directory(file, size_bytes)
        entries = read_directory(file, directory, self._meter)
        self._data_starts = self._check_places(entries, directory.start)
        self.members: tuple[ZipMember, ...] = tuple(member for member in entries if not member.is_directory)

    def stream(self, member: ZipMember) -> Iterator[bytes]:
        """Read a member in pieces.

        Yields:
            Its bytes; the checksum is compared behind the last piece, so nothing may be used before.

        Raises:
            UnsafeArchive: the bytes are not what the directory says.
            ArchiveOverLimit: they are too many.
        """
        crc, size_bytes = 0, 0
        for chunk in self._inflated(member):
            size_bytes += len(chunk)
            if size_bytes > member.size_bytes:
                break
            self._meter.count_bytes(len(chunk))
            crc = zlib.crc32(chunk, crc)
            if chunk:
                yield chunk
        if size_bytes != member.size_bytes or crc != member.crc:
            raise UnsafeArchive(
                f"Expected {member.size_bytes:,} bytes with checksum {member.crc:08x} in {member.name!r}, got others.",
                member=member.name,
            )

    def read(self, member: ZipMember) -> bytes:
        """All bytes of a member.

        Raises:
            ArchiveOverLimit: it is larger than one member may be.
        """
        most = self._limits.max_member_bytes
        if member.size_bytes > most:
            raise ArchiveOverLimit(
                f"Expected members of at most {most:,} bytes, got {member.name!r} of {member.size_bytes:,}.",
                member=member.name,
            )
        return b"".join(self.stream(member))

    def _inflated(self, member: ZipMember) -> Iterator[bytes]:
        if member.method != DEFLATED:
            yield from self._packed(member)
            return
        inflater = zlib.decompressobj(wbits=-15)
        try:
            for packed in self._packed(member):
                pending = packed
                if inflater.eof:
                    raise UnsafeArchive(f"Expected one deflate stream in {member.name!r}, got bytes behind it.")
                while pending and not inflater.eof:
                    yield inflater.decompress(pending, CHUNK_BYTES)
                    pending = inflater.unconsumed_tail
            while not inflater.eof and (chunk := inflater.decompress(b"", CHUNK_BYTES)):
                yield chunk
        except zlib.error as error:
            raise UnsafeArchive(
                f"Expected deflated bytes in {member.name!r}, got damage.", member=member.name
            ) from error
        if not inflater.eof or inflater.unused_data:
            raise UnsafeArchive(
                f"Expected one deflate stream in {member.name!r}, got more or less.", member=member.name
            )

    def _packed(self, member: ZipMember) -> Iterator[bytes]:
        position, remaining = self._data_starts[member.offset], member.compressed_bytes
        while remaining:
            self._file.seek(position)
            chunk = self._file.read(min(CHUNK_BYTES, remaining))
            if not chunk:
                raise UnsafeArchive(f"Expected more bytes of {member.name!r}, got the end of the file.")
            position, remaining = position + len(chunk), remaining - len(chunk)
            yield chunk

    def _check_places(self, entries: list[ZipMember], directory_start: int) -> dict[int, int]:
        """Every member has bytes of its own: local header and data end before the next member begins.

        Raises:
            UnsafeArchive: two members share bytes, or other bytes stand before the first.
        """
        starts: dict[int, int] = {}
        boundaries = [*(member.offset for member in entries), directory_start][1:]
        for member, boundary in zip(entries, boundaries, strict=True):
            start = self._check_local(member)
            if start + member.compressed_bytes > boundary:
                raise UnsafeArchive(f"Expected members apart from each other, got {member.name!r} overlapping.")
            starts[member.offset] = start
        if entries and entries[0].offset != 0:
            raise UnsafeArchive(f"Expected the first member at byte 0, got {entries[0].offset:,}.")
        return starts

    def _check_local(self, member: ZipMember) -> int:
        """Compare the header before the data with the directory's; return where the data starts.

        Raises:
            UnsafeArchive: the two differ.
        """
        self._file.seek(member.offset)
        fixed = self._file.read(_LOCAL.size)
        if len(fixed) != _LOCAL.size or fixed[:4] != b"PK\x03\x04":
            raise UnsafeArchive(f"Expected a local header for {member.name!r}, got other bytes.", member=member.name)
        fields = _LOCAL.unpack(fixed)
        flags, method, crc, packed, size, name_bytes, extra_bytes = fields[2], fields[3], *fields[6:11]
        same = (flags, method) == (member.flags, member.method) and self._file.read(name_bytes) == member.raw_name
        if not flags & _HAS_DESCRIPTOR:
            # All ones: the value is in the zip64 field, which the directory's value stands for.
            pairs = [(packed, member.compressed_bytes), (size, member.size_bytes)]
            same &= crc == member.crc and all(here in {0xFFFFFFFF, there} for here, there in pairs)
        if not same:
            raise UnsafeArchive(f"Expected one description of {member.name!r}, got two.", member=member.name)
        return member.offset + _LOCAL.size + int(name_bytes) + int(extra_bytes)
