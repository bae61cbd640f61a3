"""Accuracies on retained and forgotten classes, with intervals that hold near 0 and 1."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from unlearning.checks import (
    checked_classes,
    checked_count,
    checked_finite,
    checked_indices,
    checked_inputs,
    checked_labels,
    checked_outputs,
)
from unlearning.errors import EmptySide, ShapeError
from unlearning.evaluation.intervals import (
    Z95,
    Estimate,
    multiplied,
    normal_quantile,
    paired_correlation,
    square_and_add,
)
from unlearning.evaluation.measure import Measure
from unlearning.layout import layout_of
from unlearning.modes import evaluating, refused


def predict_logits(
    model: nn.Module,
    inputs: Tensor | Iterable[Any],
    *,
    batch_size: int = 256,
    weights: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Return the outputs of `model` for all inputs, in evaluation mode, float32 (n, K) on the CPU.

    Args:
        model: A classifier; its mode is restored.
        inputs: One tensor (n, ...), cut into batches here, or an iterable of batches.
        batch_size: Samples per batch when `inputs` is one tensor.
        weights: Parameters to use instead of the model's own, by name; the model itself is not changed.

    Note:
        EmptySide without inputs, ForwardFailed for a batch that the model refuses, OptionOutOfRange and ShapeError for
        outputs that are no (n, K) matrix and NonFinite for NaN or infinity in them pass through.
    """
    return logits_of(model, laid_out(model, batches_of(inputs, batch_size)), weights)


def batches_of(inputs: Tensor | Iterable[Any], batch_size: int) -> Iterable[Any]:
    """Return the batches that one tensor is cut into, or those that are given.

    Args:
        inputs: See `predict_logits`.
        batch_size: Of one tensor's batches.
    """
    step = checked_count("batch_size", batch_size)
    return (inputs[i : i + step] for i in range(0, len(inputs), step)) if isinstance(inputs, Tensor) else inputs


def laid_out(model: nn.Module, batches: Iterable[Any]) -> Iterator[Tensor]:
    """Return copies of the batches on the model's device, laid in memory as it works fastest.

    The model is asked with the first sample, now and not when the first batch is taken: hooks that are set afterwards
    see the batches alone.

    Args:
        model: See `predict_logits`.
        batches: Of inputs; those without a sample are left out.
    """
    ready = (x for x in map(checked_inputs, batches) if len(x))
    first = next(ready, None)
    if first is None:
        return iter(())
    return map(layout_of(model, first[:1]), chain([first], ready))


def logits_of(model: nn.Module, batches: Iterable[Tensor], weights: Mapping[str, Tensor] | None = None) -> Tensor:
    """Return what `predict_logits` does, of batches that lie ready.

    Args:
        model: See `predict_logits`.
        batches: See `laid_out`; a model that works in place on its inputs changes them.
        weights: See `predict_logits`.

    Raises:
        EmptySide: there are no batches.
        ShapeError: the outputs are no (n, K) matrix.
    """
    parts = []
    with evaluating(model):
        for x in batches:
            with refused(x):
                y = functional_call(model, dict(weights), (x,)) if weights else model(x)
            parts.append(checked_outputs(y).float().cpu())
    if not parts:
        raise EmptySide("evaluated")
    logits = torch.cat(parts)
    if logits.ndim != 2:
        raise ShapeError("outputs", "(n, K)", logits.shape)
    return checked_finite(logits, "the model's outputs")


def confusion_matrix(labels: Iterable[int] | NDArray[Any] | Tensor, logits: Tensor) -> NDArray[np.int64]:
    """Return counts (K, K): row = true class, column = class with the largest output (the first of equals).

    Raises:
        ShapeError: as many labels as outputs are needed.
    """
    num_classes = logits.shape[1]
    truth = checked_labels(labels, num_classes)
    if len(truth) != len(logits):
        raise ShapeError("labels", f"({len(logits)},)", truth.shape)
    predicted = logits.argmax(dim=1).cpu().numpy().astype(np.int64)
    counts = np.bincount(truth * num_classes + predicted, minlength=num_classes * num_classes)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


