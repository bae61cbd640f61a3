"""What a model computes on the way to its outputs: the inputs of chosen modules, one vector per sample."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from unlearning.errors import ShapeError, UnknownLayer
from unlearning.evaluation.accuracy import batches_of, laid_out, logits_of

_CHANNELS_SECOND = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_FEATURES_LAST = (nn.Linear, nn.LayerNorm)
_WIDTHS = ("in_features", "in_channels", "num_features", "num_channels")


@dataclass(frozen=True)
class Trace:
    """One forward over some samples.

    Attributes:
        logits: Outputs (n, K), float32 on the CPU.
        features: By module name, that module's input as one vector per sample (n, p), float32 on the CPU.
    """

    logits: Tensor
    features: Mapping[str, Tensor]


def trace(
    model: nn.Module, inputs: Tensor | Iterable[Any], modules: Collection[str], *, batch_size: int = 256
) -> Trace:
    """Return outputs and the inputs of `modules` from the same forward, in evaluation mode.

    Positions are averaged, since a vector per sample is what probes and prototypes compare: (B, C, H, W) over H and W,
    (B, T, C) over T. Of a Linear or LayerNorm the last dimension holds the features whatever stands between; of other
    modules that get (B, C, H, W) it is the second one. A block is read as the first layer inside it. A module that runs
    several times gives its last input.

    Args:
        model: A classifier; its mode is restored and nothing stays attached to it.
        inputs: One tensor (n, ...) or an iterable of batches.
        modules: Names as in `model.named_modules()`; see `last_layer` for the name of the penultimate features' reader.
        batch_size: Samples per batch when `inputs` is one tensor.

    Raises:
        UnknownLayer: the model has no module of a name, or that module does not run.
        ShapeError: a module's input cannot be assigned to samples.

    Note:
        Errors of `predict_logits` pass through.
    """
    known = dict(model.named_modules())
    if unknown := set(modules) - set(known):
        raise UnknownLayer(unknown, known)
    seen: dict[str, Tensor] = {}
    parts: dict[str, list[Tensor]] = {name: [] for name in modules}

    def keep(_model: nn.Module, args: Any, _output: Any) -> None:
        for name, kept in parts.items():
            if name not in seen:
                raise UnknownLayer([name], known.keys() - {name})
            kept.append(_per_sample(known[name], seen.pop(name), len(args[0])))

    batches = laid_out(model, batches_of(inputs, batch_size))
    handles = [known[name].register_forward_pre_hook(_watch(seen, name)) for name in parts]
    handles.append(model.register_forward_hook(keep))
    try:
        logits = logits_of(model, batches)
    finally:
        for handle in handles:
            handle.remove()
    return Trace(logits, MappingProxyType({name: torch.cat(kept) for name, kept in parts.items()}))


def _watch(seen: dict[str, Tensor], name: str) -> Callable[[nn.Module, Any], None]:
    def hook(_module: nn.Module, args: Any) -> None:
        seen[name] = args[0].detach()

    return hook


def _per_sample(module: nn.Module, x: Tensor, batch: int) -> Tensor:
    if x.ndim < 2 or len(x) % batch:
        raise ShapeError("a module's input", f"(a multiple of {batch}, ..., features)", x.shape)
    rows = x.movedim(1, -1) if _channels_second(module, x) else x
    # Windows of one sample follow each other, as in attention over windows: they are positions too.
    return rows.reshape(batch, -1, rows.shape[-1]).mean(dim=1).float().cpu()


def _channels_second(module: nn.Module, x: Tensor) -> bool:
    reader = _reader(module)
    width = next((getattr(reader, name) for name in _WIDTHS if hasattr(reader, name)), None)
    width = reader.normalized_shape[-1] if isinstance(reader, nn.LayerNorm) else width
    if reader is not module and (x.shape[1] == width) != (x.shape[-1] == width):
        # A block may turn its input round before its first layer reads it; the layer's width tells.
        return bool(x.shape[1] == width)
    return isinstance(reader, _CHANNELS_SECOND) or (x.ndim > 3 and not isinstance(reader, _FEATURES_LAST))


def _reader(module: nn.Module) -> nn.Module:
    """Return the layer that tells where the features are: the module itself, or the first one inside with weights."""
    for inner in module.modules():
        is_known = isinstance(inner, (*_CHANNELS_SECOND, *_FEATURES_LAST))
        if is_known or next(inner.parameters(recurse=False), None) is not None:
            return inner
    return module
