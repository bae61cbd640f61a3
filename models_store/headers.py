"""Strict check of a safetensors header: no torch, no safetensors, nothing allocated by what the file claims.

The format: 8 bytes little-endian header length, a JSON object, then the tensors' bytes. Readers differ in what they
forgive (duplicate keys, gaps, trailing bytes), so a file is taken only if no reader could understand it differently:
every rule here refuses something that some reader would let pass.
"""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NoReturn

from models_store.errors import MalformedWeights

MAX_HEADER_BYTES = 2 << 20
"""ResNet-152 needs under 100 KiB."""
MAX_TENSORS = 5_000
MAX_DIMENSIONS = 16
MAX_NAME_LENGTH = 512
MAX_INTEGER_DIGITS = 18
ITEM_BYTES: Mapping[str, int] = MappingProxyType({
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
})
"""Element types taken, with their size in bytes; floats of 8 bits and fewer are quantised weights and are not."""

_FIELDS = {"dtype", "shape", "data_offsets"}


@dataclass(frozen=True)
class TensorHeader:
    """One tensor as the header describes it; `start` and `end` count from the first byte after the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class WeightsHeader:
    """A header that passed every check; tensors in the order of their bytes."""

    tensors: tuple[TensorHeader, ...]
    metadata: Mapping[str, str]
    data_start: int

    @property
    def num_values(self) -> int:
        """Elements of all tensors together."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors)


def read_header_of(path: Path) -> WeightsHeader:
    """Check the header of a file.

    Raises:
        MalformedWeights: the file breaks a rule of the format or of this module.
    """
    with path.open("rb") as file:
        return read_header(file, path.stat().st_size)


def read_header(stream: BinaryIO, size_bytes: int) -> WeightsHeader:
    """Check the header at the start of a stream that will hold `size_bytes` bytes in all.

    Raises:
        MalformedWeights: it breaks a rule of the format or of this module.
    """
    prefix = stream.read(8)
    if len(prefix) != 8:
        raise MalformedWeights(f"Expected 8 bytes of header length, got a file of {len(prefix)} byte(s).")
    (length,) = struct.unpack("<Q", prefix)
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise MalformedWeights(f"Expected a header of 2 to {MAX_HEADER_BYTES:,} bytes, got a length of {length:,}.")
    data_bytes = size_bytes - 8 - length
    raw = stream.read(length)
    if data_bytes < 0 or len(raw) != length:
        raise MalformedWeights(f"Expected a header of {length:,} bytes, got a file of {size_bytes:,} bytes.")
    document = _parse(raw)
    metadata = _metadata(document.pop("__metadata__", {}))
    if not 1 <= len(document) <= MAX_TENSORS:
        raise MalformedWeights(f"Expected 1 to {MAX_TENSORS:,} tensors, got {len(document):,}.")
    tensors = sorted((_tensor(name, entry) for name, entry in document.items()), key=lambda t: (t.start, t.end, t.name))
    _check_cover(tensors, data_bytes)
    return WeightsHeader(tuple(tensors), MappingProxyType(metadata), 8 + length)


def _parse(raw: bytes) -> dict[str, Any]:
    if raw[:1] != b"{":
        raise MalformedWeights(f"Expected a header that starts with '{{', got {raw[:1]!r}.")
    try:
        document = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_refuse_number,
            parse_float=_refuse_number,
            parse_int=_integer,
        )
    except UnicodeDecodeError as error:
        raise MalformedWeights(f"Expected a UTF-8 header, got byte {raw[error.start]:#x} at {error.start}.") from error
    except json.JSONDecodeError as error:
        raise MalformedWeights(f"Expected a JSON header, got {error.msg} at character {error.pos}.") from error
    except RecursionError as error:
        raise MalformedWeights("Expected a header of two levels, got one nested too deep to read.") from error
    if not isinstance(document, dict):
        raise MalformedWeights(f"Expected a JSON object, got {type(document).__name__}.")
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise MalformedWeights(f"Expected every key once, got {twice[:80]!r} more than once.")
    return members


def _refuse_number(text: str) -> NoReturn:
    raise MalformedWeights(f"Expected integers only, got the number {text[:40]}.")


def _integer(text: str) -> int:
    if len(text) > MAX_INTEGER_DIGITS:
        raise MalformedWeights(f"Expected integers of at most {MAX_INTEGER_DIGITS} digits, got {len(text)} digits.")
    return int(text)


def _metadata(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise MalformedWeights("Expected __metadata__ to map strings to strings, got something else.")
    for key, text in value.items():
        if not _is_unicode(key) or not _is_unicode(text):
            raise MalformedWeights("Expected well-formed Unicode in __metadata__, got a lone surrogate.")
    return value


def _is_unicode(text: str) -> bool:
    return not any(0xD800 <= ord(character) <= 0xDFFF for character in text)


def _tensor(name: str, entry: object) -> TensorHeader:
    if not 1 <= len(name) <= MAX_NAME_LENGTH or not name.isprintable():
        raise MalformedWeights(
            f"Expected a printable tensor name of 1 to {MAX_NAME_LENGTH} characters, got {name[:80]!r}."
        )
    if not isinstance(entry, dict) or set(entry) != _FIELDS:
        raise MalformedWeights(f"Expected dtype, shape and data_offsets for tensor {name!r}, got something else.")
    dtype = entry["dtype"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise MalformedWeights(f"Expected a dtype of {', '.join(ITEM_BYTES)} for {name!r}, got {str(dtype)[:40]!r}.")
    shape = _counts(name, "shape", entry["shape"])
    if len(shape) > MAX_DIMENSIONS:
        raise MalformedWeights(f"Expected at most {MAX_DIMENSIONS} dimensions for {name!r}, got {len(shape)}.")
    offsets = _counts(name, "data_offsets", entry["data_offsets"])
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise MalformedWeights(f"Expected data_offsets [start, end] for {name!r}, got {list(offsets[:4])}.")
    expected, got = math.prod(shape) * ITEM_BYTES[dtype], offsets[1] - offsets[0]
    if expected != got:
        raise MalformedWeights(
            f"Expected {expected:,} bytes for {name!r} of shape {list(shape)} and dtype {dtype}, got {got:,}."
        )
    return TensorHeader(name, dtype, shape, offsets[0], offsets[1])


def _counts(name: str, field: str, value: object) -> tuple[int, ...]:
    # `type(...) is int`: JSON true is an int to isinstance.
    if not isinstance(value, list) or not all(type(item) is int and item >= 0 for item in value):
        raise MalformedWeights(f"Expected {field} of {name!r} to be a list of non-negative integers, got otherwise.")
    return tuple(value)


def _check_cover(tensors: list[TensorHeader], data_bytes: int) -> None:
    position = 0
    for tensor in tensors:
        if tensor.start != position:
            kind = "a gap" if tensor.start > position else "an overlap"
            raise MalformedWeights(
                f"Expected tensor {tensor.name!r} at byte {position:,}, got {tensor.start:,}: {kind}."
            )
        position = tensor.end
    if position != data_bytes:
        raise MalformedWeights(f"Expected {position:,} bytes of tensors, got {data_bytes:,}: the file is not whole.")
