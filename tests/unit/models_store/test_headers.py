"""A safetensors header is taken only if no reader could understand it differently."""

import io
import json
import struct
import tracemalloc
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from models_store.errors import MalformedWeights
from models_store.headers import MAX_HEADER_BYTES, MAX_TENSORS, WeightsHeader, read_header
from tests.unit.models_store.crafting import safetensors_file, tensor

FOUR = b"\0" * 4


def read(content: bytes) -> WeightsHeader:
    return read_header(io.BytesIO(content), len(content))


def test_a_file_of_the_library_is_read_with_the_same_tensors() -> None:
    tensors = {
        "weight": torch.zeros(3, 2),
        "half": torch.zeros(5, dtype=torch.float16),
        "brain": torch.zeros(1, 1, 1, dtype=torch.bfloat16),
        "counter": torch.tensor(3),
        "mask": torch.zeros(4, dtype=torch.bool),
        "empty": torch.zeros(0, 4),
    }
    content = safetensors.torch.save(tensors, {"format": "pt"})
    header = read(content)
    assert {t.name: t.shape for t in header.tensors} == {name: tuple(value.shape) for name, value in tensors.items()}
    assert header.metadata == {"format": "pt"}
    assert header.num_values == sum(value.numel() for value in tensors.values())
    for t in header.tensors:
        raw = content[header.data_start + t.start : header.data_start + t.end]
        assert raw == tensors[t.name].reshape(-1).view(torch.uint8).numpy().tobytes()


