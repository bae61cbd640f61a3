"""Does the last layer give the forgotten classes away? Their biases and rows beside those of the retained classes.

Lowering a bias or a row suppresses a class without forgetting anything, and whoever reads the weights sees which class
it was. A retrained model is the measure here too: training without a class also lowers its bias.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

import torch
from torch import Tensor, nn

from unlearning.checks import checked_classes, checked_finite
from unlearning.errors import OptionOutOfRange, WeightsDoNotFit
from unlearning.evaluation.intervals import chi_square_quantile, normal_quantile
from unlearning.evaluation.measure import Measure

_NORMAL_QN = 2.2219
_QN_FACTORS = {2: 0.399, 3: 0.994, 4: 0.512, 5: 0.844, 6: 0.611, 7: 0.857, 8: 0.669, 9: 0.872}
_MEDIAN_SPREAD = 1.2533
_SMALLEST_SPREAD = 1e-3


def head_outlier(model: nn.Module, head: str, classes: Collection[int], excluded: Collection[int] = ()) -> Measure:
    """Return how far the forgotten rows stand out: the largest |robust z| of bias and row norm over these rows.

    z = |v - median| / s, median and s over the retained rows. s is Rousseeuw and Croux' Q_n: half of the rows may be
    odd, and it wastes little (a median absolute deviation knows as much as a standard deviation of a third as many
    rows). It is never below a thousandth of the retained rows' median norm: biases that are all zero have no spread.

    With K = 10 classes s stands on 9 numbers and may itself be off by half. The interval says so: it treats s^2 as a
    chi-square variable with (m - 1) / 2 - 1/4 degrees of freedom for m retained rows, adds the median's error, and is
    corrected for the number of z among which the largest was picked. With 2 or 3 retained rows it says hardly anything:
    an interval that is wide where nothing can be known lies within no narrow margin.

    Args:
        model: The unlearned model.
        head: Name of its last layer (see `last_layer`), with one output per class.
        classes: The forgotten classes.
        excluded: Classes forgotten earlier: neither judged nor retained.

    Returns:
        z >= 0; lower is better, down to the retrained model's. n is the number of retained rows.

    Raises:
        OptionOutOfRange: fewer than two rows are retained, so that they have no spread.
        WeightsDoNotFit: the layer has no weight with one row per class.

    References:
        Iglewicz and Hoaglin, "How to detect and handle outliers", 1993 (robust z); Rousseeuw and Croux, "Alternatives
        to the median absolute deviation", JASA 88, 1993 (Q_n); Croux and Rousseeuw, "Time-efficient algorithms for two
        highly robust estimators of scale", 1992 (its factors for few numbers).
    """
    norms, bias = _rows(model, head)
    gone = checked_classes(classes, len(norms))
    kept = _retained(len(norms), gone, excluded)
    if len(kept) < 2:
        raise OptionOutOfRange("retained rows of the last layer", "at least 2, for their spread to be known", len(kept))
    floor = _SMALLEST_SPREAD * float(norms[kept].median())
    columns = [norms] if bias is None else [norms, bias]
    scores = [score for values in columns for score in _scores(values, gone, kept, floor)]
    found = [(score, *_limits(score, len(kept), len(scores))) for score in scores]
    value, low, high = (max(column) for column in zip(*found, strict=True))
    return Measure("head_outlier", value, low, high, len(kept), None, "lower")


def bias_measures(
    model: nn.Module, head: str, classes: Collection[int], excluded: Collection[int] = ()
) -> tuple[Measure, ...]:
    """Return three published scores of the forgotten classes' biases b_V beside the retained ones' b_R.

    stability = 1 / (1 + |mean b_V - mean b_R|);  median gap = sigma(median b_V - min b_R);  minimum = sigma(min b_V -
    min b_R), sigma the logistic function: near 0 when a forgotten bias lies far below every retained one.

    Args:
        model: The unlearned model.
        head: Name of its last layer.
        classes: The forgotten classes.
        excluded: Classes forgotten earlier.

    Returns:
        `head_bias_stability`, `head_bias_median_gap`, `head_bias_minimum`; nothing for a layer without bias. No
        interval: nothing in them is estimated.

    References:
        Chen et al., "Classification-head bias in class-level machine unlearning", 2026 (BSC, MBG and MBS).
    """
    norms, bias = _rows(model, head)
    if bias is None:
        return ()
    gone = checked_classes(classes, len(norms))
    kept = _retained(len(norms), gone, excluded)
    b_v, b_r = bias[list(gone)], bias[kept]
    found = {
        "head_bias_stability": 1 / (1 + (b_v.mean() - b_r.mean()).abs()),
        "head_bias_median_gap": torch.sigmoid(b_v.quantile(0.5) - b_r.min()),
        "head_bias_minimum": torch.sigmoid(b_v.min() - b_r.min()),
    }
    return tuple(Measure(name, float(value), None, None, len(kept), None, "higher") for name, value in found.items())


def _rows(model: nn.Module, head: str) -> tuple[Tensor, Tensor | None]:
    """Return the rows' norms and the biases, float64."""
    layer = model.get_submodule(head)
    weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
    if not isinstance(weight, Tensor) or weight.ndim < 2:
        raise WeightsDoNotFit(f"'{head}' has no weight with one row per class")
    norms = checked_finite(weight.detach().cpu().double().flatten(1).norm(dim=1), f"the weight of '{head}'")
    if not isinstance(bias, Tensor):
        return norms, None
    return norms, checked_finite(bias.detach().cpu().double(), f"the bias of '{head}'")


def _retained(num_classes: int, gone: Collection[int], excluded: Collection[int]) -> list[int]:
    missing = checked_classes({*gone, *excluded}, num_classes)
    return [index for index in range(num_classes) if index not in missing]


def _scores(values: Tensor, gone: Collection[int], kept: list[int], floor: float) -> Iterator[float]:
    retained = values[kept]
    middle, spread = float(retained.quantile(0.5)), max(_spread(retained), floor)
    for index in gone:
        yield abs(float(values[index]) - middle) / spread


def _spread(values: Tensor) -> float:
    """Return Q_n: a low quantile of the distances between pairs, scaled to the standard deviation of normal numbers."""
    m = len(values)
    factor = _QN_FACTORS.get(m, m / (m + 1.4) if m % 2 else m / (m + 3.8))
    half = m // 2 + 1
    distances = torch.nn.functional.pdist(values[:, None], p=1)
    return _NORMAL_QN * factor * float(distances.kthvalue(half * (half - 1) // 2).values)


def _limits(score: float, m: int, comparisons: int) -> tuple[float, float]:
    """Return the interval of one z whose scale and centre are estimated from m rows."""
    tail = 0.025 / comparisons
    degrees = max((m - 1) / 2 - 0.25, 0.5)
    shrunk, grown = (math.sqrt(chi_square_quantile(level, degrees) / degrees) for level in (tail, 1 - tail))
    centre = normal_quantile(1 - tail) * _MEDIAN_SPREAD / math.sqrt(m)
    low = score - math.hypot(score * (1 - shrunk), centre)
    return max(0.0, low), score + math.hypot(score * (grown - 1), centre)
