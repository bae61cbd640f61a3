"""Weights between bytes and networks. Torch and safetensors; workers only.

The bytes that were hashed are the bytes that are parsed: the file is read once, so nothing can be swapped in between.
"""

import hashlib
import io
import json
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from core.errors import DigestMismatch
from models_store.architectures import DTYPE_NAMES, ExpectedTensor, tensors_of
from models_store.errors import NonFiniteWeights, WeightsDoNotFit
from models_store.headers import ITEM_BYTES, WeightsHeader, read_header

_NAMED_IN_SENTENCE = 5


def load_state(path: Path, sha256: str, model: nn.Module) -> WeightsHeader:
    """Load a file of weights into a network, or leave the network as it was.

    Args:
        path: a safetensors file.
        sha256: the digest it must have.
        model: receives the weights; on any real device.

    Returns:
        The header of the file.

    Raises:
        DigestMismatch: the bytes are others than those that were registered.
        MalformedWeights: the file is not well formed.
        WeightsDoNotFit: keys are missing, unexpected, or of another shape or element type.
        NonFiniteWeights: a tensor holds NaN or infinity.
    """
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DigestMismatch(f"Expected weights with SHA-256 {sha256}, got {found} ({len(content):,} bytes).")
    header = read_header(io.BytesIO(content), len(content))
    check_fit(header, tensors_of(model))
    tensors = safetensors.torch.load(content)
    _check_finite(tensors)
    _check_tables(tensors, model)
    model.load_state_dict(tensors, strict=True)
    return header


def check_fit(header: WeightsHeader, expected: Mapping[str, ExpectedTensor]) -> None:
    """Compare a header with what an architecture needs; every difference is in the error's extensions.

    Raises:
        WeightsDoNotFit: there is a difference.
    """
    got = {tensor.name: ExpectedTensor(tensor.dtype, tensor.shape) for tensor in header.tensors}
    missing = sorted(expected.keys() - got.keys())
    unexpected = sorted(got.keys() - expected.keys())
    mismatched = [
        {"name": name, "expected": _described(expected[name]), "got": _described(got[name])}
        for name in sorted(expected.keys() & got.keys())
        if expected[name] != got[name]
    ]
    if not (missing or unexpected or mismatched):
        return
    wrong = [f"{item['name']} (expected {item['expected']}, got {item['got']})" for item in mismatched]
    parts = [("missing", missing), ("unexpected", unexpected), ("mis-shaped", wrong)]
    listed = "; ".join(f"{len(names)} {kind}: {_first_few(names)}" for kind, names in parts if names)
    raise WeightsDoNotFit(
        f"Expected the {len(expected)} tensors of the architecture, got {len(got)} with differences: {listed}.",
        missing=missing,
        unexpected=unexpected,
        mismatched=mismatched,
    )


def save_state(model: nn.Module, metadata: Mapping[str, str] | None = None) -> bytes:
    """The weights of a network as safetensors bytes: the same weights and metadata always give the same bytes.

    Keys are sorted (wider element types first, so that every tensor is aligned). Tensors that share memory are written
    once under each of their keys, since `load_state` asks for every key.

    Args:
        model: the network; stays where it is.
        metadata: strings stored beside the tensors, in sorted order.
    """
    return b"".join(iterate_state(model, metadata))


def iterate_state(model: nn.Module, metadata: Mapping[str, str] | None = None) -> Iterator[bytes]:
    """Write the bytes of `save_state` with one tensor in memory at a time.

    Yields:
        The header, then the tensors.

    Raises:
        RuntimeError: the machine is big-endian.
    """
    # The library keeps metadata in a hash map with a random order, so its bytes differ from run to run.
    if sys.byteorder != "little":
        raise RuntimeError("Expected a little-endian machine: safetensors stores little-endian numbers.")
    state = {key: value for key, value in model.state_dict().items() if isinstance(value, Tensor)}
    names = sorted(state, key=lambda name: (-state[name].element_size(), name))
    header: dict[str, object] = {"__metadata__": dict(sorted((metadata or {}).items()))} if metadata else {}
    position = 0
    for name in names:
        dtype, shape = DTYPE_NAMES[state[name].dtype], list(state[name].shape)
        end = position + state[name].numel() * ITEM_BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield struct.pack("<Q", len(text)) + text
    for name in names:
        yield state[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _check_finite(tensors: Mapping[str, Tensor]) -> None:
    broken = sorted(name for name, value in tensors.items() if not bool(torch.isfinite(value).all()))
    if broken:
        raise NonFiniteWeights(
            f"Expected finite numbers, got NaN or infinity in {len(broken)} tensor(s): {_first_few(broken)}.",
            tensors=broken,
        )


def _check_tables(tensors: Mapping[str, Tensor], model: nn.Module) -> None:
    """Integer tables (indices into other tensors) must be those of the architecture: a wrong index reads elsewhere.

    Raises:
        WeightsDoNotFit: a table differs.
    """
    wrong = []
    for name, own in model.state_dict().items():
        counted = name.endswith("num_batches_tracked")
        if own.is_floating_point() or counted or own.is_meta:
            continue
        if not torch.equal(own.cpu(), tensors[name]):
            wrong.append(name)
    if wrong:
        raise WeightsDoNotFit(
            f"Expected the architecture's own index tables, got other values in: {_first_few(wrong)}.",
            missing=[],
            unexpected=[],
            mismatched=[{"name": name, "expected": "the architecture's values", "got": "others"} for name in wrong],
        )


def _described(tensor: ExpectedTensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"


def _first_few(names: list[str]) -> str:
    more = len(names) - _NAMED_IN_SENTENCE
    return ", ".join(names[:_NAMED_IN_SENTENCE]) + (f" and {more} more" if more > 0 else "")
