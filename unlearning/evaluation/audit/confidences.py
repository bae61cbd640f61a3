"""What an audit compares: the confidence of the true class on a scale where it is close to normal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unlearning.checks import checked_finite, checked_labels
from unlearning.errors import NonFinite, OptionOutOfRange, ShapeError

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Labels = Iterable[int] | NDArray[Any] | Tensor

LEAST_MODELS = 4
"""Fewest models per population: with two held out of 2 x 4, three are left to estimate a mean and a variance."""
LEAST_SAMPLES = 10
"""Fewest samples: below, resampling them says nothing about their spread."""
MARGIN_LIMIT = 100.0


def logit_scaled_confidence(logits: Tensor | NDArray[Any], labels: Labels) -> Vector:
    """Return phi = z_y - log sum_{j != y} exp z_j, which is log p_y - log (1 - p_y) without ever forming 1 - p_y.

    In float64 and from the logits, so that a probability that rounds to one in float32 keeps its place.

    Args:
        logits: Outputs (n, K), K >= 2; log-probabilities give the same.
        labels: True classes (n,).

    Returns:
        phi (n,), float64.

    Raises:
        ShapeError: the outputs are no (n, K) matrix with K >= 2, or there are not as many labels.
        NonFinite: an output is NaN or infinite.

    References:
        Carlini et al., "Membership inference attacks from first principles", S&P 2022, section IV-C.

    Example:
        >>> logit_scaled_confidence(torch.tensor([[800.0, 0.0], [0.0, 2.0]]), [0, 0]).tolist()
        [800.0, -2.0]
    """
    z = torch.as_tensor(logits).detach().cpu().double()
    if z.ndim != 2 or z.shape[1] < 2:
        raise ShapeError("outputs", "(n, K) with K >= 2", z.shape)
    y = torch.from_numpy(checked_labels(labels, z.shape[1]))[:, None]
    if len(y) != len(z):
        raise ShapeError("labels", f"({len(z)},)", y.squeeze(1).shape)
    checked_finite(z, "the outputs under audit")
    phi: Vector = (
        (z.gather(1, y) - torch.logsumexp(z.scatter(1, y, -torch.inf), dim=1, keepdim=True)).squeeze(1).numpy()
    )
    return phi


def clipped_margin(phi: NDArray[Any]) -> NDArray[np.float64]:
    """Return phi between -100 and 100: KLOM's margin."""
    return np.clip(np.asarray(phi, dtype=np.float64), -MARGIN_LIMIT, MARGIN_LIMIT)


def log_probability(phi: NDArray[Any]) -> NDArray[np.float64]:
    """Return log p_y = -log (1 + exp -phi), finite for every phi."""
    return -np.logaddexp(0.0, -np.asarray(phi, dtype=np.float64))


def checked_populations(
    unlearned: NDArray[Any],
    retrained: NDArray[Any],
    *,
    least_models: int = LEAST_MODELS,
    least_samples: int = LEAST_SAMPLES,
    samples: str = "samples",
) -> tuple[Matrix, Matrix]:
    """Return both populations' confidences as float64 matrices of the same samples.

    Args:
        unlearned: phi (N, n) of models trained with the samples, then unlearned.
        retrained: phi (N', n) of models trained without them.
        least_models: Fewest rows of each.
        least_samples: Fewest columns.
        samples: What the columns are called in a refusal.

    Raises:
        ShapeError: they are no matrices, or not of the same samples.
        OptionOutOfRange: there are too few models or samples; the message says how many are needed.
        NonFinite: a confidence is NaN or infinite.
    """
    sides = {"unlearned": np.asarray(unlearned, np.float64), "retrained": np.asarray(retrained, np.float64)}
    for name, phi in sides.items():
        if phi.ndim != 2:
            raise ShapeError(f"confidences of the {name} models", "(N, n)", phi.shape)
        if len(phi) < least_models:
            raise OptionOutOfRange(f"the number of {name} models", f"at least {least_models}", len(phi))
        if not np.isfinite(phi).all():
            raise NonFinite(f"the confidences of the {name} models")
    u, r = sides["unlearned"], sides["retrained"]
    if u.shape[1] != r.shape[1]:
        raise ShapeError("confidences of the retrained models", f"(N, {u.shape[1]})", r.shape)
    if u.shape[1] < least_samples:
        raise OptionOutOfRange(f"the number of {samples}", f"at least {least_samples}", u.shape[1])
    return u, r


def checked_released(released: NDArray[Any], num_samples: int) -> Matrix:
    """Return the released model's confidences as one row (1, n).

    Raises:
        ShapeError: they are no vector of the same samples.
        NonFinite: a confidence is NaN or infinite.
    """
    phi = np.asarray(released, np.float64)
    if phi.shape != (num_samples,):
        raise ShapeError("confidences of the released model", f"({num_samples},)", phi.shape)
    if not np.isfinite(phi).all():
        raise NonFinite("the confidences of the released model")
    return phi[None]
