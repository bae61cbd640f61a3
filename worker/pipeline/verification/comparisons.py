"""What is measured of the unlearned network beside the original."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import Tensor, nn

from core.policy.policies import TestName
from unlearning.evaluation import (
    Measure,
    cka_measures,
    classifier_back,
    last_layer_back,
    membership_change,
    over_unlearning_measure,
    paired_drop,
    predict_logits,
    worst_class_drop,
)
from unlearning.evaluation.aligned import behind
from unlearning.evaluation.restored import working_recovery
from worker.pipeline.data import BATCH_SIZE
from worker.pipeline.verification.attacks import alignment_of, realigned
from worker.pipeline.verification.findings import by_name
from worker.pipeline.verification.outputs import upper_end
from worker.pipeline.verification.subject import Hits, Subject, right

OVER_UNLEARNING_SAMPLES = 250
"""Forgotten test images that are moved to the border: a forward and a backward, and two forwards."""

Reader = Callable[[str], Tensor]
"""What a network with something put back says of the `gone` or `beside` test images."""
PutBack = Callable[["Pair"], Reader]


@dataclass(frozen=True)
class Pair:
    """The network that is judged, and the one it was made from."""

    original: Subject
    unlearned: Subject


def retain_drop(pair: Pair) -> Measure:
    kept = _is_kept(pair)
    return paired_drop(pair.original.right("test")[kept], pair.unlearned.right("test")[kept])


def worst_drop(pair: Pair) -> Measure:
    labels, kept = pair.unlearned.images("test").labels, pair.unlearned.scene.deletion.kept
    return worst_class_drop(pair.original.right("test"), pair.unlearned.right("test"), labels, among=kept)


def retain_membership(pair: Pair) -> Measure:
    kept = pair.unlearned.scene.deletion.kept
    sides = {split: [one.side(split, kept) for one in (pair.original, pair.unlearned)] for split in ("train", "test")}
    (members, labels), (others, other_labels) = (
        ((before[0], after[0]), after[1]) for before, after in (sides["train"], sides["test"])
    )
    return membership_change(members, others, labels, other_labels)


def restored(pair: Pair, put_back: PutBack, name: str) -> Measure:
    """What returns with the original's layers on the new features, in a model that still works."""
    scene, beside = pair.unlearned.scene, pair.unlearned.scene.looked.beside
    gone, read = scene.looked.test.of_classes(scene.deletion.forget), put_back(pair)
    kept, back = right(beside, read("beside")), right(gone, read("gone"))
    kept_before, before = (pair.original.right_on("test", images) for images in (beside, gone))

    def measure(classes: list[int]) -> Measure:
        here = np.isin(gone.labels, classes)
        return working_recovery(back[here], kept, kept_before, forgotten_before=before[here], name=name)

    return scene.deletion.worst(measure, upper_end)


def over_unlearning(pair: Pair) -> Measure:
    siege, gone = pair.unlearned.siege.get(), pair.unlearned.scene.deletion.forget
    forgotten = siege.x_test[:OVER_UNLEARNING_SAMPLES], siege.y_test[:OVER_UNLEARNING_SAMPLES]
    return over_unlearning_measure(pair.unlearned.model, pair.original.model, forgotten, gone, batch_size=BATCH_SIZE)


def likeness(pair: Pair) -> dict[str, Measure]:
    """CKA with the original's features, of retained and of forgotten test images, at both places."""
    seed, both = pair.unlearned.scene.deletion.seed, (pair.unlearned, pair.original)
    retained = [one.features("beside") for one in both]
    forgotten = [one.features("attacked") for one in both]
    return by_name([
        *cka_measures(*retained, name="cka_original_retained", seed=seed),
        *cka_measures(*forgotten, name="cka_original_forgotten", seed=seed, direction="two-sided"),
    ])


def _last_layer_back(pair: Pair) -> Reader:
    scene, siege = pair.unlearned.scene, pair.unlearned.siege.get()
    if siege.linear_head is not None:
        return _from_features(pair, pair.original.model.get_submodule(scene.head))
    return _from_images(pair, last_layer_back(pair.unlearned.model, pair.original.model, scene.example))


def _classifier_back(pair: Pair) -> Reader:
    scene = pair.unlearned.scene
    return _from_images(pair, classifier_back(pair.unlearned.model, pair.original.model, scene.example))


def _realigned(pair: Pair) -> Reader:
    siege, original = pair.unlearned.siege.get(), pair.original.siege.get()
    if siege.linear_head is None:
        return _from_images(pair, realigned(siege, original))
    head = pair.original.model.get_submodule(pair.unlearned.scene.head)
    return _from_features(pair, behind(alignment_of(siege, original), head))


def _from_images(pair: Pair, model: nn.Module) -> Reader:
    images = pair.unlearned.images_of
    return lambda whose: predict_logits(model, images(whose).batches())


def _from_features(pair: Pair, head: nn.Module) -> Reader:
    """The last layer alone: what is before it has been seen already."""
    return lambda whose: predict_logits(head, pair.unlearned.features(whose)["penultimate"])


PUT_BACK: dict[TestName, PutBack] = {
    TestName.RESTORED_HEAD_FORGET_ACCURACY: _last_layer_back,
    TestName.RESTORED_CLASSIFIER_FORGET_ACCURACY: _classifier_back,
    TestName.REALIGNED_HEAD_FORGET_ACCURACY: _realigned,
}

TESTS: dict[TestName, Callable[[Pair], Measure]] = {
    TestName.RETAIN_ACCURACY_DROP: retain_drop,
    TestName.WORST_CLASS_DROP: worst_drop,
    TestName.RETAIN_MEMBERSHIP_CHANGE: retain_membership,
    **{test: partial(restored, put_back=put_back, name=test.value) for test, put_back in PUT_BACK.items()},
}
"""Those that a policy may name."""


def _is_kept(pair: Pair) -> Hits:
    return ~np.isin(pair.unlearned.images("test").labels, pair.unlearned.scene.deletion.forget)
