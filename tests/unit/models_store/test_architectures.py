"""Networks are built as their definitions say, without downloads and first without memory."""

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.models
from torch import nn

from models_store import architectures, catalogue
from models_store.architectures import build, check_input, expected_tensors, initialise, skeleton, tensors_of
from models_store.errors import InputDoesNotFit, InvalidArchitectureOption, UnknownArchitecture
from models_store.input_spec import InputSpec


def spec(size: int, channels: int = 3) -> InputSpec:
    ones = (1.0,) * channels
    return InputSpec(height=size, width=size, channels=3 if channels == 3 else 1, mean=ones, std=ones)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("torchvision/resnet18", {}),
        ("torchvision/squeezenet1_1", {"dropout": 0.1}),
        ("torchvision/regnet_x_400mf", {}),
        ("torchvision/shufflenet_v2_x0_5", {}),
        ("cifar/resnet18", {}),
        ("expunge/small_convnet", {"width": 8}),
    ],
)
def test_the_skeleton_has_the_tensors_of_the_real_network(name: str, options: dict[str, Any]) -> None:
    shape = skeleton(name, options, 7)
    assert all(value.is_meta for value in shape.state_dict().values())
    assert tensors_of(build(name, options, 7)) == expected_tensors(name, options, 7)


def test_the_largest_transformer_costs_no_memory_to_describe() -> None:
    tensors = expected_tensors("torchvision/vit_h_14", {"image_size": 28}, 5)
    assert tensors["heads.head.weight"].shape == (5, 1280)
    assert tensors["encoder.pos_embedding"].shape == (1, 5, 1280)


def test_torchvisions_networks_are_torchvisions(tmp_path: Path) -> None:
    ours, theirs = build("torchvision/resnet18", {}, 7), torchvision.models.resnet18(num_classes=7).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_training_heads_are_left_out(name: str) -> None:
    assert not [key for key in expected_tensors(f"torchvision/{name}", {}, 7) if "aux" in key.lower()]


def test_vgg11_for_cifar_has_the_defined_keys_and_size() -> None:
    tensors = expected_tensors("cifar/vgg11_bn", {}, 10)
    convolutions = [f"features.{i}" for i in (0, 4, 8, 11, 15, 18, 22, 25)]
    assert [k for k in tensors if len(tensors[k].shape) == 4] == [f"{c}.weight" for c in convolutions]
    assert [k for k in tensors if len(tensors[k].shape) == 2] == [f"classifier.{i}.weight" for i in (0, 3, 6)]
    assert sum(torch.Size(t.shape).numel() for t in tensors.values()) == 9_761_938
    assert tensors["features.26.num_batches_tracked"].dtype == "I64"


def test_resnet18_for_cifar_keeps_the_resolution_in_its_stem() -> None:
    network = build("cifar/resnet18", {}, 10)
    assert network.get_submodule("layer1")(network.get_submodule("conv1")(torch.zeros(1, 3, 32, 32))).shape[2:] == (
        32,
        32,
    )
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    # One more than the well-known 11,173,962 parameters would be a layer too many.
    assert sum(p.numel() for p in network.parameters()) == 11_173_962


@pytest.mark.parametrize("size", [8, 17, 28, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_small_network_takes_any_small_size(size: int, channels: int) -> None:
    network = build("expunge/small_convnet", {}, 10, channels)
    assert network(torch.zeros(2, channels, size, size)).shape == (2, 10)
    assert 50_000 < sum(p.numel() for p in network.parameters()) < 100_000


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "convnext_tiny", "vit_b_16", "swin_t", "mobilenet_v2"])
def test_a_grey_image_changes_only_the_stem(name: str) -> None:
    colour, grey = (expected_tensors(f"torchvision/{name}", {}, 4, channels) for channels in (3, 1))
    changed = [key for key in colour if colour[key] != grey[key]]
    assert colour.keys() == grey.keys()
    assert len(changed) == 1
    check_input(f"torchvision/{name}", {}, 4, spec(224, 1))


def test_the_same_seed_initialises_alike_whatever_the_global_state() -> None:
    states = []
    for _ in range(2):
        network = build("expunge/small_convnet", {}, 10)
        initialise(network, torch.Generator().manual_seed(3))
        states.append(network.state_dict())
        torch.rand(1)
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Convolutions this small lose time to every further thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_the_small_network_learns_the_digits() -> None:
    from sklearn.datasets import load_digits

    images, targets = load_digits(return_X_y=True)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(targets), generator=generator)
    x = (torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16)[order]
    y = torch.tensor(targets)[order]
    network = build("expunge/small_convnet", {}, 10, 1)
    initialise(network, generator)
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(12):
        for batch in torch.randperm(898, generator=generator).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(x[batch]), y[batch]).backward()
            optimiser.step()
    with torch.no_grad():
        assert (network(x[898:]).argmax(1) == y[898:]).float().mean() >= 0.96


@pytest.mark.parametrize(
    ("name", "size"), [("torchvision/vit_b_16", 32), ("torchvision/inception_v3", 32), ("cifar/vgg11_bn", 64)]
)
def test_a_size_the_network_cannot_take_is_found_without_running_it(name: str, size: int) -> None:
    with pytest.raises(InputDoesNotFit, match=f"got 3 x {size} x {size}"):
        check_input(name, {}, 10, spec(size))


@pytest.mark.parametrize("name", ["cifar/vgg11_bn", "cifar/resnet18", "torchvision/vit_b_16"])
def test_the_intended_size_fits(name: str) -> None:
    check_input(name, {}, 10, spec(224 if "vit" in name else 32))


def test_nothing_outside_the_catalogue_is_built() -> None:
    with pytest.raises(UnknownArchitecture):
        build("torch.hub/load", {}, 10)
    with pytest.raises(InvalidArchitectureOption):
        build("torchvision/resnet18", {"weights": "DEFAULT"}, 10)
    with pytest.raises(InvalidArchitectureOption, match="Expected 1 or 3 channels"):
        build("cifar/resnet18", {}, 10, channels=4)


def operator_factory(num_classes: int, channels: int, *, depth: int = 1) -> nn.Module:
    return nn.Sequential(
        *[nn.Conv2d(channels, channels, 1) for _ in range(depth)], nn.Flatten(), nn.LazyLinear(num_classes)
    )


def test_an_operators_factory_is_called_with_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    class Installed(importlib.metadata.EntryPoint):
        def load(self) -> Any:
            return {"factory": operator_factory, "text": lambda **_: "no network"}[self.value]

    points = {value: Installed(f"clinic/{value}", value, catalogue.ENTRY_POINT_GROUP) for value in ("factory", "text")}
    known = {point.name: point for point in points.values()}
    monkeypatch.setattr(architectures, "entry_points", lambda: known)
    monkeypatch.setattr(catalogue, "entry_points", lambda: known)
    assert len(list(build("clinic/factory", {"depth": 3}, 4, 1).children())) == 5
    with pytest.raises(InvalidArchitectureOption, match="got a refusal"):
        build("clinic/factory", {"width": 3}, 4)
    with pytest.raises(TypeError, match=r"Expected the factory of clinic/text to return a torch\.nn\.Module"):
        build("clinic/text", {}, 4)
