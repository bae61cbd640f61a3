"""Tar members, one at a time and only forwards: without seeking there is no way to loop.

Names come from ustar (with prefix), GNU long names and pax `path`; sizes from the header or pax `size`. Everything that
is not a regular file or a folder is refused, not skipped: a link in a set of images is either a mistake or an attack.
"""

from collections.abc import Iterator
from typing import BinaryIO

from models_store.archives.limits import ArchiveLimits, Meter
from models_store.archives.names import checked_name
from models_store.errors import ArchiveOverLimit, UnsafeArchive

BLOCK_BYTES = 512
MAX_EXTENSION_BYTES = 64 << 10
_REGULAR, _DIRECTORY, _LONG_NAME, _PAX, _PAX_GLOBAL = {b"0", b"\0"}, b"5", b"L", b"x", b"g"


class _Stream:
    """Exact reads, each counted."""

    def __init__(self, file: BinaryIO, meter: Meter) -> None:
        self._file = file
        self._meter = meter

    def take(self, num_bytes: int) -> bytes:
        content = self._file.read(num_bytes)
        self._meter.count_bytes(len(content))
        if len(content) != num_bytes:
            raise UnsafeArchive(f"Expected {num_bytes:,} more bytes of the tar archive, got {len(content):,}.")
        return content

    def take_padded(self, num_bytes: int) -> bytes:
        return self.take(num_bytes + -num_bytes % BLOCK_BYTES)[:num_bytes]


def iterate_tar(file: BinaryIO, limits: ArchiveLimits, archive_bytes: int) -> Iterator[tuple[str, bytes]]:
    """Read the members forwards.

    Args:
        file: the uncompressed archive; read forwards.
        limits: what the archive may cost.
        archive_bytes: size as stored, for the compression ratio.

    Yields:
        Name and content of every regular file.

    Raises:
        UnsafeArchive: a member is refused, or the archive is not whole.
        ArchiveOverLimit: there are too many members or bytes.
    """
    meter = Meter(limits, archive_bytes)
    stream = _Stream(file, meter)
    overrides: dict[str, bytes] = {}
    while True:
        block = stream.take(BLOCK_BYTES)
        if not any(block):
            break
        meter.count_member()
        kind, size_bytes = block[156:157], _header_size(block)
        if kind in {_PAX, _PAX_GLOBAL, _LONG_NAME}:
            overrides |= _extension(kind, _extension_body(stream, size_bytes))
            continue
        raw_name = overrides.get("path", _plain_name(block))
        name = checked_name(raw_name)
        if "size" in overrides:
            size_bytes = _decimal(overrides["size"])
        overrides = {}
        if size_bytes == 0 and (kind == _DIRECTORY or (kind in _REGULAR and raw_name.endswith(b"/"))):
            continue
        if kind not in _REGULAR or not name:
            raise UnsafeArchive(f"Expected regular files only, got type {kind!r} for {name!r}.", member=name)
        if size_bytes > limits.max_member_bytes:
            raise ArchiveOverLimit(
                f"Expected members of at most {limits.max_member_bytes:,} bytes, got {name!r} of {size_bytes:,}.",
                member=name,
            )
        meter.check_new(name)
        yield name, stream.take_padded(size_bytes)
    _check_rest(file, meter)


def is_tar_header(block: bytes) -> bool:
    """Whether 512 bytes are a tar header by their checksum."""
    if len(block) != BLOCK_BYTES or not any(block):
        return False
    return _field(block[148:156]) == sum(block) - sum(block[148:156]) + 8 * 32


def _header_size(block: bytes) -> int:
    if not is_tar_header(block):
        raise UnsafeArchive("Expected a tar header with its checksum, got other bytes.")
    field = block[124:136]
    if field[0] & 0x80:
        # Base 256 for large sizes; 0xff would be a negative number.
        size = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big") if field[0] == 0x80 else -1
    else:
        size = _field(field)
    if size < 0:
        raise UnsafeArchive("Expected a non-negative size in a tar header, got another.")
    return size


def _field(field: bytes) -> int:
    digits = field.strip(b" \0")
    if not digits:
        return 0
    if not all(48 <= digit <= 55 for digit in digits):
        return -1
    return int(digits, 8)


def _decimal(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 18:
        raise UnsafeArchive("Expected a pax size of at most 18 digits, got another.")
    return int(digits)


def _plain_name(block: bytes) -> bytes:
    name = block[:100].partition(b"\0")[0]
    # Only POSIX ustar has a prefix; old GNU keeps other things in these bytes.
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _extension_body(stream: _Stream, size_bytes: int) -> bytes:
    if size_bytes > MAX_EXTENSION_BYTES:
        raise ArchiveOverLimit(f"Expected tar extensions of at most {MAX_EXTENSION_BYTES:,} bytes, got {size_bytes:,}.")
    return stream.take_padded(size_bytes)


def _extension(kind: bytes, body: bytes) -> dict[str, bytes]:
    if kind == _LONG_NAME:
        return {"path": body.rstrip(b"\0")}
    records = _pax_records(body)
    if any(key.startswith(b"GNU.sparse") for key in records):
        raise UnsafeArchive("Expected regular files only, got a sparse file.")
    wanted = {"path": records.get(b"path"), "size": records.get(b"size")}
    found = {key: value for key, value in wanted.items() if value is not None}
    if kind == _PAX_GLOBAL and found:
        raise UnsafeArchive("Expected names and sizes for single members, got them for all members.")
    return found


def _pax_records(body: bytes) -> dict[bytes, bytes]:
    records: dict[bytes, bytes] = {}
    while body:
        digits = body[:8].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        record = body[len(digits) + 1 : length]
        key, equals, value = record.partition(b"=")
        if not equals or length > len(body) or not value.endswith(b"\n") or key in records:
            raise UnsafeArchive("Expected pax records 'length key=value', each key once, got others.")
        records[key] = value[:-1]
        body = body[length:]
    return records


def _check_rest(file: BinaryIO, meter: Meter) -> None:
    """Behind the end there is only padding: other readers would go on and find more members.

    Raises:
        UnsafeArchive: there is more.
    """
    while block := file.read(BLOCK_BYTES * 32):
        meter.count_bytes(len(block))
        if any(block):
            raise UnsafeArchive("Expected only padding behind the end of the tar archive, got more.")
