"""Relearning without training: the forgotten class's row of the last layer is written anew from a few images.

    w_f  <-  a s p + (1 - a) w_f,     p: mean of k features of the class,   s: brings p to the retained rows' norm

The bias becomes the retained ones' mean, since a masked bias would pass for forgetting otherwise. How strong the blend
is, a, the attacker chooses on the training samples it holds: the one that brings back most of the class among those
that cost the retained classes next to nothing. So nothing is chosen on the samples that judge.

References:
    Ha, Park, Yoon, "Unlearning's Blind Spots: Over-Unlearning and Prototypical Relearning Attack", ICML 2026.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unlearning.checks import checked_classes, checked_count, checked_finite
from unlearning.errors import EmptySide, OptionOutOfRange, ShapeError
from unlearning.evaluation.gaps import paired_gap
from unlearning.evaluation.measure import Measure
from unlearning.evaluation.outcomes import Outcome
from unlearning.evaluation.probes import Labels, labelled_features

PROTOTYPE_SHOTS = 5
BLENDS = tuple(step / 20 for step in range(21))
TOLERANCE = 0.02
Hits = NDArray[np.bool_]


@dataclass(frozen=True)
class Prototyped:
    """What the attack did to the samples that judge it, draw by draw.

    Attributes:
        forgotten: Which of the forgotten classes' samples are back.
        before: Were the retained samples right before the attack? bool (draws, n), every row the same.
        after: Are they right after it? n may be 0.
    """

    forgotten: Outcome
    before: Hits
    after: Hits

    def measures(self) -> tuple[Measure, ...]:
        """Return `prototype_forget_accuracy` and, with retained samples, `prototype_retain_accuracy_drop`."""
        back = self.forgotten.measure()
        if not self.before.size:
            return (back,)
        name = f"{self.forgotten.name}_retain_accuracy_drop"
        return back, paired_gap(name, self.before, self.after, seed=self.forgotten.seed, direction="lower")


def prototype_attack(
    head: nn.Linear,
    train: tuple[Tensor, Labels],
    test: tuple[Tensor, Labels],
    classes: Collection[int],
    *,
    shots: int = PROTOTYPE_SHOTS,
    draws: int = 20,
    blends: Sequence[float] = BLENDS,
    tolerance: float = TOLERANCE,
    seed: int,
) -> Prototyped:
    """Return what comes back when the forgotten classes' rows are made from a few of their images.

    Args:
        head: The last layer, whose outputs are the model's.
        train: Its inputs (n, p) and the classes of the attacker's training samples, of all classes.
        test: The same of the samples that judge; retained classes among them show what the attack costs.
        classes: The forgotten classes.
        shots: Images of each class that its row is made from; fewer where a class has fewer.
        draws: Random choices of these images.
        blends: The values of a to choose among, each in [0, 1]; 0 only gives the class its bias back.
        tolerance: Accuracy on the retained training samples that the attacker gives away at most; where every blend
            costs more, it takes the one that costs least.
        seed: Seed of the choices.

    Raises:
        ShapeError: features, labels and layer do not fit.
        EmptySide: there are no training samples of a forgotten or of any retained class, or none to judge.
        OptionOutOfRange: a blend is outside [0, 1], or there is none.
    """
    if not blends or not all(0 <= blend <= 1 for blend in blends):
        raise OptionOutOfRange("blends", "numbers in [0, 1], one or more", tuple(blends))
    gone = torch.tensor(checked_classes(classes, len(head.weight)))
    held, judged = _Side.of(head, *train, gone), _Side.of(head, *test, gone)
    pools = [torch.nonzero(held.labels == index).flatten() for index in gone]
    if not all(len(pool) for pool in pools) or not held.is_gone.any():
        raise EmptySide("forget")
    if bool(held.is_gone.all()):
        raise EmptySide("retain")
    if not judged.is_gone.any():
        raise EmptySide("forget test")
    back, after = [], []
    for rows in _prototypes(head, held.x, pools, gone, checked_count("shots", shots), draws, seed):
        after_train = {blend: held.attacked(rows, blend) for blend in blends}
        blend = _best(after_train, held, tolerance)
        right = judged.attacked(rows, blend)
        back.append(right[judged.is_gone])
        after.append(right[~judged.is_gone])
    before = judged.right_before[~judged.is_gone].expand(len(after), -1)
    outcome = Outcome("prototype", torch.stack(back).numpy(), seed)
    return Prototyped(outcome, before.numpy(), torch.stack(after).numpy())


@dataclass(frozen=True)
class _Side:
    """Samples with what the attack does not change: their retained outputs and the old rows' part of the new ones."""

    x: Tensor
    labels: Tensor
    gone: Tensor
    is_gone: Tensor
    best_kept: Tensor
    right_kept: Tensor
    old: Tensor
    right_before: Tensor
    bias: float

    @classmethod
    def of(cls, head: nn.Linear, features: Tensor, labels: Labels, gone: Tensor) -> _Side:
        x, y = labelled_features(features, labels, len(head.weight))
        if x.shape[1] != head.weight.shape[1]:
            raise ShapeError("features", f"(n, {head.weight.shape[1]})", x.shape)
        weight, bias = _double(head)
        kept = torch.tensor([index for index in range(len(weight)) if index not in gone.tolist()])
        scores = x @ weight.T + bias
        best, place = scores[:, kept].max(dim=1)
        neutral = float(bias[kept].mean())
        is_gone, right_before = torch.isin(y, gone), scores.argmax(dim=1) == y
        return cls(x, y, gone, is_gone, best, kept[place] == y, x @ weight[gone].T, right_before, neutral)

    def attacked(self, rows: Tensor, blend: float) -> Tensor:
        """Return whether each sample is right, bool (n,), with `rows` (F, p) blended into the forgotten ones."""
        scores = blend * (self.x @ rows.T) + (1 - blend) * self.old + self.bias
        top, place = scores.max(dim=1)
        is_taken = top > self.best_kept
        right: Tensor = torch.where(is_taken, self.gone[place] == self.labels, self.right_kept)
        return right


def _prototypes(
    head: nn.Linear, x: Tensor, pools: Sequence[Tensor], gone: Tensor, shots: int, draws: int, seed: int
) -> Iterator[Tensor]:
    """Yield (F, p): the mean features of a few random images of each class, as long as a usual retained row."""
    weight, _ = _double(head)
    kept = [index for index in range(len(weight)) if index not in gone.tolist()]
    length = weight[kept].norm(dim=1).median()
    generator = torch.Generator().manual_seed(seed)
    for _ in range(checked_count("draws", draws)):
        picks = [pool[torch.randperm(len(pool), generator=generator)[:shots]] for pool in pools]
        yield length * nn.functional.normalize(torch.stack([x[pick].mean(dim=0) for pick in picks]), dim=1)


def _best(attacked: dict[float, Tensor], held: _Side, tolerance: float) -> float:
    kept = ~held.is_gone
    before = float(held.right_before[kept].double().mean())
    found = [
        (float(right[kept].double().mean()), float(right[held.is_gone].double().mean()), blend)
        for blend, right in attacked.items()
    ]
    allowed = [(back, retained, blend) for retained, back, blend in found if retained >= before - tolerance]
    return max(allowed)[2] if allowed else max(found)[2]


def _double(head: nn.Linear) -> tuple[Tensor, Tensor]:
    weight = checked_finite(head.weight.detach().cpu().double(), "the last layer's weight")
    given = getattr(head, "bias", None)
    bias = given.detach().cpu().double() if isinstance(given, Tensor) else weight.new_zeros(len(weight))
    return weight, checked_finite(bias, "the last layer's bias")
