"""Architectures of different families, small: what the engine reaches, and that its edit is the oracle's.

The full table, every classification builder of torchvision and a dozen of timm, is `python benchmarks/coverage.py`.
"""

from __future__ import annotations

import importlib.util
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.convnext import CNBlockConfig

from benchmarks import coverage
from benchmarks.zoo import examine, models, oracle
from unlearning import erase_classes
from unlearning.capture import find_layers
from unlearning.inventory import read_rows

MODELS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "ViT": (lambda: torchvision.models.VisionTransformer(32, 16, 2, 2, 48, 96, num_classes=5), 32),
    "Swin": (lambda: torchvision.models.SwinTransformer([4, 4], 24, [2, 2], [2, 4], [2, 2], num_classes=5), 32),
    "Swin V2": (lambda: _swin_v2([4, 4]), 32),
    "ConvNeXt": (lambda: torchvision.models.ConvNeXt([CNBlockConfig(24, 48, 1), CNBlockConfig(48, None, 1)]), 32),
    "ResNet": (lambda: torchvision.models.resnet18(num_classes=5), 32),
    "ResNeXt": (lambda: torchvision.models.resnext50_32x4d(num_classes=5), 32),
    "MobileNet": (lambda: torchvision.models.mobilenet_v3_small(num_classes=5), 32),
    "DenseNet": (lambda: torchvision.models.DenseNet(8, (2, 2), 16, num_classes=5), 32),
    "SqueezeNet": (lambda: torchvision.models.squeezenet1_1(num_classes=5), 32),
    "ShuffleNet": (lambda: torchvision.models.shufflenet_v2_x0_5(num_classes=5), 32),
    "GoogLeNet": (lambda: torchvision.models.googlenet(num_classes=5, init_weights=False), 32),
}
UNUSED_AUXILIARY_HEADS = {"GoogLeNet"}


def _swin_v2(patch_size: list[int]) -> nn.Module:
    from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

    options: dict[str, Any] = {"block": SwinTransformerBlockV2, "downsample_layer": PatchMergingV2, "num_classes": 5}
    model: nn.Module = torchvision.models.SwinTransformer(patch_size, 24, [2, 2], [2, 4], [2, 2], **options)
    return model


def settled(name: str) -> tuple[nn.Module, int]:
    make, size = MODELS[name]
    with models.seeded():
        model = make().eval()
    models.settle(model, torch.cat([models.images(size, seed=1), models.images(size, seed=2) * 0.7 + 0.3]))
    return model, size


@pytest.mark.parametrize("name", MODELS)
def test_all_matrices_are_edited_as_the_oracle_says_and_the_model_runs(name: str) -> None:
    model, size = settled(name)
    retain, forget = models.images(size, seed=1), models.images(size, seed=2) * 0.7 + 0.3
    found = find_layers(model, retain)
    sampled = oracle.sampled_layers(model, found.layers, retain)
    assert sampled
    wanted = {layer.weight: oracle.updated(model, layer, retain, forget) for layer in sampled}
    before = {layer.weight: read_rows(model, layer)[0].clone() for layer in sampled}
    erasure = erase_classes(model, retain=[retain], forget=[forget], max_rows=None)
    erasure.apply_to(model)
    for layer in sampled:
        got = read_rows(model, layer)[0]
        off, edit = oracle.difference_of(before[layer.weight], got, wanted[layer.weight])
        assert off < 1e-4 * edit
        assert edit > 1e-4
    assert examine.runs(model, retain)
    # Independently of any reason: what is edited are all parameters with two or more axes, but for the few named here.
    left = {entry.name: entry.reason for entry in erasure.untouched if model.get_parameter(entry.name).ndim > 1}
    tables = ("class_token", "pos_embedding", "relative_position_bias_table", "cpb_mlp", "layer_scale", "logit_scale")
    strange = {key: reason for key, reason in left.items() if not any(table in key for table in tables)}
    if name in UNUSED_AUXILIARY_HEADS:
        assert set(strange.values()) == {"never used in the forward pass"}
        assert all(key.startswith("aux") for key in strange)
    else:
        assert strange == {}


def test_shares_add_up_to_all_parameters() -> None:
    model, size = settled("Swin")
    found = find_layers(model, models.images(size, seed=1))
    total = sum(parameter.numel() for parameter in model.parameters())
    reached = sum(layer.m * layer.d for layer in found.layers)
    assert reached + sum(entry.parameters for entry in found.untouched) == total
    assert reached / total + sum(entry.share for entry in found.untouched) == pytest.approx(1)


def test_the_benchmark_examines_a_builder_by_name_and_writes_a_table(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = tmp_path / "coverage.md"
    threads = str(torch.get_num_threads())
    monkeypatch.setattr(
        "sys.argv",
        ["coverage.py", "--only", "squeezenet1_1", "--write", str(written), "--threads", threads],
    )
    coverage.main()
    assert "| squeezenet1_1 | 32 |" in written.read_text()


def test_every_builder_of_torchvision_is_in_the_table() -> None:
    assert set(torchvision.models.list_models(module=torchvision.models)) <= set(models.names())
    assert any(name.startswith("timm/") for name in models.names()) is bool(importlib.util.find_spec("timm"))
