"""How much of a class comes back from a few of its images: class centres, without any training."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from unlearning.checks import checked_count
from unlearning.errors import EmptySide
from unlearning.evaluation.measure import Measure
from unlearning.evaluation.outcomes import Outcome
from unlearning.evaluation.probes import Labels, labelled_features

SHOTS = (1, 5, 10, 50)


def few_shot(
    train: tuple[Tensor, Labels],
    test: tuple[Tensor, Labels],
    classes: Collection[int],
    *,
    shots: Sequence[int] = SHOTS,
    draws: int = 20,
    seed: int,
    prefix: str = "",
) -> tuple[Measure, ...]:
    """Return how much of the forgotten classes comes back from k images each, for every k in `shots`.

    Nearest class centre by cosine: a retained class's centre is the mean of all its training features, a forgotten
    class's that of k random ones, and a test sample belongs to the centre at the smallest angle. No training, no
    labels but k per class: the cheapest way back.

    Args:
        train: Features (n, p) and classes of training samples of all classes.
        test: The same of test samples of the forgotten classes.
        classes: The forgotten classes; each class needs training samples.
        shots: Numbers of images; those that some forgotten class cannot fill are left out.
        draws: Random choices of the k images that are averaged: a single one of 5 images varies by points.
        seed: Seed of the choices.
        prefix: Before the names.

    Returns:
        Measures `<prefix>few_shot_<k>_forget_accuracy`: the mean accuracy over draws. The interval adds the spread of
        the draws to Wilson's interval of the test samples.

    Raises:
        EmptySide: there are no retained, forgotten or test samples.
        ShapeError: features and labels do not fit.
    """
    outcomes = few_shot_outcomes(train, test, classes, shots=shots, draws=draws, seed=seed, prefix=prefix)
    return tuple(outcome.measure() for outcome in outcomes)


def few_shot_outcomes(
    train: tuple[Tensor, Labels],
    test: tuple[Tensor, Labels],
    classes: Collection[int],
    *,
    shots: Sequence[int] = SHOTS,
    draws: int = 20,
    seed: int,
    prefix: str = "",
) -> tuple[Outcome, ...]:
    """Return what `few_shot` measures, sample by sample and draw by draw; equal seeds choose the same images.

    Args:
        train: See `few_shot`, as for all others.
        test: Features and classes of the samples that are judged.
        classes: The forgotten classes.
        shots: Numbers of images.
        draws: Random choices of the images.
        seed: Seed of the choices.
        prefix: Before the names.

    Raises:
        EmptySide: there are no retained, forgotten or test samples.
    """
    x, y = labelled_features(*train, None)
    x_test, y_test = labelled_features(*test, None)
    wanted = sorted({int(index) for index in classes})
    pools = [torch.nonzero(y == index).flatten() for index in wanted]
    kept = sorted(set(y.tolist()) - set(wanted))
    if not kept:
        raise EmptySide("retain")
    if not all(len(pool) for pool in pools):
        raise EmptySide("forget")
    centres = torch.stack([x[y == index].mean(dim=0) for index in kept])
    judged, owners = functional.normalize(x_test, dim=1), torch.tensor(wanted)
    best_kept = (judged @ functional.normalize(centres, dim=1).T).amax(dim=1)
    checked_count("draws", draws)
    generator = torch.Generator().manual_seed(seed)
    outcomes = []
    for k in shots:
        if checked_count("a number of shots", k) > min(len(pool) for pool in pools):
            continue
        rows = []
        for _ in range(draws):
            picked = [pool[torch.randperm(len(pool), generator=generator)[:k]] for pool in pools]
            drawn = torch.stack([x[pick].mean(dim=0) for pick in picked])
            cosine, place = (judged @ functional.normalize(drawn, dim=1).T).max(dim=1)
            rows.append((cosine > best_kept) & (owners[place] == y_test))
        outcomes.append(Outcome(f"{prefix}few_shot_{k}", torch.stack(rows).numpy(), seed))
    return tuple(outcomes)
