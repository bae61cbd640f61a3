"""The published method's own score, kept for comparison with its tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.svm import SVC
from torch import Tensor

from unlearning.checks import checked_count, checked_finite, checked_labels
from unlearning.errors import ShapeError
from unlearning.evaluation.accuracy import wilson_interval
from unlearning.evaluation.measure import Measure


def svc_score(
    retain_train: tuple[Tensor, Any],
    forget_train: tuple[Tensor, Any],
    forget_test: tuple[Tensor, Any],
    *,
    seed: int,
    max_samples: int = 5000,
) -> Measure:
    """Return the paper's "SVC_MIA" score, which is not a membership test.

    Both groups the classifier is fitted on are members: an RBF support vector classifier (C = 3, gamma = "auto") learns
    from the probability of the true class to tell retained (1) from forgotten (0) training samples, and the score is
    the share of the forgotten class's TEST samples that it calls forgotten. It measures whether the true class's
    probability is lower on the forgotten class, is 1 as soon as it is, and any logit mask reaches 1. Never decide by it
    alone.

    Args:
        retain_train: Outputs (n, K) and labels on training samples of retained classes.
        forget_train: The same on training samples of the forgotten classes.
        forget_test: The same on test samples of the forgotten classes.
        seed: Seed of the subsample.
        max_samples: Most training samples in total; fitting costs the square of it. The subsample keeps the proportion
            of the two groups, since the paper's score is fitted on them as they are.

    Returns:
        A share in [0, 1] with Wilson's interval over the test samples; higher is better by the paper's reading.

    References:
        Kodge, Saha, Roy, TMLR 2024; the score goes back to the evaluation code of Fan et al., "SalUn", ICLR 2024.
    """
    checked_count("max_samples", max_samples)
    rng = np.random.default_rng(seed)
    kept, gone = _true_probability(*retain_train), _true_probability(*forget_train)
    rate = min(1.0, max_samples / (len(kept) + len(gone)))
    kept, gone = _subsample(kept, rate, rng), _subsample(gone, rate, rng)
    features = np.concatenate([kept, gone])[:, None]
    target = np.concatenate([np.ones(len(kept)), np.zeros(len(gone))])
    judged = (
        SVC(C=3, gamma="auto", kernel="rbf").fit(features, target).predict(_true_probability(*forget_test)[:, None])
    )
    forgotten = int((judged == 0).sum())
    low, high = wilson_interval(forgotten, len(judged))
    return Measure("svc_score", forgotten / len(judged), low, high, len(judged), seed, "higher")


def _true_probability(logits: Tensor, labels: Iterable[int] | NDArray[Any] | Tensor) -> NDArray[np.float64]:
    z = checked_finite(logits.detach().cpu().double(), "the outputs to score")
    y = torch.from_numpy(checked_labels(labels, z.shape[1]))
    if len(y) != len(z):
        raise ShapeError("labels", f"({len(z)},)", y.shape)
    p: NDArray[np.float64] = torch.softmax(z, dim=1).gather(1, y[:, None]).squeeze(1).numpy()
    return p


def _subsample(values: NDArray[np.float64], rate: float, rng: np.random.Generator) -> NDArray[np.float64]:
    count = max(1, round(len(values) * rate))
    return values if count >= len(values) else rng.choice(values, count, replace=False)
