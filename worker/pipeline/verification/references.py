"""What is measured of the unlearned network beside one that was trained without the classes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from core.policy.policies import TestName
from unlearning.errors import EmptySide
from unlearning.evaluation import (
    Measure,
    activation_distance,
    confidence_measures,
    idi,
    information_gap,
    js_distance,
    linear_cka,
    paired_gap,
    relearning_time_ratio,
    retain_accuracy_gap,
    routing_distance,
    tow,
)
from unlearning.evaluation.outcomes import Outcome
from unlearning.evaluation.relearning_time import RelearningTime
from worker.pipeline.verification.comparisons import Pair
from worker.pipeline.verification.findings import by_name
from worker.pipeline.verification.outputs import upper_end
from worker.pipeline.verification.subject import Hits, Subject


@dataclass(frozen=True)
class Triple(Pair):
    """The same, with a network that was trained without the classes."""

    reference: Subject


def tug_of_war(triple: Triple) -> Measure:
    kept = triple.unlearned.scene.deletion.kept

    def measure(classes: list[int]) -> Measure:
        sides = {
            "forget": _both(triple, "train", classes),
            "retain": _both(triple, "train", kept),
            "test": _both(triple, "test", kept),
        }
        return tow(sides)

    return triple.unlearned.scene.deletion.worst(measure, lambda found: -(found.low or 0.0))


def accuracy_gap(triple: Triple) -> Measure:
    return retain_accuracy_gap(*_both(triple, "test", triple.unlearned.scene.deletion.kept))


def routing(triple: Triple) -> Measure:
    gone = triple.unlearned.scene.deletion.forget

    def measure(classes: list[int]) -> Measure:
        ours, theirs = (one.side("test", classes)[0] for one in (triple.unlearned, triple.reference))
        return routing_distance(ours, theirs, gone, name=TestName.ROUTING_DISTANCE.value)

    return triple.unlearned.scene.deletion.worst(measure, upper_end)


def divergence(triple: Triple) -> Measure:
    def measure(classes: list[int]) -> Measure:
        return js_distance(*(one.side("test", classes)[0] for one in (triple.unlearned, triple.reference)))

    return triple.unlearned.scene.deletion.worst(measure, upper_end)


def alignment(triple: Triple) -> Measure:
    deletion, labels = triple.unlearned.scene.deletion, triple.unlearned.scene.looked.attacked.labels

    def measure(classes: list[int]) -> Measure:
        chosen = np.flatnonzero(np.isin(labels, classes))
        if not len(chosen):
            raise EmptySide("forget")
        ours, theirs = (one.features("attacked")["penultimate"][chosen] for one in (triple.unlearned, triple.reference))
        return linear_cka(ours, theirs, name=TestName.CKA_REFERENCE.value, direction="higher", seed=deletion.seed)

    return deletion.worst(measure, lambda found: -(found.value if found.low is None else found.low))


def information(triple: Triple) -> Measure:
    unlearned, original, reference = (
        one.readable.get() for one in (triple.unlearned, triple.original, triple.reference)
    )
    return idi(unlearned, original, reference, seed=triple.unlearned.scene.deletion.seed)


def gap(triple: Triple, attack: str, outcome: str, name: str) -> Measure:
    """What an attack brings back, unlearned minus reference, on the same images with the same random choices."""
    ours, theirs = (_outcome(one, attack, outcome) for one in (triple.unlearned, triple.reference))
    labels = triple.unlearned.scene.looked.attacked.labels

    def measure(classes: list[int]) -> Measure:
        chosen = np.isin(labels, classes)
        return paired_gap(name, ours.right[:, chosen], theirs.right[:, chosen], seed=ours.seed)

    return triple.unlearned.scene.deletion.worst(measure, upper_end)


def further(triple: Triple) -> dict[str, Measure]:
    """What informs: distances and differences that no policy may name."""
    forget, seed = triple.unlearned.scene.deletion.forget, triple.unlearned.scene.deletion.seed
    ours, theirs = (one.side("test", forget)[0] for one in (triple.unlearned, triple.reference))
    readings = triple.unlearned.readable.get(), triple.reference.readable.get()
    confidence = by_name(confidence_measures(ours, theirs))
    return {
        "activation_distance": activation_distance(ours, theirs),
        "information_gap": information_gap(*readings, seed=seed),
        **{name: measure for name, measure in confidence.items() if name.endswith("_gap")},
    }


def relearning_times(triple: Triple) -> dict[str, Measure]:
    """How many steps of relearning the classes need, as a multiple of the reference's; of the attacks that told."""
    found = []
    for attack in RELEARNINGS:
        ours, theirs = (one.attacked[attack].get() for one in (triple.unlearned, triple.reference))
        times = [[each for each in side if isinstance(each, RelearningTime)] for side in (ours, theirs)]
        found += [relearning_time_ratio(one, other) for one, other in zip(*times, strict=True)]
    return by_name(found)


RELEARNINGS = ("relearn_last_after_reset", "relearn_all_after_reset")

_GAPS: dict[TestName, tuple[str, str]] = {
    TestName.PROBE_GAP: ("probe", "probe"),
    TestName.EARLY_PROBE_GAP: ("early_probe", "early_probe"),
    TestName.ALIGNED_HEAD_GAP: ("aligned_head", "aligned_head"),
    TestName.FEW_SHOT_GAP: ("few_shot", "few_shot_5"),
    TestName.PROTOTYPE_GAP: ("prototype", "prototype"),
    TestName.RELEARNING_GAP: ("relearn_all_after_reset", "relearn_all_after_reset_20"),
    TestName.RELEARNING_HEAD_GAP: ("relearn_last_after_reset", "relearn_last_after_reset_20"),
}
"""For each difference the attack, and which of its outcomes."""

TESTS: dict[TestName, Callable[[Triple], Measure]] = {
    TestName.TOW: tug_of_war,
    **{
        test: partial(gap, attack=attack, outcome=outcome, name=test.value) for test, (attack, outcome) in _GAPS.items()
    },
    TestName.ROUTING_DISTANCE: routing,
    TestName.JS_DISTANCE: divergence,
    TestName.CKA_REFERENCE: alignment,
    TestName.IDI: information,
    TestName.RETAIN_ACCURACY_GAP: accuracy_gap,
}
"""Those that a policy may name."""


def _both(triple: Triple, split: str, classes: list[int]) -> tuple[Hits, Hits]:
    """Outcomes of the unlearned network and of the reference on the images of some classes."""
    chosen = np.isin(triple.unlearned.images(split).labels, classes)
    return triple.unlearned.right(split)[chosen], triple.reference.right(split)[chosen]


def _outcome(subject: Subject, attack: str, outcome: str) -> Outcome:
    found = {each.name: each for each in subject.attacked[attack].get() if isinstance(each, Outcome)}
    if outcome not in found:
        raise EmptySide(outcome.replace("_", " "))
    return found[outcome]
