"""Files as an attacker would write them: byte by byte, without a library that would refuse."""

import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image


def safetensors_file(header: object, data: bytes = b"") -> bytes:
    """A safetensors file; a header given as bytes or text is taken as it is."""
    raw = header if isinstance(header, bytes) else (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def tensor(start: int, end: int, shape: Iterable[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def picture(height: int = 4, width: int = 5, mode: str = "RGB", seed: int = 0, form: str = "PNG") -> bytes:
    """A small image file of noise."""
    channels = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(file, form)
    return file.getvalue()


def plain_zip(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def plain_tar(members: Mapping[str, bytes], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


@dataclass
class RawMember:
    """A zip member with every field free to lie; None means the honest value."""

    name: bytes
    content: bytes = b"data"
    flags: int = 0
    method: int = 0
    mode: int = 0o100644
    size: int | None = None
    crc: int | None = None
    local_name: bytes | None = None
    offset: int | None = None
    packed: bytes | None = None
    extra: bytes = b""


def raw_zip(
    members: Iterable[RawMember], *, entries: int | None = None, prefix: bytes = b"", suffix: bytes = b""
) -> bytes:
    """A zip archive that says what it is told to say."""
    body, directory = bytearray(prefix), bytearray()
    members = list(members)
    for member in members:
        deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
        deflated = deflater.compress(member.content) + deflater.flush()
        packed = member.packed if member.packed is not None else (deflated if member.method == 8 else member.content)
        size = len(member.content) if member.size is None else member.size
        crc = zlib.crc32(member.content) if member.crc is None else member.crc
        offset = len(body) if member.offset is None else member.offset
        local_name = member.name if member.local_name is None else member.local_name
        common = struct.pack("<4H3L", member.flags, member.method, 0, 33, crc, len(packed), size)
        body += b"PK\x03\x04" + struct.pack("<H", 20) + common + struct.pack("<2H", len(local_name), 0)
        body += local_name + packed
        directory += b"PK\x01\x02" + struct.pack("<2H", 0x0314, 20) + common
        directory += struct.pack("<5H2L", len(member.name), len(member.extra), 0, 0, 0, member.mode << 16, offset)
        directory += member.name + member.extra
    total = len(members) if entries is None else entries
    end = b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, total, total, len(directory), len(body), 0)
    return bytes(body + directory + end + suffix)


def tar_block(name: bytes, size: int | bytes = 0, kind: bytes = b"0", content: bytes = b"", link: bytes = b"") -> bytes:
    """One tar member: header with a right checksum, then the content padded to blocks."""
    field = size if isinstance(size, bytes) else b"%011o\0" % size
    block = bytearray(name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + field.ljust(12, b"\0"))
    block += b"00000000000\0" + b" " * 8 + kind + link.ljust(100, b"\0") + b"ustar\x0000" + b"\0" * 247
    assert len(block) == 512
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + content + b"\0" * (-len(content) % 512)


def pax_block(records: Mapping[str, str], kind: bytes = b"x") -> bytes:
    body = b""
    for key, value in records.items():
        rest = f" {key}={value}\n".encode()
        length = next(n for n in range(len(rest), len(rest) + 9) if n == len(rest) + len(str(n)))
        body += str(length).encode() + rest
    return tar_block(b"pax", len(body), kind, body)


TAR_END = b"\0" * 1024
