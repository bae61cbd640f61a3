"""Weights are loaded whole or not at all, and written the same way every time."""

import hashlib
import struct
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from core.errors import DigestMismatch
from models_store.architectures import build, initialise
from models_store.errors import MalformedWeights, NonFiniteWeights, WeightsDoNotFit
from models_store.weights import iterate_state, load_state, save_state


def network(seed: int = 0) -> nn.Module:
    model = build("expunge/small_convnet", {"width": 4}, 3, 1)
    initialise(model, torch.Generator().manual_seed(seed))
    return model


def load(tmp_path: Path, content: bytes, model: nn.Module, sha256: str | None = None) -> None:
    path = tmp_path / "weights"
    path.write_bytes(content)
    load_state(path, sha256 or hashlib.sha256(content).hexdigest(), model)


def state() -> dict[str, Tensor]:
    return {key: value.clone() for key, value in network().state_dict().items()}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    source, target = network(1), network(2)
    load(tmp_path, save_state(source), target)
    assert all(torch.equal(value, target.state_dict()[key]) for key, value in source.state_dict().items())


def test_the_library_reads_the_same_tensors_and_metadata(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2).to(torch.bfloat16))
    path = tmp_path / "weights"
    path.write_bytes(save_state(model, {"b": "2", "a": "é"}))
    loaded = safetensors.torch.load_file(path)
    assert loaded.keys() == model.state_dict().keys()
    assert all(torch.equal(value, loaded[key]) for key, value in model.state_dict().items())
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata() == {"a": "é", "b": "2"}


def test_the_bytes_do_not_depend_on_the_order_of_anything() -> None:
    model = nn.ModuleDict({"x": nn.Linear(2, 2), "y": nn.BatchNorm1d(2)})
    swapped = nn.ModuleDict({"y": model["y"], "x": model["x"]})
    first = save_state(model, {"one": "1", "two": "2"})
    assert (
        first
        == save_state(swapped, {"two": "2", "one": "1"})
        == b"".join(iterate_state(model, {"one": "1", "two": "2"}))
    )
    assert struct.unpack_from("<Q", first)[0] % 8 == 0


def test_shared_tensors_are_written_under_each_name(tmp_path: Path) -> None:
    first = nn.Linear(3, 3)
    model = nn.Sequential(first, first)
    loaded = safetensors.torch.load(save_state(model))
    assert torch.equal(loaded["0.weight"], loaded["1.weight"])
    load(tmp_path, save_state(model), model)


def test_views_are_written_by_their_values() -> None:
    model = nn.Linear(2, 3)
    model.weight = nn.Parameter(torch.arange(6.0).reshape(2, 3).T)
    assert torch.equal(safetensors.torch.load(save_state(model))["weight"], model.weight)


def test_every_difference_is_listed(tmp_path: Path) -> None:
    wrong = state()
    del wrong["classifier.fc2.bias"]
    wrong["extra.weight"] = torch.zeros(1)
    wrong["features.conv1.weight"] = torch.zeros(4, 3, 3, 3)
    wrong["features.conv2.bias"] = wrong["features.conv2.bias"].half()
    with pytest.raises(WeightsDoNotFit) as refused:
        load(tmp_path, safetensors.torch.save(wrong), network())
    assert refused.value.extensions["missing"] == ["classifier.fc2.bias"]
    assert refused.value.extensions["unexpected"] == ["extra.weight"]
    assert refused.value.extensions["mismatched"] == [
        {"name": "features.conv1.weight", "expected": "F32 [4, 1, 3, 3]", "got": "F32 [4, 3, 3, 3]"},
        {"name": "features.conv2.bias", "expected": "F32 [4]", "got": "F16 [4]"},
    ]
    assert "1 missing: classifier.fc2.bias; 1 unexpected: extra.weight; 2 mis-shaped" in str(refused.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_single_number_that_is_not_finite_is_found_and_nothing_is_loaded(tmp_path: Path, value: float) -> None:
    wrong, model = state(), network(5)
    wrong["features.conv3.weight"].view(-1)[-1] = value
    before = save_state(model)
    with pytest.raises(NonFiniteWeights, match=r"in 1 tensor\(s\): features\.conv3\.weight") as refused:
        load(tmp_path, safetensors.torch.save(wrong), model)
    assert refused.value.extensions["tensors"] == ["features.conv3.weight"]
    assert save_state(model) == before


def test_any_flipped_byte_is_found_by_the_digest(tmp_path: Path) -> None:
    content = save_state(network())
    digest = hashlib.sha256(content).hexdigest()
    for position in range(0, len(content), len(content) // 20):
        damaged = bytearray(content)
        damaged[position] ^= 1
        with pytest.raises(DigestMismatch, match=f"Expected weights with SHA-256 {digest}"):
            load(tmp_path, bytes(damaged), network(), digest)


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", save_state(nn.Linear(1, 1))[:-1]])
def test_a_malformed_file_is_refused_even_under_its_own_digest(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(MalformedWeights):
        load(tmp_path, content, network())


def test_an_index_table_that_points_elsewhere_is_refused(tmp_path: Path) -> None:
    class Looking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("index", torch.arange(4))
            self.norm = nn.BatchNorm1d(1)

    wrong = Looking()
    wrong.norm.get_buffer("num_batches_tracked").add_(7)  # a counter may differ
    load(tmp_path, save_state(wrong), Looking())
    wrong.get_buffer("index")[2] = 1 << 40
    with pytest.raises(WeightsDoNotFit, match="index tables, got other values in: index"):
        load(tmp_path, save_state(wrong), Looking())
