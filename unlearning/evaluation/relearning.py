"""How fast a forgotten class comes back: a few steps of ordinary training, then another look.

What was only hidden returns within a few steps; a model that never saw the class needs many more. The retrained
model's value after the same steps is the target. Without batch normalisation the way there is not smooth: with momentum
the accuracy swings. So several orders may be averaged, and the best step reported: the one an attacker would keep.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from unlearning.checks import checked_count, checked_labels
from unlearning.errors import NonFinite, OptionOutOfRange, ShapeError, UnknownLayer
from unlearning.evaluation.accuracy import predict_logits
from unlearning.evaluation.measure import Measure
from unlearning.evaluation.outcomes import Outcome
from unlearning.evaluation.relearning_time import Course
from unlearning.modes import device_of

Hits = NDArray[np.bool_]
STEPS = 20
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
LEARNING_RATE = 0.01
MOMENTUM = 0.9
BATCH_SIZE = 128


def relearned(
    model: nn.Module,
    inputs: Tensor,
    labels: Iterable[int] | NDArray[Any] | Tensor,
    *,
    at_steps: Sequence[int] = (STEPS,),
    only: Collection[str] | None = None,
    learning_rate: float = LEARNING_RATE,
    momentum: float = MOMENTUM,
    batch_size: int = BATCH_SIZE,
    seed: int,
) -> Iterator[tuple[int, nn.Module]]:
    """Train a copy of `model` by SGD with momentum on images of all classes, and show it after each of `at_steps`.

    Dropout is off, so the steps are deterministic. Batch normalisation whose parameters are trained works as in
    training, on the statistics of each batch: with frozen ones the accuracy swings by tens of points from step to step,
    and what stands after the last one is chance. Where only the last layer is trained, all before it is frozen.

    Args:
        model: Any classifier; not changed.
        inputs: Training samples (n, ...) of all classes, forgotten ones among them.
        labels: Their classes (n,).
        at_steps: After how many steps to yield; 0 yields the copy untrained.
        only: Names of the modules whose own parameters are trained (the last layer, say); None for all parameters.
        learning_rate: Of SGD.
        momentum: Of SGD.
        batch_size: Samples per step, at most; each pass over the samples is a new random order.
        seed: Seed of the orders.

    Yields:
        (step, model): the same copy every time; look at it, in evaluation mode, before asking for the next.

    Raises:
        ShapeError: inputs and labels do not fit.
        OptionOutOfRange: a number of steps is negative, or none is given.
        UnknownLayer: a name in `only` is no module with parameters.

    Note:
        About three forwards of batch_size samples per step.
    """
    vector = torch.from_numpy(checked_labels(labels))
    if len(vector) != len(inputs):
        raise ShapeError("labels", f"({len(inputs)},)", vector.shape)
    wanted = sorted(set(at_steps))
    if not wanted or wanted[0] < 0:
        raise OptionOutOfRange("at_steps", "whole numbers of at least 0, one or more", tuple(at_steps))
    step_size = min(checked_count("batch_size", batch_size), len(inputs))
    copied = copy.deepcopy(model).eval()
    optimiser = torch.optim.SGD(_trained(copied, only), lr=learning_rate, momentum=momentum)
    for module in copied.modules():
        if isinstance(module, _BATCH_NORMS):
            module.train(any(parameter.requires_grad for parameter in module.parameters()))
    device, orders = device_of(copied), _orders(len(inputs), step_size, seed)
    done = 0
    for target in wanted:
        while done < target:
            index = next(orders)
            x, y = inputs[index].to(device), vector[index].to(device)
            with torch.enable_grad():
                optimiser.zero_grad()
                functional.cross_entropy(copied(x).float(), y).backward()
            optimiser.step()
            done += 1
        yield target, copied


def relearning_measures(
    model: nn.Module,
    train: tuple[Tensor, Any],
    test: tuple[Tensor, Any],
    *,
    name: str,
    at_steps: Sequence[int] = (STEPS,),
    only: Collection[str] | None = None,
    watched: int = 0,
    orders: int = 1,
    seed: int,
) -> tuple[Measure, ...]:
    """Return the accuracy on the forgotten classes' test samples after each of `at_steps`, and at the best step.

    Args:
        model: The unlearned model; not changed.
        train: Samples and classes to train on, see `relearned`.
        test: Samples and classes to look at.
        name: Begins the measures' names.
        at_steps: After how many steps to look at all test samples.
        only: Names of the modules that learn; None for all.
        watched: How many random test samples are looked at after EVERY step, for the best one; 0 leaves it out.
        orders: Orders of the training samples; the measures are means over them.
        seed: Seed of the orders and of the watched samples.

    Returns:
        `<name>_<t>_forget_accuracy` for each of `at_steps`, then `<name>_best_<t>_forget_accuracy` up to the last. The
        best of many looks at few samples is slightly too high where anything comes back at all.

    Note:
        Only the forgotten classes are looked at: a step that throws other classes into them counts as well.
        Training that diverges brings nothing back: accuracy 0 (a masked bias can cause it, see `reset_head`).
    """
    course = relearning_course(
        model, train, test, name=name, at_steps=at_steps, only=only, watched=watched, orders=orders, seed=seed
    )
    return tuple(outcome.measure() for outcome in (*course.outcomes, *course.best))


def relearning_course(
    model: nn.Module,
    train: tuple[Tensor, Any],
    test: tuple[Tensor, Any],
    *,
    name: str,
    at_steps: Sequence[int] = (STEPS,),
    only: Collection[str] | None = None,
    watched: int = 0,
    orders: int = 1,
    seed: int,
) -> Course:
    """Return what `relearning_measures` measures, sample by sample, order by order and, of the watched, step by step.

    Args:
        model: See `relearning_measures`, as for all others.
        train: Samples and classes to train on.
        test: Samples and classes to look at.
        name: Begins the outcomes' names.
        at_steps: After how many steps to look.
        only: Names of the modules that learn.
        watched: How many random test samples are looked at after every step.
        orders: Orders of the training samples.
        seed: Seed of the orders and of the watched samples; equal seeds train and look at the same ones.
    """
    inputs, labels = test[0], torch.from_numpy(checked_labels(test[1]))
    wanted = sorted(set(at_steps))
    last = max(wanted, default=0)
    looks = wanted if watched == 0 else sorted({*wanted, *range(1, last + 1)})
    chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))[:watched]
    found: dict[int, list[Hits]] = {step: [] for step in wanted}
    trails: list[list[Hits]] = []
    is_finite = True

    def look(trained: nn.Module, x: Tensor, y: Tensor) -> Hits:
        nonlocal is_finite
        try:
            right: Hits = (predict_logits(trained, x).argmax(dim=1) == y).numpy()
        except NonFinite:
            is_finite, right = False, np.zeros(len(y), dtype=bool)
        return right

    for order in range(checked_count("orders", orders)):
        order_seed = int(np.random.SeedSequence([seed, order]).generate_state(1)[0])
        trail = []
        for step, trained in relearned(model, *train, at_steps=looks, only=only, seed=order_seed):
            if step in found:
                found[step].append(look(trained, inputs, labels))
            if watched and step:
                trail.append(look(trained, inputs[chosen], labels[chosen]))
        trails.append(trail)
    outcomes = tuple(Outcome(f"{name}_{step}", np.stack(found[step]), seed) for step in wanted)
    steps = np.array(trails, dtype=bool).reshape(len(trails), last if watched else 0, len(chosen))
    peaks = [max(trail, key=np.sum) if len(trail) else np.zeros(len(chosen), dtype=bool) for trail in steps]
    best = (Outcome(f"{name}_best_{last}", np.stack(peaks), seed),) if watched else ()
    return Course(name, outcomes, best, chosen.numpy(), steps, seed, is_finite)


def _trained(model: nn.Module, only: Collection[str] | None) -> list[nn.Parameter]:
    """Mark what is trained, in the copy; frozen parameters of the caller's model are trained too, if asked for."""
    modules = dict(model.named_modules())
    if only is not None and (unknown := set(only) - set(modules)):
        raise UnknownLayer(unknown, modules)
    sources = [model] if only is None else [modules[name] for name in only]
    chosen = {id(parameter): parameter for source in sources for parameter in source.parameters()}
    if not chosen:
        raise UnknownLayer(only or (), [name for name, module in modules.items() if any(module.parameters())])
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in chosen)
    return list(chosen.values())


def _orders(n: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Yield batches of indices for ever: each pass a new order, its incomplete last batch left out."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(n, generator=generator)
        yield from order[: n - n % batch_size].split(batch_size)
