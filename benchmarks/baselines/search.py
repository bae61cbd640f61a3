"""Which learning rate each method likes best, judged by training images that it is not given.

Of every class a fifth of the methods' images is held back. A setting's score is the paper's product r (1 - f), r and f
being the accuracies on the retained and the forgotten images held back. The figures are means over three
classes. Neither these classes nor the original are the tables'.
"""

import sys
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import torch
from torch import nn

from benchmarks.baselines.descent import generator_of
from benchmarks.baselines.method import Classes, Data, Diverged
from benchmarks.baselines.subjects import Problem
from benchmarks.comparison.tables import table_line
from unlearning.errors import NonFinite
from unlearning.evaluation import predict_logits

CLASSES, SEED = (1, 5, 6), 100
HELD_BACK = 0.2


def search(problem: Problem, names: Sequence[str] | None) -> None:
    """Print a table of every setting that was tried."""
    subject = problem.subject(SEED)
    given, held = divided(subject.usable, SEED)
    print("\n".join([table_line(["method", "setting", "retain", "forget", "score"]), table_line(["---"] * 5)]))
    for baseline in problem.baselines.values():
        if names is not None and baseline.name not in names:
            continue
        for settings in baseline.grid:
            try:
                models = [
                    baseline.method(subject.materials.original, given, (index,), settings, SEED) for index in CLASSES
                ]
                each = [judged(model, held, (index,)) for model, index in zip(models, CLASSES, strict=True)]
                figures = [f"{100 * fmean(values):.1f}" for values in zip(*each, strict=True)]
            except (Diverged, NonFinite):
                figures = ["", "", "diverged"]
            print(table_line([baseline.name, varied(settings), *figures]))
            sys.stdout.flush()


def divided(data: Data, seed: int) -> tuple[Data, Data]:
    """What the methods get, and what is held back of each class."""
    generator = generator_of(seed)
    held = torch.zeros(len(data), dtype=torch.bool)
    for index in data.labels.unique():
        pool = torch.nonzero(data.labels == index).flatten()
        held[pool[torch.randperm(len(pool), generator=generator)[: round(HELD_BACK * len(pool))]]] = True
    return data.at(torch.nonzero(~held).flatten()), data.at(torch.nonzero(held).flatten())


def judged(model: nn.Module, held: Data, classes: Classes) -> tuple[float, float, float]:
    """Accuracy on retained and forgotten images, and the score."""
    retain, forget = (
        float((predict_logits(model, side.inputs).argmax(dim=1) == side.labels).double().mean())
        for side in held.sides(classes)
    )
    return retain, forget, retain * (1 - forget)


def varied(settings: Any) -> str:
    """What the grid varies, in words."""
    parts = (settings, getattr(settings, "descent", None), getattr(settings, "impair", None))
    names = ("beta", "scale", "learning_rate")
    found = {name: value for name in names for part in parts if (value := getattr(part, name, None)) is not None}
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in found.items())
