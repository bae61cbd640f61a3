"""The probe is the optimum that scikit-learn finds; prototypes agree with a naive loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from tests.fixtures.small_models import normal
from unlearning.errors import EmptySide, NonFinite, OptionOutOfRange, ShapeError
from unlearning.evaluation import few_shot, fit_probe, probe_accuracy, wilson_interval


def clouds(
    per_class: int, num_classes: int = 4, width: int = 6, seed: int = 0, apart: float = 1.0
) -> tuple[Tensor, NDArray[np.int64]]:
    """Overlapping Gaussian clouds with the same centres for every seed."""
    labels = np.repeat(np.arange(num_classes), per_class).astype(np.int64)
    centres = apart * normal(num_classes, width, seed=99)
    return centres[torch.from_numpy(labels)] + normal(len(labels), width, seed=seed), labels


def test_the_probe_is_the_unique_optimum() -> None:
    x, y = clouds(50)
    l2 = 0.01
    probe = fit_probe(x, y, num_classes=4, l2=l2)
    z = ((x.double() - x.double().mean(0)) / x.double().std(0, correction=0)).numpy()
    oracle = LogisticRegression(C=1 / (l2 * len(y)), tol=1e-10, max_iter=10_000).fit(z, y)
    probability = torch.softmax(probe.logits(x), dim=1).numpy()
    np.testing.assert_allclose(probability, oracle.predict_proba(z), atol=1e-5)


def test_with_more_features_than_samples_it_is_the_same_optimum() -> None:
    x, y = normal(40, 90), np.arange(40) % 3
    probe = fit_probe(x, y, num_classes=3, l2=0.02)
    z = ((x.double() - x.double().mean(0)) / x.double().std(0, correction=0)).numpy()
    oracle = LogisticRegression(C=1 / (0.02 * len(y)), tol=1e-10, max_iter=10_000).fit(z, y)
    new = normal(20, 90, seed=1)
    z_new = ((new.double() - x.double().mean(0)) / x.double().std(0, correction=0)).numpy()
    probability = torch.softmax(probe.logits(new), dim=1).numpy()
    np.testing.assert_allclose(probability, oracle.predict_proba(z_new), atol=1e-4)


def test_a_sample_of_weight_two_counts_like_two_samples() -> None:
    x, y = clouds(12)
    doubled = np.arange(len(y)) % 3 == 0
    weights = torch.from_numpy(1.0 + doubled)
    weighted = fit_probe(x, y, num_classes=4, weights=weights)
    z = (x.double() - x.double().mean(0)) / x.double().std(0, correction=0)
    oracle = LogisticRegression(C=1 / (5e-3 * float(weights.sum())), tol=1e-10, max_iter=10_000)
    oracle.fit(z.numpy(), y, sample_weight=weights.numpy())
    probability = torch.softmax(weighted.logits(x), dim=1).numpy()
    np.testing.assert_allclose(probability, oracle.predict_proba(z.numpy()), atol=1e-4)
    with pytest.raises(ShapeError, match="weights"):
        fit_probe(x, y, num_classes=4, weights=weights[:3])


def test_shrinking_or_shifting_the_features_hides_nothing_from_the_probe() -> None:
    x, y = clouds(50)
    new, y_new = clouds(50, seed=1)
    scale, shift = torch.tensor([1e-4, 1.0, 1e3, 1.0, 2.0, 0.5]), normal(6, seed=3)
    plain = fit_probe(x, y, num_classes=4)
    moved = fit_probe(scale * x + shift, y, num_classes=4)
    torch.testing.assert_close(moved.logits(scale * new + shift), plain.logits(new), atol=1e-2, rtol=0)
    assert probe_accuracy(plain, new, y_new).value > 0.6


def test_a_dead_feature_is_harmless() -> None:
    x, y = clouds(20)
    x[:, 2] = 7.0
    assert bool(torch.isfinite(fit_probe(x, y, num_classes=4).logits(x)).all())


def test_probe_accuracy_counts_the_given_samples() -> None:
    x, y = clouds(30)
    probe = fit_probe(x, y, num_classes=4)
    new, y_new = clouds(25, seed=5)
    of_class = y_new == 2
    found = probe_accuracy(probe, new[torch.from_numpy(of_class)], y_new[of_class])
    hits = int((probe.logits(new).argmax(1).numpy() == y_new)[of_class].sum())
    assert (found.value, found.n) == (hits / 25, 25)
    assert (found.low, found.high) == wilson_interval(hits, 25)


def test_prototypes_of_all_images_are_the_nearest_class_centres() -> None:
    (x, y), (new, y_new) = clouds(30), clouds(40, seed=7)
    forget = (1, 3)
    gone = np.isin(y_new, forget)
    hits = []
    for sample, truth in zip(new.double().numpy()[gone], y_new[gone], strict=True):
        centres = [x.double().numpy()[y == index].mean(0) for index in range(4)]
        cosines = [sample @ c / np.linalg.norm(sample) / np.linalg.norm(c) for c in centres]
        hits.append(int(np.argmax(cosines)) == truth)
    (found,) = few_shot((x, y), (new[torch.from_numpy(gone)], y_new[gone]), forget, shots=(30,), seed=0)
    assert found.value == pytest.approx(np.mean(hits))
    assert found.name == "few_shot_30_forget_accuracy"
    assert found.low is not None
    assert found.high is not None
    assert wilson_interval(sum(hits), len(hits)) == pytest.approx((found.low, found.high))


def test_prototypes_find_a_class_that_is_there_and_not_one_that_looks_like_another() -> None:
    (x, y), (new, y_new) = clouds(60, apart=4), clouds(60, seed=2, apart=4)
    at = torch.from_numpy(y_new == 1)
    clear = few_shot((x, y), (new[at], y_new[y_new == 1]), {1}, seed=0)
    # Class 1 now has the features of class 0: nothing but chance tells them apart.
    x[torch.from_numpy(y == 1)], new[at] = x[torch.from_numpy(y == 0)].flip(0), new[torch.from_numpy(y_new == 0)]
    hidden = few_shot((x, y), (new[at], y_new[y_new == 1]), {1}, seed=0)
    assert [measure.name for measure in clear] == [f"few_shot_{k}_forget_accuracy" for k in (1, 5, 10, 50)]
    for before, after in zip(clear[1:], hidden[1:], strict=True):
        assert before.value > 0.9
        assert after.value < 0.6


def test_the_choice_of_images_depends_on_the_seed_alone() -> None:
    (x, y), (new, y_new) = clouds(60), clouds(60, seed=2)
    at = torch.from_numpy(y_new == 1)
    runs = [few_shot((x, y), (new[at], y_new[y_new == 1]), {1}, shots=(3,), seed=seed)[0] for seed in (4, 4, 5)]
    assert runs[0] == runs[1]
    assert runs[0].value != runs[2].value


def test_shots_that_a_class_cannot_fill_are_left_out() -> None:
    x, y = clouds(6)
    found = few_shot((x, y), (x[:6], y[:6]), {0}, shots=(1, 5, 10), seed=0)
    assert [measure.name for measure in found] == ["few_shot_1_forget_accuracy", "few_shot_5_forget_accuracy"]


def test_features_that_do_not_fit_are_refused() -> None:
    x, y = clouds(5)
    with pytest.raises(ShapeError, match="features"):
        fit_probe(x[:3], y, num_classes=4)
    with pytest.raises(OptionOutOfRange, match="l2"):
        fit_probe(x, y, num_classes=4, l2=0.0)
    with pytest.raises(NonFinite):
        fit_probe(x / 0, y, num_classes=4)
    with pytest.raises(EmptySide, match="retain"):
        few_shot((x, y), (x, y), {0, 1, 2, 3}, seed=0)
    with pytest.raises(EmptySide, match="forget"):
        few_shot((x, y), (x, y), {9}, seed=0)
