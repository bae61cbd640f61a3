"""What brings the classes back from a network, one attack at a time: sampled, seeded, and of the same size for all."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from unlearning.errors import NonFinite
from unlearning.evaluation import zero_bias
from unlearning.evaluation.aligned import Alignment, aligned_layer_back, fit_alignment
from unlearning.evaluation.few_shot import few_shot_outcomes
from unlearning.evaluation.neutral import has_bias
from unlearning.evaluation.outcomes import Outcome
from unlearning.evaluation.probes import PROBE_L2
from unlearning.evaluation.relearning_time import RelearningTime
from unlearning.evaluation.siege import Siege

RELEARNING_STEPS = (5, 20)
RELEARNING_WATCHED = 100
"""Forgotten test images that are looked at after every step, to see when the classes are back."""

Found = Outcome | RelearningTime

Attack = Callable[[Siege, Siege, int], tuple[Found, ...]]
"""From the network under attack, the original and a seed to what it made of the samples; nothing where there is no
place for it."""


def realigned(siege: Siege, original: Siege) -> nn.Module:
    """The network with the original's last layer, behind the map from its features to the original's."""
    return aligned_layer_back(siege.model, original.model, alignment_of(siege, original), siege.x_test)


def alignment_of(siege: Siege, original: Siege) -> Alignment:
    """That map: no forgotten image has shaped it."""
    is_kept = ~torch.isin(siege.labels, torch.tensor(siege.classes))
    return fit_alignment(siege.features[is_kept], original.features[is_kept])


def _bias_zeroed(siege: Siege, _original: Siege, _seed: int) -> tuple[Found, ...]:
    if not has_bias(siege.model, siege.last):
        return ()
    return (siege.outputs(zero_bias(siege.model, siege.last, siege.classes), "bias_zeroed"),)


def _probe(siege: Siege, _original: Siege, _seed: int) -> tuple[Found, ...]:
    return (siege.probe(siege.last, "probe", PROBE_L2),)


def _early_probe(siege: Siege, _original: Siege, _seed: int) -> tuple[Found, ...]:
    return () if siege.early is None else (siege.probe(siege.early, "early_probe", PROBE_L2),)


def _aligned_head(siege: Siege, original: Siege, _seed: int) -> tuple[Found, ...]:
    """The original's last layer, behind a map from the new features to the old that no forgotten image has shaped."""
    return (siege.outputs(realigned(siege, original), "aligned_head"),)


def _few_shot(siege: Siege, _original: Siege, seed: int) -> tuple[Found, ...]:
    train, test = (siege.features, siege.labels), (siege.test_features, siege.y_test)
    return few_shot_outcomes(train, test, siege.classes, seed=seed)


def _prototype(siege: Siege, _original: Siege, seed: int) -> tuple[Found, ...]:
    return siege.prototype(seed)


def _relearn(siege: Siege, original: Siege, seed: int, kind: str) -> tuple[Found, ...]:
    course = siege.relearning(kind, RELEARNING_STEPS, RELEARNING_WATCHED, 1, seed)
    if not course.is_finite:
        # Training that diverged brought nothing back, whatever was there: no evidence of forgetting.
        raise NonFinite("the outputs after relearning")
    time = course.time((original.test.logits.argmax(dim=1) == original.y_test).numpy())
    return course.outcomes if time is None else (*course.outcomes, time)


ATTACKS: dict[str, Attack] = {
    "bias_zeroed": _bias_zeroed,
    "probe": _probe,
    "early_probe": _early_probe,
    "aligned_head": _aligned_head,
    "few_shot": _few_shot,
    "prototype": _prototype,
    "relearn_last_after_reset": partial(_relearn, kind="last_after_reset"),
    "relearn_all_after_reset": partial(_relearn, kind="all_after_reset"),
}
"""All of them, the dearest last. Relearning starts from forgotten rows that know nothing: a masked bias would hide what
the features still hold."""

DEAREST = frozenset({"relearn_all_after_reset"})
"""Not made on the original, where it would only say that the class is there."""
