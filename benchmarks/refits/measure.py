"""One variation, made and judged on training images that neither it nor the attacker has seen."""

import copy
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.comparison.data import LABELS, SPEC, Indices, Materials, Request, network, reference_files
from benchmarks.comparison.methods import NUM_SAMPLES, batches
from benchmarks.refits.operators import removed_from
from benchmarks.refits.refit import VariedRefit, renormalised
from benchmarks.refits.variations import VARIATIONS, Removal, Variation
from models_store.datasets import Source, load_split
from models_store.normalise import normalise
from unlearning import Bench, Erasure, deepest_refit, draw_samples, layers_at_most
from unlearning.deepening import DEPTHS
from unlearning.evaluation import (
    Attacker,
    accuracy_measures,
    confusion_matrix,
    paired_drop,
    predict_logits,
    recovery_measures,
)
from worker.pipeline.data import set_aside

HELD_OUT_PER_CLASS = 500
ATTACKS = ("last_layer_back", "classifier_back", "probe", "few_shot", "all", "all_after_reset")
Sides = tuple[list[Tensor], list[Tensor]]
"""Batches of the retained and of the forgotten samples."""
UNCHANGED = ("original", "retrained")
"""Rows to compare with, beside the variations."""


def load(data: Path, models: Path) -> Materials:
    """Read the training split alone; the last images of each class's order stand where test images would."""
    train = load_split([Source(data / "cifar10-train-20k.zip", "train")], "train", LABELS, SPEC)
    everything = Materials(
        original=network(models / "cifar10_vgg11_bn.safetensors"),
        references={key: network(path) for key, path in reference_files(models).items()},
        train=train,
        test_inputs=normalise(train.x[:1], SPEC),
        test_labels=train.y[:1],
    )
    return held_out(everything)


def held_out(materials: Materials) -> Materials:
    """The same with the judging images in the test split's place."""
    index = np.concatenate([pool[-HELD_OUT_PER_CLASS:] for pool in materials.order])
    inputs, labels = materials.images(index)
    return Materials(materials.original, materials.references, materials.train, inputs, labels)


def usable(materials: Materials) -> Indices:
    """Places of the images that the methods may use: neither the attacker's nor the judges'."""
    return np.sort(
        np.concatenate([pool[materials.attacker_per_class : -HELD_OUT_PER_CLASS] for pool in materials.order])
    )


def measure(materials: Materials, name: str, index: int, seed: int, orders: int) -> dict[str, Any]:
    """Everything that the table shows of one row."""
    inputs, labels = materials.images(usable(materials))
    request = Request(materials.original, inputs, labels, (index,), (), seed)
    began = time.monotonic()
    depth: int | None = None
    if name in UNCHANGED:
        model = materials.original if name == "original" else materials.references[request.forget]
    else:
        model, depth = edited(request, VARIATIONS[name])
    seconds = time.monotonic() - began
    measures = judged(materials, model, request.forget, seed, orders)
    return {
        "class": materials.class_names[index],
        "method": name,
        "seed": seed,
        "orders": orders,
        "depth": depth,
        "seconds": round(seconds, 2),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "measures": measures,
    }


def edited(request: Request, variation: Variation | Removal) -> tuple[nn.Module, int]:
    """The variation's model, and how many feature layers it reaches; samples are drawn as the service draws them."""
    rest, aside = set_aside(request.labels, num_classes=request.num_classes, seed=request.seed)
    retain, forget = (
        draw_samples(
            request.labels[rest],
            request.forget,
            num_classes=request.num_classes,
            num_samples=num_samples,
            seed=request.seed,
        )
        for num_samples in (variation.num_retain, NUM_SAMPLES)
    )
    sides = batches(request.inputs, rest[retain.retain]), batches(request.inputs, rest[forget.forget])
    if isinstance(variation, Removal):
        layers = layers_at_most(request.model, request.inputs[:2], depths=(variation.depth,))
        operator, alphas = variation.operator, variation.alphas
        return removed_from(request.model, *sides, layers, operator, alphas, request.seed), variation.depth
    erasure, depth = erased(request, variation, sides, aside)
    model = copy.deepcopy(request.model)
    erasure.apply_to(model)
    return (renormalised(model, erasure.weights, sides[0]) if variation.renormalises else model), depth


def erased(request: Request, variation: Variation, sides: Sides, aside: Indices) -> tuple[Erasure, int]:
    """The refit's edit, and how many feature layers it reaches."""
    example = request.inputs[:2]
    depths = DEPTHS if variation.depth is None else (variation.depth,)
    layers = layers_at_most(request.model, example, depths=[max(1, depth) for depth in depths])
    classifier = len(layers_at_most(request.model, example, depths=(1,))) - 1
    refit = VariedRefit(
        request.model,
        variation,
        retain=sides[0],
        forget=sides[1],
        classes=request.forget,
        layers=layers,
        seed=request.seed,
    )
    if variation.depth is None:
        chosen = torch.from_numpy(aside)
        bench = Bench.of(request.model, request.inputs[chosen], request.labels[aside], request.forget)
        erasure = deepest_refit(refit, bench).erasure
    else:
        erasure = refit.of(layers[len(layers) - classifier - variation.depth :])
    return erasure, len(erasure.layers) - classifier


def judged(materials: Materials, model: nn.Module, gone: tuple[int, ...], seed: int, orders: int) -> dict[str, Any]:
    """The figures by name, as `comparison` names those of the test split."""
    labels = materials.test_labels
    before, after = materials.original_test_logits, predict_logits(model, materials.test_inputs)
    kept = ~np.isin(labels, gone)
    right = [(logits.argmax(dim=1).numpy() == labels) for logits in (before, after)]
    found = [
        *accuracy_measures(confusion_matrix(labels, after), gone),
        paired_drop(right[0][kept], right[1][kept]),
        *recovery_measures(
            model,
            Attacker(*materials.attacker, materials.original),
            (materials.test_inputs, labels),
            gone,
            attacks=ATTACKS,
            shots=(5,),
            orders=orders,
            seed=seed,
        ),
    ]
    known = {"original_forget_accuracy": {"value": float(right[0][~kept].mean()), "n": int((~kept).sum())}}
    return known | {measure.name: measure.as_dict() for measure in found}
