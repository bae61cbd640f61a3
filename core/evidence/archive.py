"""Zip files in one spelling: nothing compressed, nothing optional, names sorted, the first day of 1980 as every date.

So the same files are the same bytes, no file can be larger inside than outside, and a bundle that was taken apart and
packed again is told from the one that was sent: whoever reads compares with what `pack` would have written.
"""

import re
import struct
import zlib
from collections.abc import Mapping

MAX_BYTES = 64 << 20
MAX_FILES = 10_000
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
ZIP_MARK = b"PK"
LOCAL_MARK, CENTRAL_MARK, END_MARK = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
VERSION, FIRST_DAY, REGULAR_FILE = 10, 0x21, 0o100644 << 16
PLAIN_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


class BadArchive(ValueError):
    """A zip file that is no bundle as it was sent; the text says why."""


def pack(files: Mapping[str, bytes]) -> bytes:
    """The zip file with these files.

    Raises:
        ValueError: a name is no plain relative path.
    """
    body, directory, offset = [], [], 0
    for name in sorted(files):
        if not PLAIN_PATH.fullmatch(name):
            msg = f"Expected plain relative paths in a bundle, got {name!r}."
            raise ValueError(msg)
        content, encoded = files[name], name.encode()
        sizes = (zlib.crc32(content), len(content), len(content))
        facts = (VERSION, 0, 0, 0, FIRST_DAY, *sizes, len(encoded), 0)
        body += [_LOCAL.pack(LOCAL_MARK, *facts), encoded, content]
        made_by = 3 << 8 | VERSION
        directory.append(_CENTRAL.pack(CENTRAL_MARK, made_by, *facts, 0, 0, 0, REGULAR_FILE, offset) + encoded)
        offset += _LOCAL.size + len(encoded) + len(content)
    listed = b"".join(directory)
    end = _END.pack(END_MARK, 0, 0, len(files), len(files), len(listed), offset, 0)
    return b"".join([*body, listed, end])


def is_archive(content: bytes) -> bool:
    """Whether this is, or was before it was changed, a zip file: it begins as one, or ends as one."""
    return content.startswith(ZIP_MARK) or content[-_END.size :].startswith(END_MARK)


def unpack(content: bytes) -> dict[str, bytes]:
    """The files in a zip file that `pack` made.

    Raises:
        BadArchive: it was changed, cut off or packed again, or would be dangerous to unpack.
    """
    if len(content) > MAX_BYTES:
        msg = f"The bundle has {len(content):,} bytes; no bundle has more than {MAX_BYTES:,}."
        raise BadArchive(msg)
    if not content.startswith(ZIP_MARK):
        msg = "The bundle does not begin as one: it was changed, cut off, or something was put before it."
        raise BadArchive(msg)
    files: dict[str, bytes] = {}
    position = 0
    while content[position : position + 4] == LOCAL_MARK and len(files) <= MAX_FILES:
        position = _read_file(content, position, files)
    if len(files) > MAX_FILES:
        msg = f"The bundle holds more than {MAX_FILES:,} files; no bundle does."
        raise BadArchive(msg)
    if content[position : position + 4] != CENTRAL_MARK or content[-_END.size :][:4] != END_MARK:
        msg = "The bundle breaks off or was changed: where its list of files should stand, or end, is something else."
        raise BadArchive(msg)
    if pack(files) != content:
        msg = "The bundle was changed or packed again: these bytes are not how the service writes these files."
        raise BadArchive(msg)
    return files


def _read_file(content: bytes, position: int, files: dict[str, bytes]) -> int:
    header = content[position : position + _LOCAL.size]
    if len(header) < _LOCAL.size:
        msg = "The bundle breaks off in the header of a file: it was truncated."
        raise BadArchive(msg)
    numbers: tuple[int, ...] = _LOCAL.unpack(header)[2:]
    flags, method, _, _, crc, packed, size, num_name, num_extra = numbers
    start = position + _LOCAL.size + num_name
    if start > len(content):
        msg = "The bundle breaks off in the name of a file: it was truncated."
        raise BadArchive(msg)
    name = content[position + _LOCAL.size : start].decode("utf-8", "backslashreplace")
    if not PLAIN_PATH.fullmatch(name):
        msg = f"The bundle names a file {name[:120]!r}, which is no plain relative path; nothing was unpacked."
        raise BadArchive(msg)
    if flags or method or num_extra or packed != size:
        msg = f"The bundle was packed again by another program: {name} is compressed or has fields that we never write."
        raise BadArchive(msg)
    if start + size > len(content):
        msg = f"The bundle breaks off in {name}: it was truncated."
        raise BadArchive(msg)
    if name in files:
        msg = f"The bundle holds {name} twice; which one was meant cannot be told."
        raise BadArchive(msg)
    files[name] = content[start : start + size]
    if zlib.crc32(files[name]) != crc:
        msg = f"The bytes of {name} are not those that were packed: the bundle was changed or damaged."
        raise BadArchive(msg)
    return start + size
