"""Only names of the catalogue, only bounded scalars."""

import importlib.metadata
from collections.abc import Iterator

import pytest
import torchvision.models

from models_store import catalogue
from models_store.catalogue import TORCHVISION, architectures, check_architecture
from models_store.errors import InvalidArchitectureOption, UnknownArchitecture


def test_the_written_names_are_those_of_torchvision() -> None:
    found = torchvision.models.list_models(module=torchvision.models)
    assert sorted(TORCHVISION) == sorted(f"torchvision/{name}" for name in found)


@pytest.mark.parametrize("name", architectures())
def test_every_name_is_taken_without_options(name: str) -> None:
    check_architecture(name, {}, 10)


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("torchvision/resnet81", "torchvision/resnet18"),
        ("resnet18", "cifar/resnet18"),
        ("cifar/vgg11", "cifar/vgg11_bn"),
        ("torchvision/VGG16", "torchvision/vgg16"),
        ("smal_convnet", "expunge/small_convnet"),
    ],
)
def test_an_unknown_name_is_answered_with_near_ones(name: str, suggestion: str) -> None:
    with pytest.raises(UnknownArchitecture, match="Did you mean") as refused:
        check_architecture(name, {}, 10)
    assert suggestion in refused.value.extensions["suggestions"]


@pytest.mark.parametrize(
    "name",
    ["", "os.system", "torchvision.models/resnet18", "builtins:eval", "../x", "torchvision/__init__", "x" * 10_000],
)
def test_no_import_path_is_a_name(name: str) -> None:
    with pytest.raises(UnknownArchitecture) as refused:
        check_architecture(name, {}, 10)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("torchvision/vgg16", {"dropout": 0.3}),
        ("torchvision/vgg16", {"dropout": 1}),
        ("torchvision/vit_b_16", {"image_size": 64, "attention_dropout": 0}),
        ("torchvision/vit_h_14", {"image_size": 56}),
        ("torchvision/googlenet", {"aux_logits": False}),
        ("torchvision/densenet121", {"drop_rate": 0.1}),
        ("expunge/small_convnet", {"width": 32}),
    ],
)
def test_an_option_within_bounds_is_taken(name: str, options: dict[str, object]) -> None:
    check_architecture(name, options, 10)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("torchvision/vgg16", {"dropout": 1.1}),
        ("torchvision/vgg16", {"dropout": -0.1}),
        ("torchvision/vgg16", {"dropout": float("nan")}),
        ("torchvision/vgg16", {"dropout": "0.5"}),
        ("torchvision/vgg16", {"dropout": True}),
        ("torchvision/vgg16", {"dropout": [0.5]}),
        ("torchvision/vgg16", {"weights": "DEFAULT"}),
        ("torchvision/vgg16", {"init_weights": True}),
        ("torchvision/resnet18", {"norm_layer": "torch.nn.Identity"}),
        ("torchvision/resnet18", {"num_classes": 3}),
        ("torchvision/vit_b_16", {"image_size": 33}),
        ("torchvision/vit_b_16", {"image_size": 4096}),
        ("torchvision/vit_b_16", {"image_size": 64.0}),
        ("torchvision/inception_v3", {"aux_logits": True}),
        ("torchvision/inception_v3", {"aux_logits": 0}),
        ("expunge/small_convnet", {"width": 1 << 20}),
        ("expunge/small_convnet", {"width": 6}),
        ("cifar/resnet18", {"dropout": 0.1}),
    ],
)
def test_any_other_option_is_refused(name: str, options: dict[str, object]) -> None:
    with pytest.raises(InvalidArchitectureOption, match="Expected"):
        check_architecture(name, options, 10)


@pytest.mark.parametrize("num_classes", [0, 1, -5, 100_001, True, 2.0])
def test_a_classifier_has_two_classes_or_more(num_classes: int) -> None:
    with pytest.raises(InvalidArchitectureOption, match="Expected 2 to 100,000 classes"):
        check_architecture("cifar/resnet18", {}, num_classes)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    points = [
        importlib.metadata.EntryPoint("clinic/xray", "not_a_module:factory", "expunge.architectures"),
        importlib.metadata.EntryPoint("cifar/resnet18", "not_a_module:shadow", "expunge.architectures"),
    ]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
    catalogue.entry_points.cache_clear()
    yield
    catalogue.entry_points.cache_clear()


@pytest.mark.usefixtures("installed")
def test_an_operators_architecture_is_named_without_being_loaded() -> None:
    assert "clinic/xray" in architectures()
    check_architecture("clinic/xray", {"depth": 3, "kind": "narrow", "wide": True}, 4)


@pytest.mark.usefixtures("installed")
def test_an_operator_cannot_shadow_a_name_of_ours() -> None:
    assert list(catalogue.entry_points()) == ["clinic/xray"]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    "options",
    [
        {"a": [1]},
        {"a": float("inf")},
        {"a": 10**9},
        {"a": "x" * 65},
        {"a-b": 1},
        {"a": None},
        {f"o{i}": i for i in range(17)},
    ],
)
def test_an_operators_architecture_takes_only_small_scalars(options: dict[str, object]) -> None:
    with pytest.raises(InvalidArchitectureOption):
        check_architecture("clinic/xray", options, 4)