ONE = tensor(0, 4, [1])
BAD: dict[str, tuple[bytes, str]] = {
    "an empty file": (b"", "8 bytes of header length"),
    "a short length": (b"\1\0\0", "8 bytes of header length"),
    "no header": (struct.pack("<Q", 0), "header of 2 to"),
    "a header of 100 MB": (struct.pack("<Q", 100_000_000) + b"{}", "header of 2 to 2,097,152 bytes"),
    "a length of all ones": (b"\xff" * 8 + b"{}", "header of 2 to"),
    "a length past the end": (struct.pack("<Q", 500) + b"{}", "got a file of 10 bytes"),
    "a pickle": (b"\x80\x04\x95\x10\0\0\0\0\0\0\0" + b"cos\nsystem\n" * 4, "header of 2 to"),
    "a zip, as torch.save writes": (b"PK\x03\x04" + b"\0" * 60, "header of"),
    "a list": (safetensors_file("[]"), "starts with '{'"),
    "a space first": (safetensors_file(' {"a":1}'), "starts with '{'"),
    "a byte order mark": (safetensors_file(b"\xef\xbb\xbf{}"), "starts with '{'"),
    "no tensors": (safetensors_file("{}"), "1 to 5,000 tensors"),
    "broken JSON": (safetensors_file('{"a":'), "Expected a JSON header"),
    "two documents": (safetensors_file("{}{}"), "Extra data"),
    "bytes that are not UTF-8": (safetensors_file(b'{"\xff":1}'), "UTF-8"),
    "a tensor twice": (safetensors_file('{"a":%s,"a":%s}' % ((json.dumps(ONE),) * 2), FOUR), "'a' more than once"),
    "a field twice": (
        safetensors_file('{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', FOUR),
        "'dtype' more than once",
    ),
    "metadata twice": (safetensors_file('{"__metadata__":{"k":"1","k":"2"}}'), "'k' more than once"),
    "NaN": (safetensors_file('{"a":NaN}'), "Expected integers only, got the number NaN"),
    "infinity": (safetensors_file('{"a":-Infinity}'), "Expected integers only"),
    "a fraction": (safetensors_file({"a": {**ONE, "shape": [1.0]}}, FOUR), "got the number 1.0"),
    "a huge integer": (safetensors_file('{"a":%s}' % ("9" * 5000)), "at most 18 digits"),
    "nesting": (safetensors_file('{"a":' + "[" * 200_000), "nested too deep"),
    "metadata with numbers": (safetensors_file({"__metadata__": {"k": 1}, "a": ONE}, FOUR), "map strings to strings"),
    "metadata as a list": (safetensors_file({"__metadata__": [], "a": ONE}, FOUR), "map strings to strings"),
    "metadata with half a character": (safetensors_file('{"__metadata__":{"k":"\\ud800"}}'), "lone surrogate"),
    "an entry that is a list": (safetensors_file({"a": []}), "dtype, shape and data_offsets"),
    "an entry with another field": (safetensors_file({"a": {**ONE, "x": 1}}, FOUR), "dtype, shape and data_offsets"),
    "an entry without a shape": (safetensors_file({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, FOUR), "shape"),
    "an unknown dtype": (safetensors_file({"a": tensor(0, 4, [1], "F8_E4M3")}, FOUR), "Expected a dtype of F64"),
    "a dtype that is a number": (safetensors_file({"a": {**ONE, "dtype": 1}}, FOUR), "Expected a dtype of"),
    "a negative side": (safetensors_file({"a": tensor(0, 4, [-1, -1])}, FOUR), "non-negative integers"),
    "a boolean side": (safetensors_file('{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}', FOUR), "non-neg"),
    "a product that overflows 64 bits": (safetensors_file({"a": tensor(0, 4, [2**32, 2**32])}, FOUR), "got 4"),
    "too many sides": (safetensors_file({"a": tensor(0, 4, [1] * 17)}, FOUR), "at most 16 dimensions"),
    "bytes that do not match the shape": (safetensors_file({"a": tensor(0, 4, [2])}, FOUR), "Expected 8 bytes for 'a'"),
    "offsets backwards": (safetensors_file({"a": tensor(4, 0, [1])}, FOUR), "[start, end]"),
    "three offsets": (safetensors_file({"a": {**ONE, "data_offsets": [0, 4, 8]}}, FOUR), "[start, end]"),
    "a negative offset": (safetensors_file({"a": tensor(-4, 0, [1])}, FOUR), "non-negative integers"),
    "an overlap": (safetensors_file({"a": ONE, "b": ONE}, FOUR), "an overlap"),
    "a gap": (safetensors_file({"a": ONE, "b": tensor(8, 12, [1])}, FOUR * 3), "a gap"),
    "a gap at the start": (safetensors_file({"a": tensor(4, 8, [1])}, FOUR * 2), "a gap"),
    "a truncated end": (safetensors_file({"a": ONE}, b"\0\0\0"), "the file is not whole"),
    "bytes behind the end": (safetensors_file({"a": ONE}, FOUR + b"PK\x05\x06"), "the file is not whole"),
    "an empty name": (safetensors_file({"": ONE}, FOUR), "printable tensor name"),
    "a name with a line break": (safetensors_file({"a\nb": ONE}, FOUR), "printable tensor name"),
    "a name of half a character": (safetensors_file({"\ud800": ONE}, FOUR), "printable tensor name"),
    "a very long name": (safetensors_file({"a" * 513: ONE}, FOUR), "printable tensor name"),
    "too many tensors": (
        safetensors_file({f"t{i}": tensor(0, 0, [0]) for i in range(MAX_TENSORS + 1)}),
        "1 to 5,000 tensors, got 5,001",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_header_with_a_flaw_is_refused_in_a_sentence(case: str) -> None:
    content, sentence = BAD[case]
    with pytest.raises(MalformedWeights) as refused:
        read(content)
    assert sentence in str(refused.value)
    assert str(refused.value).startswith("Expected")
    assert "got" in str(refused.value)


@pytest.mark.parametrize("filler", ['{"a":[%s]}', '{"a":%s}'])
def test_the_largest_header_costs_little_memory(filler: str) -> None:
    unit, glue = ("[]", ",") if "[" in filler else ('{"":{', "")
    body = glue.join([unit] * (MAX_HEADER_BYTES // (len(unit + glue)) - 10))
    raw = (filler % body)[:MAX_HEADER_BYTES]
    tracemalloc.start()
    with pytest.raises(MalformedWeights):
        read(safetensors_file(raw))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # 64 MiB on top of the file itself.
    assert peak < 64 << 20


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_as_malformed_and_by_nothing_else(content: bytes) -> None:
    with pytest.raises(MalformedWeights):
        read(safetensors_file(b'{"a":' + content, b""))


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("F32"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets"]), inner)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=3))
def test_what_is_taken_the_library_takes_too(document: dict[str, Any]) -> None:
    content = safetensors_file({"ok": tensor(0, 4, [1]), **document}, FOUR)
    try:
        header = read(content)
    except MalformedWeights:
        return
    assert set(safetensors.torch.load(content)) == {t.name for t in header.tensors}
