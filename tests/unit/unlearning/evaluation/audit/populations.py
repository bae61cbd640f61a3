"""Populations of models whose separation is known, and records made of them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unlearning.evaluation import Measure
from unlearning.evaluation.audit import ShadowRecord
from unlearning.evaluation.audit.records import Population

Matrix = NDArray[np.float64]


class Pair(NamedTuple):
    """phi (N, n) of both populations."""

    unlearned: Matrix
    retrained: Matrix


def normals(
    models: int | tuple[int, int], samples: int, *, shift: float = 0.0, common: float = 0.0, seed: int = 0
) -> Pair:
    """Draw two populations with unit variance around each sample's own difficulty; the first is shifted.

    `common` is the standard deviation of what a model adds to all its confidences.
    """
    rng = np.random.default_rng(seed)
    difficulty = 3 * rng.standard_normal(samples)
    first, second = (models, models) if isinstance(models, int) else models
    sides = [
        difficulty + moved + common * rng.standard_normal((count, 1)) + rng.standard_normal((count, samples))
        for count, moved in ((first, shift), (second, 0.0))
    ]
    return Pair(*sides)


def contains(measure: Measure, value: float) -> bool:
    """Is the value inside the measure's interval?"""
    assert measure.low is not None
    assert measure.high is not None
    return measure.low <= value <= measure.high


def normal_auc(shift: float) -> float:
    """Return the AUC between two unit normals that far apart: the standard normal distribution at shift / sqrt 2."""
    return 0.5 * (1 + math.erf(shift / 2))


def record(population: Population, number: int, *, shift: float = 0.0, **changes: object) -> ShadowRecord:
    """Return a record of a model with three classes: on the audit's samples class 0 has its logit shifted."""
    rng = np.random.default_rng([number, len(population)])
    logits, z_logits = (rng.standard_normal((count, 3)) for count in (20, 12))
    logits[:, 0] += shift
    fields: dict[str, object] = {
        "population": population,
        "index": number,
        "seed": number + (1000 if population == "retrained" else 0),
        "samples": "digest",
        "logits": logits,
        "labels": np.zeros(20, np.int64),
        "z_logits": z_logits,
        "z_labels": np.zeros(12, np.int64),
        "retain_accuracy": 0.9,
        "test_accuracy": 0.8,
    }
    return ShadowRecord(**{**fields, **changes})  # type: ignore[arg-type]
