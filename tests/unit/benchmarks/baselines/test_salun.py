"""SalUn: the mask is the most salient share, what lies outside never moves, no label is the true one."""

import pytest
import torch
from torch.nn import functional

from benchmarks.baselines.descent import Descent, generator_of
from benchmarks.baselines.method import Data
from benchmarks.baselines.salun import Saliency, other_labels, saliency_masks, salun
from tests.fixtures.digits_models import FORGET, Digits
from tests.unit.benchmarks.baselines.judging import accuracy

CLASSES = (FORGET,)


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_weights_outside_the_mask_stay_bit_by_bit_despite_momentum_and_decay(
    digits: Digits, data: Data, optimiser: str
) -> None:
    descent = Descent(2, 1e-3, 64, optimiser, weight_decay=0.1, momentum=0.9)  # type: ignore[arg-type]
    model = salun(digits.original, data, CLASSES, Saliency(descent, share=0.3), 0)
    masks = saliency_masks(digits.original, data.sides(CLASSES)[1], 0.3, 64)
    pairs = list(zip(digits.original.parameters(), model.parameters(), masks, strict=True))
    assert all(torch.equal(old[~mask], new[~mask]) for old, new, mask in pairs)
    moved = sum(int((old != new).sum()) for old, new, _ in pairs)
    assert moved > 0.9 * sum(int(mask.sum()) for mask in masks)


def test_the_mask_holds_the_largest_gradients_of_the_forgotten_images(digits: Digits, data: Data) -> None:
    _, forget = data.sides(CLASSES)
    loss = functional.cross_entropy(digits.original(forget.inputs), forget.labels)
    gradients = [g.abs() for g in torch.autograd.grad(loss, list(digits.original.parameters()))]
    masks = saliency_masks(digits.original, forget, 0.5, batch_size=32)
    inside = torch.cat([g[mask] for g, mask in zip(gradients, masks, strict=True)])
    outside = torch.cat([g[~mask] for g, mask in zip(gradients, masks, strict=True)])
    assert abs(len(inside) - len(outside)) <= 1
    assert float(inside.min()) >= float(outside.max()) * (1 - 1e-3)
    assert all(parameter.grad is None for parameter in digits.original.parameters())


def test_no_label_is_the_true_one_or_another_forgotten_class() -> None:
    labels, allowed = torch.tensor([3, 8] * 500), torch.tensor([0, 1, 2, 3])
    drawn = other_labels(labels, allowed, generator_of(0))
    assert not bool((drawn == labels).any())
    assert set(drawn[labels == 3].tolist()) == {0, 1, 2}
    assert set(drawn[labels == 8].tolist()) == {0, 1, 2, 3}
    counts = torch.bincount(drawn[labels == 3])
    assert bool((counts > 120).all())  # 500 over three labels: 167 expected, standard deviation 11


def test_a_label_without_another_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got only \[3\]"):
        other_labels(torch.tensor([3]), torch.tensor([3]), generator_of(0))


def test_it_forgets_and_retains(digits: Digits, data: Data) -> None:
    retain, forget = data.sides(CLASSES)
    model = salun(digits.original, data, CLASSES, Saliency(Descent(10, 2e-3, 64)), 0)
    assert accuracy(model, forget) < 0.1
    assert accuracy(model, retain) > 0.9
