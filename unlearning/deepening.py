"""How deep a refit goes: as deep as retained accuracy allows, judged on validation samples.

With only the last feature layer refitted, the original's parts put back on the new features recover little, yet the
layers before it still tell the class, for a few steps of training to use. Going deeper leaves them less. Depth costs
retained accuracy, so the deepest refit that costs no more than allowed wins, and if none does, the best by the score of
`bench`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from unlearning.bench import Bench, Judgement
from unlearning.capture import Progress, find_layers
from unlearning.checks import checked_count, checked_several
from unlearning.erase import Erasure
from unlearning.evaluation.controls import classifier_layers
from unlearning.inventory import Layer
from unlearning.refit import Refit
from unlearning.targets import is_within

DEPTHS = (4, 2, 1)
"""Feature layers before the classifier that are refitted together with it, the deepest first."""
ALLOWED_DROP = 0.02
"""More than `choose` allows: a network has learned its training images by heart, those set aside included. What an edit
costs there is partly that, and overstates what it costs on images that the network has not seen."""
MOST_FORGET = 0.01
MOST_RECOVERED = 0.2


@dataclass(frozen=True)
class Depth:
    """One depth that was tried.

    Attributes:
        layers: Keys of the refitted layers, in order of execution.
        judgement: What it did on the validation samples.
    """

    layers: tuple[str, ...]
    judgement: Judgement


@dataclass(frozen=True)
class Deepening:
    """The chosen refit and all depths that were tried.

    Attributes:
        erasure: The edit of the winner.
        best: The winner.
        tried: All, in the order they were tried.
        is_good: Whether the winner kept to every limit, or is merely the best of a bad lot.
    """

    erasure: Erasure
    best: Depth
    tried: tuple[Depth, ...]
    is_good: bool


def layers_at_most(model: nn.Module, example: Tensor, depths: Sequence[int] = DEPTHS) -> tuple[str, ...]:
    """Return the keys of the layers that the deepest of `depths` refits, in order of execution.

    Args:
        model: The original.
        example: A batch of inputs (B, ...); two samples are used.
        depths: Numbers of feature layers to refit together with the classifier.
    """
    layers = find_layers(model, example).layers
    starts = _starts(layers, classifier_layers(model, example[:1]), depths)
    return tuple(layer.weight for layer in layers[starts[0] :])


def deepest_refit(
    refit: Refit,
    bench: Bench,
    *,
    depths: Sequence[int] = DEPTHS,
    allowed_drop: float = ALLOWED_DROP,
    progress: Progress | None = None,
) -> Deepening:
    """Return the deepest refit that keeps to the limits on validation samples, else the one with the best score.

    The limits: retained accuracy falls by at most `allowed_drop`, at most 1 % of the forgotten validation samples are
    still recognised, and at most 20 % of what the original recognised returns with its last layer or its classifier.

    Args:
        refit: Refits of the original, with all layers that may be refitted.
        bench: Validation samples, disjoint from the refit's.
        depths: Numbers of feature layers to refit together with the classifier.
        allowed_drop: Retained accuracy that may be lost, as a share.
        progress: Called as progress("tune", depths tried, depths at most).

    Raises:
        OptionOutOfRange: there is no depth, or one is no whole number of at least 1.
    """
    starts = _starts(refit.layers, bench.classifier, depths)
    tried: list[tuple[Depth, Erasure]] = []
    for start in starts:
        erasure = refit.of(layer.weight for layer in refit.layers[start:])
        judgement = bench.judge(erasure.weights, allowed_drop=allowed_drop)
        tried.append((Depth(tuple(report.weight for report in erasure.layers), judgement), erasure))
        if progress is not None:
            progress("tune", len(tried), len(starts))
        if _is_good(judgement, bench, allowed_drop):
            break
    best, erasure = max(
        tried, key=lambda item: (_is_good(item[0].judgement, bench, allowed_drop), item[0].judgement.score)
    )
    depths_tried = tuple(depth for depth, _ in tried)
    return Deepening(erasure, best, depths_tried, _is_good(best.judgement, bench, allowed_drop))


def _starts(layers: Sequence[Layer], classifier: Collection[str], depths: Sequence[int]) -> list[int]:
    """Return the places of the first refitted layer, the deepest first, without repetition."""
    numbers = [checked_count("a depth", depth) for depth in checked_several("depths", depths)]
    after = len(layers)
    while after and is_within(layers[after - 1], classifier):
        after -= 1
    return sorted({max(0, after - number) for number in numbers})


def _is_good(judgement: Judgement, bench: Bench, allowed_drop: float) -> bool:
    kept = judgement.retain_accuracy
    return (
        kept is not None
        and bench.retain_accuracy - kept <= allowed_drop
        and judgement.forget_accuracy <= MOST_FORGET
        and judgement.recovered <= MOST_RECOVERED
    )
