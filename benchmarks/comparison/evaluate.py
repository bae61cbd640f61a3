"""All measures of one unlearned model, as plain JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.comparison.data import JUDGED_PER_CLASS, MEMBERS_PER_CLASS, Indices, Materials
from unlearning.evaluation import (
    Attacker,
    Measure,
    accuracy_measures,
    confusion_matrix,
    membership_auc,
    paired_drop,
    predict_logits,
    recovery_measures,
    routing_distance,
    routing_table,
    svc_score,
)

ATTACKS = (
    "last_layer_back",
    "classifier_back",
    "probe",
    "few_shot",
    "last",
    "last_after_reset",
    "all",
    "all_after_reset",
)


def evaluate(
    materials: Materials,
    model: nn.Module,
    gone: tuple[int, ...],
    seed: int,
    orders: int = 1,
    steps: Sequence[int] = (20,),
) -> dict[str, Any]:
    """Every measure by name, and the routing table.

    Args:
        materials: Images and the original.
        model: The unlearned model.
        gone: All classes it has forgotten.
        seed: Of attacks and resampling.
        orders: Orders of the training samples that relearning is averaged over.
        steps: After how many steps of relearning to look.
    """
    test = predict_logits(model, materials.test_inputs)
    forgotten = np.isin(materials.test_labels, gone)
    at = torch.from_numpy(np.flatnonzero(forgotten))
    found = [
        *_outputs(materials, test, gone),
        *_train(materials, model, test[at], gone, seed),
        *_recovery(materials, model, gone, seed, orders, steps),
        *_routing(materials, test, at, gone),
    ]
    table = routing_table(test, materials.test_labels, gone)
    return {
        "measures": {measure.name: measure.as_dict() for measure in found},
        "routing": {materials.class_names[index]: counts.tolist() for index, counts in table.items()},
    }


def _outputs(materials: Materials, test: Tensor, gone: tuple[int, ...]) -> Iterator[Measure]:
    """Accuracies on the test split, and the drop against the original on the same images."""
    labels = materials.test_labels
    yield from accuracy_measures(confusion_matrix(labels, test), gone)
    kept = ~np.isin(labels, gone)
    before, after = ((logits.argmax(dim=1).numpy() == labels) for logits in (materials.original_test_logits, test))
    yield paired_drop(before[kept], after[kept])
    forgotten = confusion_matrix(labels[~kept], materials.original_test_logits[torch.from_numpy(~kept)])
    yield from (
        replace(measure, name="original_forget_accuracy")
        for measure in accuracy_measures(forgotten, gone)
        if measure.name == "test_forget_accuracy"
    )


def _train(
    materials: Materials, model: nn.Module, forgotten_test: Tensor, gone: tuple[int, ...], seed: int
) -> Iterator[Measure]:
    """Forget accuracy on training images, the membership attack and the paper's score."""
    kept = [index for index in range(len(materials.class_names)) if index not in gone]
    retained, y_retained = materials.judged(kept, JUDGED_PER_CLASS)
    members, y_members = materials.judged(list(gone), MEMBERS_PER_CLASS)
    z_retained, z_members = predict_logits(model, retained), predict_logits(model, members)
    y_test = materials.test_labels[np.isin(materials.test_labels, gone)]
    confusion = confusion_matrix(np.concatenate([y_retained, y_members]), torch.cat([z_retained, z_members]))
    yield from accuracy_measures(confusion, gone, split="train")
    yield membership_auc(z_members, y_members, forgotten_test, y_test, seed=seed)
    same_share = _first_of_each(y_members, JUDGED_PER_CLASS)
    yield svc_score(
        (z_retained, y_retained),
        (z_members[torch.from_numpy(same_share)], y_members[same_share]),
        (forgotten_test, y_test),
        seed=seed,
    )


def _recovery(
    materials: Materials, model: nn.Module, gone: tuple[int, ...], seed: int, orders: int, steps: Sequence[int]
) -> tuple[Measure, ...]:
    attacker = Attacker(*materials.attacker, materials.original)
    test = materials.test_inputs, materials.test_labels
    return recovery_measures(model, attacker, test, gone, attacks=ATTACKS, steps=steps, orders=orders, seed=seed)


def _routing(materials: Materials, test: Tensor, at: Tensor, gone: tuple[int, ...]) -> Iterator[Measure]:
    """Distance to the retrained model where there is one, and always to the original without the forgotten classes."""
    masked = materials.original_test_logits[at]
    yield routing_distance(test[at], masked, gone, name="routing_to_masked_original")
    if (reference := materials.references.get(gone)) is not None:
        retrained = predict_logits(reference, materials.test_inputs[at])
        yield routing_distance(test[at], retrained, gone, name="routing_to_retrained")
        yield routing_distance(test[at], retrained, gone, distance="jensen_shannon", name="jensen_shannon_to_retrained")


def _first_of_each(labels: Indices, count: int) -> Indices:
    """Positions of the first `count` of each class."""
    return np.concatenate([np.flatnonzero(labels == index)[:count] for index in np.unique(labels)])
