"""From a name of the catalogue to a network. Torch; workers only.

Every build happens twice: first without memory (`skeleton`), where a wrong option, number of classes or an input that
the network cannot take costs nothing; then for real. Weights never come from a builder: `weights=None`, always.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from models_store.catalogue import Scalar, check_architecture, entry_points
from models_store.convnets import CifarResNet18, CifarVgg11, SmallConvNet
from models_store.errors import InputDoesNotFit, InvalidArchitectureOption
from models_store.input_spec import InputSpec

DTYPE_NAMES: Mapping[torch.dtype, str] = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The names safetensors gives to the element types that `models_store.headers` takes."""

_BUILT_IN: dict[str, Callable[..., nn.Module]] = {
    "cifar/resnet18": CifarResNet18,
    "cifar/vgg11_bn": CifarVgg11,
    "expunge/small_convnet": SmallConvNet,
}
_ALLOCATORS = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn}


@dataclass(frozen=True)
class ExpectedTensor:
    """Element type (safetensors name) and shape that an architecture needs under one key."""

    dtype: str
    shape: tuple[int, ...]


class _WithoutMemory(TorchFunctionMode):
    """Puts what layers allocate on the meta device.

    `torch.device("meta")` as a context would also catch the small tables that builders compute with (`arange` in
    RegNet, then `tolist`) and make them unreadable.
    """

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        kwargs = dict(kwargs or {})
        if func in _ALLOCATORS and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def skeleton(name: str, kwargs: Mapping[str, Scalar], num_classes: int, channels: int = 3) -> nn.Module:
    """The network on the meta device: shapes without memory.

    Raises:
        UnknownArchitecture: the name is not in the catalogue.
        InvalidArchitectureOption: an option or the number of classes is refused.
    """
    check_architecture(name, kwargs, num_classes)
    with _WithoutMemory():
        return _construct(name, kwargs, num_classes, channels).to("meta").eval()


def build(name: str, kwargs: Mapping[str, Scalar], num_classes: int, channels: int = 3) -> nn.Module:
    """The network on the CPU in evaluation mode, with arbitrary weights: load some, or `initialise` it.

    Args:
        name: a name of the catalogue.
        kwargs: options of that architecture.
        num_classes: size of the output.
        channels: channels of the input, 1 or 3; torchvision's networks get a stem with one input channel for 1.

    Raises:
        UnknownArchitecture: the name is not in the catalogue.
        InvalidArchitectureOption: an option or the number of classes is refused.
    """
    skeleton(name, kwargs, num_classes, channels)
    return _construct(name, kwargs, num_classes, channels).eval()


def expected_tensors(
    name: str, kwargs: Mapping[str, Scalar], num_classes: int, channels: int = 3
) -> dict[str, ExpectedTensor]:
    """What a weights file for the architecture must hold, by key."""
    return tensors_of(skeleton(name, kwargs, num_classes, channels))


def tensors_of(model: nn.Module) -> dict[str, ExpectedTensor]:
    """Element types and shapes in the state of a network."""
    return {
        key: ExpectedTensor(DTYPE_NAMES[value.dtype], tuple(value.shape)) for key, value in model.state_dict().items()
    }


def check_input(name: str, kwargs: Mapping[str, Scalar], num_classes: int, spec: InputSpec) -> None:
    """Run one image of the spec's size through the skeleton: costs no memory, finds sizes the network cannot take.

    Raises:
        InputDoesNotFit: the network refuses the size, or answers with something else than one row of logits.
    """
    network = skeleton(name, kwargs, num_classes, spec.channels)
    try:
        with torch.no_grad():
            output = network(torch.empty(1, spec.channels, spec.height, spec.width, device="meta"))
    except (RuntimeError, ValueError, AssertionError, TypeError, IndexError) as error:
        # torch reports misfits by any of these; the first line is the sentence.
        reason = str(error).strip().partition("\n")[0][:200]
        raise InputDoesNotFit(
            f"Expected an input that {name} can take, got {spec.channels} x {spec.height} x {spec.width}: {reason}"
        ) from error
    if not isinstance(output, torch.Tensor) or tuple(output.shape) != (1, num_classes):
        got = list(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise InputDoesNotFit(f"Expected {name} to answer one image with [1, {num_classes}] logits, got {got}.")


def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Draw fresh weights for convolutions and linear layers (He normal, biases zero) from `generator` alone."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _construct(name: str, kwargs: Mapping[str, Scalar], num_classes: int, channels: int) -> nn.Module:
    if channels not in {1, 3}:
        raise InvalidArchitectureOption(f"Expected 1 or 3 channels, got {channels!r}.")
    if name in _BUILT_IN:
        return _BUILT_IN[name](num_classes, channels, **kwargs)
    if name in entry_points():
        return _from_operator(name, kwargs, num_classes, channels)
    return _from_torchvision(name.removeprefix("torchvision/"), dict(kwargs), num_classes, channels)


def _from_operator(name: str, kwargs: Mapping[str, Scalar], num_classes: int, channels: int) -> nn.Module:
    factory = entry_points()[name].load()
    try:
        network = factory(num_classes=num_classes, channels=channels, **kwargs)
    except (TypeError, ValueError) as error:
        raise InvalidArchitectureOption(f"Expected options that {name} takes, got a refusal: {error}") from error
    if not isinstance(network, nn.Module):
        raise TypeError(f"Expected the factory of {name} to return a torch.nn.Module, got {type(network).__name__}.")
    return network


def _from_torchvision(builder: str, kwargs: dict[str, Any], num_classes: int, channels: int) -> nn.Module:
    # Heavy, and not needed for the networks defined here.
    from torchvision import models  # noqa: PLC0415

    if builder in {"googlenet", "inception_v3"}:
        # Without the auxiliary heads: they serve training only, and their layers never see a forward pass here.
        kwargs |= {"aux_logits": False, "init_weights": False, "transform_input": False}
    network: nn.Module = models.get_model(builder, weights=None, num_classes=num_classes, **kwargs)
    if channels != 3:
        _replace_stem(network, channels)
    return network


def _replace_stem(network: nn.Module, channels: int) -> None:
    """Give the first convolution another number of input channels; every key stays the same."""
    path, old = next((path, module) for path, module in network.named_modules() if isinstance(module, nn.Conv2d))
    stem = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        old.dilation,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    parent, _, child = path.rpartition(".")
    setattr(network.get_submodule(parent), child, stem)
