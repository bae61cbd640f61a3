"""What returns when the original's layers are put back, counted only as far as the model still works with them.

Put on features they were never fitted to, an old layer may call nearly everything the forgotten class: a model
retrained from scratch then has a high "forget accuracy" and is useless. That is not a way back to the class. On
features that were left alone, the retained classes come back as well, and everything counts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unlearning.errors import EmptySide, ShapeError
from unlearning.evaluation.accuracy import wilson_interval
from unlearning.evaluation.intervals import Estimate, multiplied
from unlearning.evaluation.measure import Measure

Hits = NDArray[np.bool_]


LEAST_KNOWN = 0.25
"""An original that knew less of the classes is taken to have known this much: of what nobody ever learned not even the
upper end of an interval around 0 would be a small part, and a class that was known badly could never be deleted."""


def working_recovery(
    forgotten: Hits, kept: Hits, kept_before: Hits, *, name: str, forgotten_before: Hits | None = None
) -> Measure:
    """Return how much of the class a restored model has back, discounted by what it can no longer do.

    value = min(1, f / g) min(1, q / p),   f: accuracy on forgotten samples, q: on retained ones, of the restored model;
                                           g, p: the original's on the same samples, g at least `LEAST_KNOWN`

    1 is a class that is back in a model as good as the original; 0 is no class or no model. Without g a class that the
    original knew badly would pass untouched. f and q stand on different samples, so the interval adds what each of them
    moves the product by like standard errors (MOVER). g and p scale and are taken as they are: f and q stand on the
    same samples. At the upper end each counts with the other's upper limit, so that the interval keeps a width when
    both are 0.

    It hides from this who rotates the features: the old layers then find neither the forgotten class nor the others. A
    linear map in front of them turns the features back (see `aligned`).

    Args:
        forgotten: Is each forgotten sample put into its class by the restored model? bool (n,).
        kept: The same for retained samples, bool (m,).
        kept_before: Was each of those right in the original? bool (m,).
        name: Name of the measure.
        forgotten_before: Was each forgotten sample right in the original? bool (n,). None for g = 1: plain accuracy.

    Returns:
        In [0, 1], lower is better; n counts the forgotten samples. Without any discount where the original was right
        about none of the retained samples: there was nothing to lose.

    Raises:
        EmptySide: there are no forgotten or no retained samples.
        ShapeError: samples before and after are not the same ones.

    References:
        Zou and Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 27, 2008.

    Example:
        >>> everything = np.ones(100, dtype=bool)
        >>> working_recovery(everything, everything, everything, name="untouched").value
        1.0
        >>> working_recovery(everything, ~everything, everything, name="foreign features").value
        0.0
    """
    if kept.shape != kept_before.shape:
        raise ShapeError("outcomes of the retained samples", f"{kept_before.shape}", kept.shape)
    if forgotten_before is not None and forgotten.shape != forgotten_before.shape:
        raise ShapeError("outcomes of the forgotten samples", f"{forgotten_before.shape}", forgotten.shape)
    for side, hits in (("forget", forgotten), ("retain", kept)):
        if not len(hits):
            raise EmptySide(side)
    known = 1.0 if forgotten_before is None else max(LEAST_KNOWN, float(forgotten_before.mean()))
    before = float(kept_before.mean())
    found = _part(forgotten, known), _part(kept, before)
    return Measure(name, found[0][0] * found[1][0], *multiplied(*found), len(forgotten), None, "lower")


def _part(hits: Hits, of: float) -> Estimate:
    """A share with its limits, as a part of another one; all of it where that is 0."""
    successes, n = int(hits.sum()), len(hits)
    low, high = wilson_interval(successes, n)
    value, low, high = (min(1.0, end / of) if of else 1.0 for end in (successes / n, low, high))
    return value, low, high
