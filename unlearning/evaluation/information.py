"""How many bits about "forgotten or retained?" can be read from the features, and what share of them is left (IDI).

I(Z; Y) for Y = "of a forgotten class" is bounded from below by what a probe reads: H(Y) minus its cross-entropy on
samples it was not fitted on. The original work bounds it by InfoNCE with a trained critic, which for a binary Y adds
only what is random: its value depends on seed, steps and batch (and never exceeds the logarithm of the batch). A
convex probe has one optimum, so equal features give equal bits; what it bounds exactly is the information that is
linearly usable, the kind the other probes here attack.

References:
    Jeon et al., "An information theoretic evaluation metric for strong unlearning", AAAI 2026 (IDI); Barber and
    Agakov, "The IM algorithm", NIPS 2003 (the bound); Xu et al., "A theory of usable information under computational
    constraints", ICLR 2020.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unlearning.errors import EmptySide, ReferenceKnowsAsMuch, ShapeError, UnknownLayer
from unlearning.evaluation.intervals import Vector, resampled_means
from unlearning.evaluation.measure import Measure
from unlearning.evaluation.probes import PROBE_L2, Labels, fit_probe, labelled_features

_SIDES = ("forgotten", "retained")


@dataclass(frozen=True)
class Readable:
    """What a probe reads at one stage from the test samples, in bits.

    Attributes:
        forgotten: One number per test sample of the forgotten classes.
        retained: The same of the retained classes.
    """

    forgotten: Vector
    retained: Vector

    @property
    def bits(self) -> float:
        """The bound on I(Z; Y), both sides weighing the same: at most 1, and below 0 if the probe misleads."""
        return float(self.forgotten.mean() + self.retained.mean()) / 2


def readable_information(
    train: tuple[Tensor, Labels],
    test: tuple[Tensor, Labels],
    classes: Collection[int],
    *,
    l2: float = PROBE_L2,
) -> Readable:
    """Return 1 + log2 q(y | z) per test sample, q a probe for "forgotten or retained" on frozen features.

    Both sides weigh the same in fitting and in judging, so that H(Y) is 1 bit whatever the number of classes.

    Args:
        train: Features (n, p) and classes of the training samples.
        test: The same of the samples that are read.
        classes: The forgotten classes.
        l2: Penalty of the probe.

    Raises:
        EmptySide: training or test samples lack a forgotten or a retained class.
    """
    x, y = labelled_features(*train, None)
    x_test, y_test = labelled_features(*test, None)
    gone = torch.tensor(sorted(set(classes)))
    is_gone, is_gone_test = torch.isin(y, gone), torch.isin(y_test, gone)
    for side in (is_gone, is_gone_test):
        if not side.any():
            raise EmptySide("forget")
        if bool(side.all()):
            raise EmptySide("retain")
    share = is_gone.double().mean()
    probe = fit_probe(x, is_gone.long(), num_classes=2, l2=l2, weights=torch.where(is_gone, 1 - share, share))
    log_q = torch.log_softmax(probe.logits(x_test), dim=1).gather(1, is_gone_test.long()[:, None]).squeeze(1)
    bits = 1 + log_q / math.log(2)
    return Readable(bits[is_gone_test].numpy(), bits[~is_gone_test].numpy())


def idi(
    unlearned: Mapping[str, Readable],
    original: Mapping[str, Readable],
    reference: Mapping[str, Readable],
    *,
    name: str = "idi",
    seed: int,
    resamples: int = 1000,
) -> Measure:
    """Return the information difference index IDI = ID(u) / ID(o), ID(m) = sum over stages of I_m - I_r.

    0: as much about the forgotten classes as in a retrained model; 1: as much as before; below 0: less than in a
    retrained one, which gives the deletion away too.

    Args:
        unlearned: By stage, `readable_information` of the unlearned model.
        original: The same of the original.
        reference: The same of the retrained model, all three on the same test samples.
        name: Name of the measure.
        seed: Of the bootstrap over test samples, drawn within both sides, together for all models.
        resamples: How many.

    Returns:
        The ratio with its 95 % percentile interval.

    Raises:
        ReferenceKnowsAsMuch: the original does not hold more than the reference with 97.5 % certainty: the ratio would
            be one of noise. Small networks read a class as well that they never saw; see `information_gap`.
    """
    rng = np.random.default_rng(seed)
    sides = [
        np.stack([_differences(model, reference, side) for model in (unlearned, original)], axis=1) for side in _SIDES
    ]
    ours, before = (float(value) for value in sides[0].mean(axis=0) + sides[1].mean(axis=0))
    drawn = resampled_means(sides[0], rng, resamples) + resampled_means(sides[1], rng, resamples)
    if before <= 0 or float(np.mean(drawn[:, 1] <= 0)) > 0.025:
        raise ReferenceKnowsAsMuch(before / 2)
    usable = drawn[drawn[:, 1] > 0]
    low, high = np.quantile(usable[:, 0] / usable[:, 1], [0.025, 0.975])
    return Measure(name, ours / before, float(low), float(high), sum(map(len, sides)), seed, "two-sided")


def information_gap(
    unlearned: Mapping[str, Readable],
    reference: Mapping[str, Readable],
    *,
    name: str = "information_gap",
    seed: int,
    resamples: int = 1000,
) -> Measure:
    """Return ID = sum over stages of I_u - I_r, in bits: the numerator of `idi`, which needs no original.

    Args:
        unlearned: By stage, `readable_information` of the unlearned model.
        reference: The same of the retrained model on the same test samples.
        name: Name of the measure.
        seed: Of the bootstrap over test samples, drawn within both sides, together for both models.
        resamples: How many.
    """
    rng = np.random.default_rng(seed)
    sides = [_differences(unlearned, reference, side)[:, None] for side in _SIDES]
    value = sum(float(side.mean()) for side in sides) / 2
    drawn = (resampled_means(sides[0], rng, resamples) + resampled_means(sides[1], rng, resamples)) / 2
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Measure(name, value, float(low), float(high), sum(map(len, sides)), seed, "two-sided")


def _differences(model: Mapping[str, Readable], reference: Mapping[str, Readable], side: str) -> Vector:
    """Return (n,): per sample of one side, the bits that the model holds above the reference, over all stages.

    Raises:
        EmptySide: there is no stage.
        UnknownLayer: the two were not read at the same stages.
        ShapeError: they were read on different samples.
    """
    if not model:
        raise EmptySide("stages")
    if odd := set(model) ^ set(reference):
        raise UnknownLayer(odd, reference)
    pairs = [(getattr(model[stage], side), getattr(reference[stage], side)) for stage in model]
    for ours, theirs in pairs:
        if ours.shape != theirs.shape:
            raise ShapeError("readings of the same samples", f"{theirs.shape}", ours.shape)
    total: Vector = np.sum([ours - theirs for ours, theirs in pairs], axis=0)
    return total