def wilson_interval(successes: int, trials: int, z: float = Z95) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion; it stays inside [0, 1] and keeps its width at 0 and 1.

    Raises:
        EmptySide: there are no trials.

    References:
        Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.

    Example:
        >>> [round(end, 4) for end in wilson_interval(0, 10)]
        [0.0, 0.2775]
    """
    if trials < 1:
        raise EmptySide("evaluated")
    p, correction = successes / trials, z * z / trials
    centre = (p + correction / 2) / (1 + correction)
    half = math.sqrt(p * (1 - p) * correction + correction * correction / 4) / (1 + correction)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    return low, 1.0 if successes == trials else min(1.0, centre + half)


def accuracy_measures(
    confusion: NDArray[np.int64], forget: Collection[int], *, split: str = "test", excluded: Collection[int] = ()
) -> tuple[Measure, ...]:
    """Return retain accuracy (micro, macro, worst class), forget accuracy and false-forget rate of one split.

    The macro interval combines the classes' Wilson limits (MOVER); the worst class has Wilson's interval at a level
    divided by the number of classes, because it was picked as the worst.

    Args:
        confusion: Counts (K, K), rows true, columns predicted.
        forget: Classes to forget.
        split: Prefix of the names: "train" or "test".
        excluded: Classes forgotten earlier: not retained, and predicting them is a false forget too.

    Returns:
        Measures named `<split>_retain_accuracy`, `..._retain_accuracy_macro`, `..._retain_accuracy_worst_class`,
        `..._forget_accuracy`, `..._false_forget_rate`; those without samples are left out.

    References:
        Zou and Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 27, 2008.
    """
    num_classes = len(confusion)
    wanted = list(checked_classes(forget, num_classes))
    gone = sorted({*wanted, *checked_indices("excluded", excluded, num_classes)})
    totals, hits = confusion.sum(axis=1), confusion.diagonal()
    kept = [index for index in range(num_classes) if index not in gone and totals[index]]
    measures = []
    if kept:
        measures += _retain_measures(hits[kept], totals[kept], split)
        lost = int(confusion[np.ix_(kept, gone)].sum())
        measures.append(_proportion(f"{split}_false_forget_rate", lost, int(totals[kept].sum()), "lower"))
    if totals[wanted].sum():
        name = f"{split}_forget_accuracy"
        measures.append(_proportion(name, int(hits[wanted].sum()), int(totals[wanted].sum()), "lower"))
    return tuple(measures)


def _retain_measures(hits: NDArray[np.int64], totals: NDArray[np.int64], split: str) -> list[Measure]:
    rates, n = hits / totals, int(totals.sum())
    worst = int(rates.argmin())
    z = normal_quantile(1 - 0.025 / len(rates))
    low, high = wilson_interval(int(hits[worst]), int(totals[worst]), z)
    name = f"{split}_retain_accuracy"
    return [
        _proportion(name, int(hits.sum()), n, "higher"),
        mean_of_shares(hits, totals, name=f"{name}_macro"),
        Measure(f"{name}_worst_class", float(rates[worst]), low, high, int(totals[worst]), None, "higher"),
    ]


def mean_of_shares(
    hits: NDArray[np.int64],
    totals: NDArray[np.int64],
    *,
    name: str,
    weights: NDArray[np.float64] | None = None,
    seed: int | None = None,
) -> Measure:
    """Return the mean of several shares, each of its own samples; the interval combines Wilson's limits (MOVER).

    Args:
        hits: How many of each group, (c,).
        totals: Of how many, (c,), each at least 1.
        name: Name of the measure.
        weights: Of the groups (c,), by default all alike.
        seed: Of whatever made the groups.

    Returns:
        In [0, 1], higher is better; n counts all samples.

    References:
        Zou and Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 27, 2008.
    """
    parts = np.ones(len(hits)) if weights is None else weights
    parts, shares = parts / parts.sum(), hits / totals
    limits = np.array([wilson_interval(int(k), int(t)) for k, t in zip(hits, totals, strict=True)])
    below = float(np.sqrt(((parts * (shares - limits[:, 0])) ** 2).sum()))
    above = float(np.sqrt(((parts * (limits[:, 1] - shares)) ** 2).sum()))
    mean, n = float((parts * shares).sum()), int(totals.sum())
    return Measure(name, mean, max(0.0, mean - below), min(1.0, mean + above), n, seed, "higher")


def composite_score(confusion: NDArray[np.int64], forget: Collection[int]) -> Measure:
    """Return the published score of a deletion, retain accuracy times one minus forget accuracy, of one split.

    For comparison only: a constant subtracted from one bias reaches the best value there is.

    Args:
        confusion: Counts (K, K), rows true, columns predicted.
        forget: Classes to forget.

    Returns:
        `composite` in [0, 1], higher is better; the interval is that of a product of independent shares.

    Raises:
        EmptySide: there are no samples of one side.

    References:
        Kodge, Saha and Roy, "Deep unlearning", TMLR 2024.
    """
    gone = np.isin(np.arange(len(confusion)), checked_classes(forget, len(confusion)))
    totals, hits = confusion.sum(axis=1), confusion.diagonal()
    kept = _estimate(int(hits[~gone].sum()), int(totals[~gone].sum()))
    lost = _estimate(int((totals - hits)[gone].sum()), int(totals[gone].sum()))
    low, high = multiplied(kept, lost)
    return Measure("composite", kept[0] * lost[0], low, high, int(totals.sum()), None, "higher")


def _estimate(successes: int, trials: int) -> Estimate:
    low, high = wilson_interval(successes, trials)
    return successes / trials, low, high


def _proportion(name: str, successes: int, trials: int, direction: Any) -> Measure:
    return Measure(name, successes / trials, *wilson_interval(successes, trials), trials, None, direction)


def paired_drop(
    before: NDArray[np.bool_],
    after: NDArray[np.bool_],
    *,
    name: str = "test_retain_accuracy_drop",
    z: float = Z95,
) -> Measure:
    """Return the drop in accuracy from `before` to `after`, both judged on the same samples, with a paired interval.

    Newcombe's method 10: Wilson's limits of both proportions, combined with the correlation of the pairs. It is closed
    form (nothing random in a verdict) and, unlike the paired bootstrap, keeps its width when few samples change.

    Args:
        before: Was each sample right before? bool (n,).
        after: Is it right after? bool (n,).
        name: Name of the measure.
        z: Normal quantile of the interval's level, 95 % by default.

    Returns:
        before minus after, in [-1, 1]; lower is better.

    Raises:
        ShapeError: the two vectors have different lengths.
        EmptySide: they are empty.

    References:
        Newcombe, "Improved confidence intervals for the difference between binomial proportions based on paired data",
        Statistics in Medicine 17, 1998.
    """
    if before.ndim != 1 or before.shape != after.shape:
        raise ShapeError("two vectors of outcomes", f"{before.shape}", after.shape)
    n = len(before)
    if n == 0:
        raise EmptySide("paired")
    first, second = int(before.sum()), int(after.sum())
    p1, p2 = first / n, second / n
    low, high = square_and_add(
        (p1, *wilson_interval(first, n, z)), (p2, *wilson_interval(second, n, z)), paired_correlation(before, after)
    )
    return Measure(name, p1 - p2, max(-1.0, low), min(1.0, high), n, None, "lower")
