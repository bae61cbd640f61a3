"""Arrays from an npz file: the header is read and judged by us before a byte is reserved.

`numpy.load` would believe the header and reserve what it claims; and it can hold Python objects, which are never read.
"""

import ast
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models_store.archives import ZipMember, ZipReader
from models_store.datasets.sources import SPLITS, DatasetLimits, Source
from models_store.errors import ArchiveOverLimit, MalformedDataset

MAX_HEADER_BYTES = 4_096
IMAGE_TYPES = frozenset({"|u1", "<u1"})
LABEL_TYPES = frozenset({"|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<i8"})


class LabelledArrays(NamedTuple):
    """Images uint8 (N, H, W, C) and their class indices int64 (N,) of one split."""

    split: str
    member: str
    x: NDArray[np.uint8]
    y: NDArray[np.int64]


@dataclass(frozen=True)
class _ArrayHeader:
    dtype: str
    shape: tuple[int, ...]
    fortran_order: bool
    size_bytes: int


def iterate_arrays(source: Source, limits: DatasetLimits, only: str | None = None) -> Iterator[LabelledArrays]:
    """Read an npz file: `x` and `y` for a source with a split, else `x_train`, `y_train`, `x_test`, `y_test` and so on.

    Args:
        source: the file.
        limits: what it may cost.
        only: read no other split.

    Yields:
        One split at a time.

    Raises:
        MalformedDataset: names, types, shapes or values are not as expected, or the file is refused.
    """
    with source.path.open("rb") as file:
        reader = ZipReader(file, limits.archive)
        members = {member.name.removesuffix(".npy"): member for member in reader.members}
        for split in _splits(source, members):
            if only is not None and split != only:
                continue
            suffix = "" if source.split else f"_{split}"
            x = _images(_read(reader, members["x" + suffix], IMAGE_TYPES, limits.max_array_bytes), "x" + suffix)
            y = _indices(
                _read(reader, members["y" + suffix], LABEL_TYPES, limits.max_array_bytes), "y" + suffix, limits
            )
            if len(x) != len(y):
                raise MalformedDataset(f"Expected one label per image in split {split}, got {len(x)} and {len(y)}.")
            yield LabelledArrays(split, "x" + suffix, x, y)


def _splits(source: Source, members: dict[str, ZipMember]) -> tuple[str, ...]:
    known = {"x", "y"} if source.split else {f"{letter}_{split}" for split in SPLITS for letter in "xy"}
    for name in members:
        partner = {"x": "y", "y": "x"}.get(name[:1], "") + name[1:]
        if name not in known or partner not in members:
            wanted = "x and y" if source.split else "x_train, y_train, x_test, y_test (and x_validation, y_validation)"
            raise MalformedDataset(f"Expected the arrays {wanted}, got {sorted(members)[:10]}.", member=name)
    return (source.split,) if source.split else tuple(split for split in SPLITS if f"x_{split}" in members)


def _read(reader: ZipReader, member: ZipMember, dtypes: frozenset[str], max_bytes: int) -> NDArray[Any]:
    chunks = reader.stream(member)
    buffered = b""
    while len(buffered) < 12 and (chunk := next(chunks, b"")):
        buffered += chunk
    start = _header_end(buffered, member.name)
    while len(buffered) < start and (chunk := next(chunks, b"")):
        buffered += chunk
    header = _header(buffered[:start], member, dtypes)
    if header.size_bytes > max_bytes:
        raise ArchiveOverLimit(
            f"Expected arrays of at most {max_bytes:,} bytes, got {member.name!r} of {header.size_bytes:,}."
        )
    content = bytearray(buffered[start:])
    for chunk in chunks:
        content += chunk
    flat = np.frombuffer(content, dtype=np.dtype(header.dtype))
    return flat.reshape(header.shape, order="F" if header.fortran_order else "C")


def _header_end(start: bytes, name: str) -> int:
    if start[:6] != b"\x93NUMPY" or len(start) < 12 or start[6] not in {1, 2, 3}:
        raise MalformedDataset(f"Expected a NumPy array in {name!r}, got other bytes.", member=name)
    wide = start[6] > 1
    length: int = struct.unpack_from("<I" if wide else "<H", start, 8)[0]
    if length > MAX_HEADER_BYTES:
        raise MalformedDataset(
            f"Expected an array header of at most {MAX_HEADER_BYTES:,} bytes in {name!r}, got {length:,}.", member=name
        )
    return (12 if wide else 10) + length


def _header(raw: bytes, member: ZipMember, dtypes: frozenset[str]) -> _ArrayHeader:
    name = member.name
    try:
        fields = ast.literal_eval(raw[12 if raw[6] > 1 else 10 :].decode("utf-8").strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise MalformedDataset(f"Expected a readable array header in {name!r}, got another.", member=name) from error
    if not isinstance(fields, dict) or set(fields) != {"descr", "fortran_order", "shape"}:
        raise MalformedDataset(f"Expected descr, fortran_order and shape in {name!r}, got others.", member=name)
    dtype, order, shape = fields["descr"], fields["fortran_order"], fields["shape"]
    if not isinstance(dtype, str) or dtype not in dtypes:
        raise MalformedDataset(
            f"Expected {name!r} of type {', '.join(sorted(dtypes))}, got {str(dtype)[:40]!r}.", member=name
        )
    if not isinstance(shape, tuple) or len(shape) > 4 or not all(type(side) is int and side >= 0 for side in shape):
        raise MalformedDataset(f"Expected a shape of up to 4 sides in {name!r}, got {str(shape)[:80]}.", member=name)
    size_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    if type(order) is not bool or size_bytes != member.size_bytes - len(raw):
        raise MalformedDataset(
            f"Expected {size_bytes:,} bytes for {name!r} of shape {shape}, got {member.size_bytes - len(raw):,}.",
            member=name,
        )
    return _ArrayHeader(dtype, shape, order, size_bytes)


def _images(x: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if x.ndim == 3:
        x = x[..., np.newaxis]
    if x.ndim != 4 or x.shape[3] not in {1, 3} or 0 in x.shape:
        raise MalformedDataset(f"Expected {name} of shape (N, H, W) or (N, H, W, 1 or 3), got {x.shape}.", member=name)
    return x.view(np.uint8)


def _indices(y: NDArray[Any], name: str, limits: DatasetLimits) -> NDArray[np.int64]:
    if y.ndim != 1:
        raise MalformedDataset(f"Expected {name} of shape (N,), got {y.shape}.", member=name)
    y = y.astype(np.int64)
    if len(y) and not (int(y.min()) >= 0 and int(y.max()) < limits.max_labels):
        raise MalformedDataset(
            f"Expected class indices of 0 to {limits.max_labels - 1:,} in {name}, got {y.min()} to {y.max()}.",
            member=name,
        )
    return y
