"""The central directory of a zip: where every member is, by the one reading that all tools share.

Only plain archives pass: one disk, the directory directly before the end record, no prefix, no gap, no comment that
hides a second end record. That leaves nothing for two readers to disagree on.
"""

import stat
import struct
from dataclasses import dataclass
from typing import BinaryIO

from models_store.archives.limits import Meter
from models_store.archives.names import checked_name
from models_store.errors import UnsafeArchive

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s4B4H3L5H2L")
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_ENCRYPTED_OR_ODD = 0x0001 | 0x0020 | 0x0040 | 0x2000
STORED, DEFLATED = 0, 8


@dataclass(frozen=True)
class ZipMember:
    """One member as the central directory describes it."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    compressed_bytes: int
    size_bytes: int
    offset: int
    is_directory: bool


@dataclass(frozen=True)
class Directory:
    """Place of the central directory in the file."""

    start: int
    size_bytes: int
    num_entries: int


def find_directory(file: BinaryIO, size_bytes: int) -> Directory:
    """Find the central directory from the end of the file.

    Raises:
        UnsafeArchive: there is none, or there is room for two readings.
    """
    tail_start = max(0, size_bytes - _END.size - _MAX16)
    file.seek(tail_start)
    tail = file.read(size_bytes - tail_start)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(tail):
        raise UnsafeArchive("Expected the end record of a zip archive, got none: the file is not whole.")
    _, disk, first_disk, here, entries, directory_bytes, start, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != len(tail):
        raise UnsafeArchive("Expected the file to end with its end record, got other bytes behind it.")
    if disk != 0 or first_disk != 0 or here != entries:
        raise UnsafeArchive("Expected a zip archive of one part, got one of several.")
    end = tail_start + at
    found = _find_directory64(file, end)
    if found is not None:
        pairs = (
            (entries, found.num_entries, _MAX16),
            (directory_bytes, found.size_bytes, _MAX32),
            (start, found.start, _MAX32),
        )
        if any(short not in {full, most} for short, full, most in pairs):
            raise UnsafeArchive("Expected the two end records of the zip archive to agree, got two readings.")
        return found
    if start + directory_bytes != end:
        raise UnsafeArchive(f"Expected the zip directory to end at byte {end:,}, got {start + directory_bytes:,}.")
    return Directory(start, directory_bytes, entries)


def _find_directory64(file: BinaryIO, end: int) -> Directory | None:
    if end < _END64_LOCATOR.size + _END64.size:
        return None
    file.seek(end - _END64_LOCATOR.size)
    magic, disk, record, disks = _END64_LOCATOR.unpack(file.read(_END64_LOCATOR.size))
    if magic != b"PK\x06\x07":
        return None
    if disk != 0 or disks != 1 or record != end - _END64_LOCATOR.size - _END64.size:
        raise UnsafeArchive("Expected the zip64 end record directly before its locator, got another place.")
    file.seek(record)
    magic, length, _, _, disk, first_disk, here, entries, size_bytes, start = _END64.unpack(file.read(_END64.size))
    if magic != b"PK\x06\x06" or length != _END64.size - 12 or disk or first_disk or here != entries:
        raise UnsafeArchive("Expected a plain zip64 end record, got another.")
    if start + size_bytes != record:
        raise UnsafeArchive(f"Expected the zip directory to end at byte {record:,}, got {start + size_bytes:,}.")
    return Directory(start, size_bytes, entries)


def read_directory(file: BinaryIO, directory: Directory, meter: Meter) -> list[ZipMember]:
    """Read every entry; sorted by place in the file, none overlapping by what the entries say.

    Raises:
        UnsafeArchive: an entry is refused, or two share bytes.
        ArchiveOverLimit: there are too many.
    """
    file.seek(directory.start)
    remaining = directory.size_bytes
    members = []
    while remaining:
        # Counted before anything is kept: the number in the end record is only a claim.
        meter.count_member()
        member, used = _read_entry(file, remaining)
        remaining -= used
        if not member.is_directory:
            meter.check_new(member.name)
        members.append(member)
    if len(members) != directory.num_entries:
        raise UnsafeArchive(f"Expected {directory.num_entries:,} zip entries, got {len(members):,}.")
    return sorted(members, key=lambda member: member.offset)


def _read_entry(file: BinaryIO, remaining: int) -> tuple[ZipMember, int]:
    fixed = file.read(_ENTRY.size) if remaining >= _ENTRY.size else b""
    if len(fixed) != _ENTRY.size or fixed[:4] != b"PK\x01\x02":
        raise UnsafeArchive("Expected an entry of the zip directory, got other bytes.")
    fields = _ENTRY.unpack(fixed)
    flags, method = fields[5], fields[6]
    crc, packed, size, name_bytes, extra_bytes, comment_bytes, disk, _, attributes, offset = fields[9:19]
    used = _ENTRY.size + name_bytes + extra_bytes + comment_bytes
    if used > remaining or disk not in {0, _MAX16}:
        raise UnsafeArchive("Expected zip entries within the directory and on one disk, got otherwise.")
    raw_name, extra = file.read(name_bytes), file.read(extra_bytes)
    file.seek(comment_bytes, 1)
    name = checked_name(raw_name)
    size, packed, offset = _widen(name, extra, size, packed, offset)
    is_directory = raw_name.endswith(b"/") or not name
    member = ZipMember(name, raw_name, flags, method, crc, packed, size, offset, is_directory)
    _check_kind(member, attributes >> 16)
    return member, used


def _widen(name: str, extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Replace fields of all ones by their 64-bit values from the zip64 extra field, in the order of the format."""
    values = [size, packed, offset]
    wanted = [index for index, value in enumerate(values) if value == _MAX32]
    if not wanted:
        return size, packed, offset
    field, position = b"", 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        if kind == 1:
            field = extra[position + 4 : position + 4 + length]
            break
        position += 4 + length
    if len(field) < 8 * len(wanted):
        raise UnsafeArchive(f"Expected 64-bit sizes for zip member {name!r}, got none.", member=name)
    for index, value in zip(wanted, struct.unpack_from(f"<{len(wanted)}Q", field), strict=True):
        values[index] = value
    return values[0], values[1], values[2]


def _check_kind(member: ZipMember, mode: int) -> None:
    # The mode counts whatever system is claimed: extractors differ in whether they look.
    kind = stat.S_IFMT(mode)
    name = member.name
    if member.flags & _ENCRYPTED_OR_ODD:
        raise UnsafeArchive(f"Expected plain zip members, got {name!r} encrypted or patched.", member=name)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise UnsafeArchive(f"Expected regular files only, got the link or device {name!r}.", member=name)
    if member.method not in {STORED, DEFLATED}:
        raise UnsafeArchive(f"Expected zip method stored or deflated, got {member.method} for {name!r}.", member=name)
    if member.method == STORED and member.compressed_bytes != member.size_bytes:
        raise UnsafeArchive(f"Expected one size for the stored member {name!r}, got two.", member=name)
    if member.is_directory and member.size_bytes:
        raise UnsafeArchive(f"Expected an empty folder entry, got {name!r} with bytes.", member=name)
