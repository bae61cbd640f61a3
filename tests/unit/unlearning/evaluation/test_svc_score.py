"""The paper's score does what its code does, and is blind to what its docstring says it is blind to."""

from __future__ import annotations

import numpy as np
import torch

from unlearning.evaluation import svc_score


def outputs(probability: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
    """Outputs of two classes in which class 0, the label, has the given probability."""
    p = torch.from_numpy(probability)
    return torch.stack([p, 1 - p], dim=1).log(), np.zeros(len(probability), dtype=np.int64)


def test_low_probabilities_on_the_forgotten_class_score_one_and_high_ones_zero() -> None:
    rng = np.random.default_rng(0)
    high, low = rng.uniform(0.9, 0.99, 400), rng.uniform(0.001, 0.05, 130)
    forgotten = svc_score(outputs(high[:300]), outputs(low[:80]), outputs(low[80:]), seed=0)
    assert (forgotten.value, forgotten.high, forgotten.n) == (1.0, 1.0, 50)
    known = svc_score(outputs(high[:300]), outputs(low[:80]), outputs(high[300:]), seed=0)
    assert known.value == 0.0


def test_it_says_nothing_about_membership() -> None:
    rng = np.random.default_rng(0)
    members, others = rng.uniform(0.001, 0.02, 80), rng.uniform(0.03, 0.05, 80)
    score = svc_score(outputs(rng.uniform(0.9, 0.99, 300)), outputs(members), outputs(others), seed=0)
    assert score.value == 1.0  # though members and non-members are perfectly separable


def test_the_subsample_is_seeded_and_keeps_the_proportion() -> None:
    rng = np.random.default_rng(0)
    sides = [outputs(rng.uniform(0.2, 0.9, n)) for n in (900, 100, 200)]
    first, again = (svc_score(sides[0], sides[1], sides[2], seed=3, max_samples=100) for _ in range(2))
    assert first == again
    assert first.low is not None
