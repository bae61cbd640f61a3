"""Verify: read the candidate back from the store and measure it beside the original.

What is measured here is what would be published: the stored bytes, not the network that was edited. A measure that
cannot be made becomes evidence without a value, which a policy never lets pass.

Classes deleted by earlier requests are measured again, but they may not water down what is deleted now: each measure of
forgetting is made on the classes erased in this job, and on all forgotten classes together, and the worse one counts.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core import log
from core.errors import JobCancelled
from core.policy.policies import TestName
from core.policy.verdict import Evidence
from unlearning.errors import EmptySide
from unlearning.evaluation import (
    Measure,
    accuracy_measures,
    confusion_matrix,
    last_layer_back,
    membership_auc,
    paired_drop,
    predict_logits,
    svc_score,
)
from worker.pipeline.context import Context
from worker.pipeline.data import Images, thinned
from worker.pipeline.outputs import Verified

_log = log.get_logger("verify")

BEYOND_RECOVERY = (torch.AcceleratorError, torch.OutOfMemoryError, JobCancelled)
"""After an error of the device nothing it says can be trusted: these end the attempt, not just one measure."""


@dataclass(frozen=True)
class Looked:
    """The images that are looked at: the whole test split, and of the training split what the measures need."""

    train: Images
    test: Images

    @classmethod
    def at(cls, context: Context) -> "Looked":
        train = thinned(context.materials.train, whole=context.loaded.forget, seed=context.spec.seed)
        return cls(train, context.materials.test)


@dataclass(frozen=True)
class Answers:
    """One network's outputs on both splits."""

    train: Tensor
    test: Tensor


@dataclass
class Findings:
    """Measures as they come in, and what could not be measured."""

    measures: dict[str, Any] = field(default_factory=dict)

    def take(self, name: str, measure: Callable[[], Measure]) -> None:
        """Make one measure; whatever goes wrong in it stays its own."""
        try:
            found = measure()
        except BEYOND_RECOVERY:
            raise
        except Exception as error:  # noqa: BLE001 whatever it is, the test is inconclusive and the others go on
            _log.exception("measure.failed", measure=name)
            self.measures[name] = _missing(f"It could not be measured: {type(error).__name__}.")
        else:
            self.measures[name] = _number(found)


def run(context: Context) -> Verified:
    materials, forget = context.materials, context.loaded.forget
    candidate = materials.blueprint.network(context.storage, context.erased.sha256, context.device)
    looked = Looked.at(context)
    original = _answers(context, looked, materials.base, (0.0, 0.4))
    unlearned = _answers(context, looked, candidate, (0.4, 0.8))
    before, after = Findings(), Findings()
    _measure(context, looked, original, before)
    context.progress.reach(0.9)
    _measure(context, looked, unlearned, after)
    after.take("retain_accuracy_drop", partial(_drop, materials.test, forget, original.test, unlearned.test))
    after.take("restored_head_forget_accuracy", partial(_restored_head, context, candidate))
    context.progress.reach(1.0)
    return Verified(
        measures={"original": before.measures, "unlearned": after.measures},
        evidence=[_evidence(name, after.measures.get(name.value)) for name in TestName],
    )


def _answers(context: Context, looked: Looked, network: nn.Module, span: tuple[float, float]) -> Answers:
    train, test = looked.train, looked.test
    total = train.num_batches + test.num_batches
    middle = span[0] + (span[1] - span[0]) * train.num_batches / max(1, total)
    through = context.progress.through
    return Answers(
        predict_logits(network, through(train.batches(), train.num_batches, (span[0], middle))),
        predict_logits(network, through(test.batches(), test.num_batches, (middle, span[1]))),
    )


