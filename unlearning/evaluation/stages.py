"""Where a network can be looked into: the tensors that everything behind them is computed from, and nothing else.

Beside a skip connection the input of a layer is only a part of what is known at that depth; a probe there would miss
what passes by. So a stage is a cut. It is found by trying: one sample runs, but a module is given the input that
belongs to another sample. If the outputs are now the other sample's, everything behind that point came through it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from unlearning.batches import first_samples
from unlearning.checks import checked_count
from unlearning.evaluation.controls import classifier_layers, last_layer
from unlearning.modes import device_of, watchable

_TOLERANCE = 1e-3
"""How much of the difference between two samples' outputs may be left; rounding leaves much less."""


@dataclass(frozen=True)
class _Call:
    """One run of one module: its input, and how many products (layers with a weight matrix) had begun before."""

    name: str
    given: Tensor | None
    products_before: int


def stages(model: nn.Module, example: Tensor, *, limit: int = 4) -> tuple[str, ...]:
    """Return the modules whose inputs are the last cuts of the network, in running order; the last layer is the last.

    At least one product lies between any two of them, and one before the first. They are found from the end: what is
    known about classes sits there, and the first layers' features are much the same in any network.

    Args:
        model: A classifier; nothing stays attached to it. Use the same network's names for all models of a comparison.
        example: A batch of inputs; its first two samples are used, or one and a variation of it.
        limit: Most names.

    Returns:
        Names as `trace` takes them, at least one. Modules that run more than once, get something else than a tensor or
        hold no product are passed over.

    Raises:
        OptionOutOfRange: the limit is no whole number of at least 1.

    Note:
        One forward of one sample for each module between the cuts.
    """
    checked_count("limit", limit)
    last = last_layer(model, example)
    first, second = _two_samples(model, example)
    with watchable(model):
        calls, target = _calls(model, second)
        apart = float((model(first.clone()) - target).abs().max())
        found = [last]
        if apart == 0:
            return (last,)  # Outputs that never change: nothing can be told.
        reach = next(call.products_before for call in reversed(calls) if call.name == last)
        for call in reversed(calls):
            if len(found) == limit:
                break
            if call.given is None or not 0 < call.products_before < reach:
                continue
            if float((_given(model, call.name, call.given, first) - target).abs().max()) < _TOLERANCE * apart:
                found.append(call.name)
                reach = call.products_before
    return tuple(reversed(found))


def early_stage(model: nn.Module, example: Tensor) -> str | None:
    """Return the module whose input the earlier probe reads, or None where there is nothing before the last layer.

    It is the first layer of the classifier (`classifier_layers`), so that its input is what the features end in; where
    only the last layer reads that, as in a ResNet, it is the last cut before, the input of the last block.

    Args:
        model: A classifier; nothing stays attached to it.
        example: A batch of inputs.
    """
    first, last = classifier_layers(model, example)[0], last_layer(model, example)
    with watchable(model):
        calls, _ = _calls(model, _two_samples(model, example)[1])
    begun = {call.name: call.products_before for call in calls}
    if begun[first] < begun[last]:
        return first
    found = stages(model, example, limit=2)
    return found[0] if len(found) > 1 else None


def _two_samples(model: nn.Module, example: Tensor) -> tuple[Tensor, Tensor]:
    _, pair = first_samples(iter([example]), "example", device_of(model))
    return pair[:1], pair[1:]


def _calls(model: nn.Module, sample: Tensor) -> tuple[list[_Call], Tensor]:
    """Return every run of every submodule, in order of their beginnings, and the outputs."""
    calls: list[_Call] = []
    products = 0

    def watch(name: str) -> Callable[[nn.Module, Any], None]:
        def hook(module: nn.Module, args: Any) -> None:
            nonlocal products
            is_tensor = bool(args) and isinstance(args[0], Tensor) and args[0].ndim > 1
            # What holds no product tells nothing of how its input is laid out. A copy: layers may work in place.
            given = args[0].clone() if is_tensor and any(map(_multiplies, module.modules())) else None
            calls.append(_Call(name, given, products))
            products += _multiplies(module)

        return hook

    handles = [module.register_forward_pre_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        output: Tensor = model(sample)
    finally:
        for handle in handles:
            handle.remove()
    runs = Counter(call.name for call in calls)
    # Which of several runs a name means would be unclear.
    return [call if runs[call.name] == 1 else replace(call, given=None) for call in calls], output


def _multiplies(module: nn.Module) -> bool:
    return is_parametrized(module) or any(parameter.ndim > 1 for parameter in module.parameters(recurse=False))


def _given(model: nn.Module, name: str, given: Tensor, sample: Tensor) -> Tensor:
    """Return the outputs when `sample` runs, but the named module gets `given`."""
    handle = model.get_submodule(name).register_forward_pre_hook(lambda _module, args: (given.clone(), *args[1:]))
    try:
        output: Tensor = model(sample.clone())
    finally:
        handle.remove()
    return output