def _measure(context: Context, looked: Looked, answers: Answers, findings: Findings) -> None:
    forget, groups, seed = context.loaded.forget, _groups(context), context.spec.seed
    train, test = looked.train, looked.test
    for split, images, logits in (("test", test, answers.test), ("train", train, answers.train)):
        findings.take(f"retain_accuracy_{split}", partial(_accuracy, images, logits, forget, "retain_accuracy"))
        findings.take(f"forget_accuracy_{split}", partial(_worst_accuracy, images, logits, groups))
    findings.take("false_forget_rate", partial(_accuracy, test, answers.test, forget, "false_forget_rate"))

    def attack(classes: list[int]) -> Measure:
        return membership_auc(*_side(train, answers.train, classes), *_side(test, answers.test, classes), seed=seed)

    findings.take("membership_auc", lambda: max(map(attack, groups), key=_distance_from_chance))
    sides = (
        _side(train, answers.train, forget, kept=True),
        _side(train, answers.train, forget),
        _side(test, answers.test, forget),
    )
    findings.take("svc_score", lambda: svc_score(*sides, seed=seed))
    findings.measures["per_class_accuracy_test"] = _per_class(test, answers.test)


def _groups(context: Context) -> list[list[int]]:
    """The classes erased in this job, and all forgotten ones if there are more."""
    return [context.loaded.erase, *([context.loaded.forget] if context.loaded.erased_before else [])]


def _worst_accuracy(images: Images, logits: Tensor, groups: Iterable[list[int]]) -> Measure:
    found = [_accuracy(images, logits, classes, "forget_accuracy") for classes in groups]
    return max(found, key=lambda measure: (measure.high or 0.0, measure.value))


def _distance_from_chance(measure: Measure) -> float:
    low, high = (measure.value if end is None else end for end in (measure.low, measure.high))
    return max(high - 0.5, 0.5 - low)


def _accuracy(images: Images, logits: Tensor, forget: list[int], kind: str) -> Measure:
    """One of the accuracies of a split.

    Raises:
        EmptySide: the split has no image on that side.
    """
    present = sorted(set(forget) & set(images.labels.tolist()))
    if not present:
        raise EmptySide("forget")
    confusion = confusion_matrix(images.labels, logits)
    found = accuracy_measures(confusion, present, split="split", excluded=sorted(set(forget) - set(present)))
    for measure in found:
        if measure.name == f"split_{kind}":
            return measure
    raise EmptySide(kind)


def _drop(test: Images, forget: list[int], before: Tensor, after: Tensor) -> Measure:
    kept = ~np.isin(test.labels, forget)
    return paired_drop(_right(test, before)[kept], _right(test, after)[kept])


def _restored_head(context: Context, candidate: nn.Module) -> Measure:
    forgotten = context.materials.test.of_classes(context.loaded.forget)
    example = next(iter(forgotten.batches()), torch.empty(0))
    restored = last_layer_back(candidate, context.materials.base, example)
    return _worst_accuracy(forgotten, predict_logits(restored, forgotten.batches()), _groups(context))


def _side(images: Images, logits: Tensor, forget: list[int], *, kept: bool = False) -> tuple[Tensor, NDArray[np.int64]]:
    """Outputs and labels of the forgotten classes, or of all others."""
    chosen = np.flatnonzero(np.isin(images.labels, forget) != kept)
    return logits[torch.from_numpy(chosen)], images.labels[chosen]


def _right(images: Images, logits: Tensor) -> NDArray[np.bool_]:
    predicted = logits.argmax(dim=1).numpy()
    return np.asarray(predicted == images.labels)


def _per_class(images: Images, logits: Tensor) -> list[float | None]:
    confusion = confusion_matrix(images.labels, logits)
    totals, hits = confusion.sum(axis=1).tolist(), confusion.diagonal().tolist()
    return [hit / total if total else None for hit, total in zip(hits, totals, strict=True)]


def _number(measure: Measure) -> dict[str, Any]:
    return {name: value for name, value in measure.as_dict().items() if name != "name"}


def _missing(problem: str) -> dict[str, Any]:
    return {"value": None, "low": None, "high": None, "n": 0, "seed": None, "direction": "none", "problem": problem}


def _evidence(name: TestName, measure: dict[str, Any] | None) -> Evidence:
    found = measure or _missing("It was not measured.")
    return Evidence(
        name=name,
        value=found["value"],
        low=found["low"],
        high=found["high"],
        n=found["n"],
        seed=found["seed"],
        problem=found.get("problem"),
    )
