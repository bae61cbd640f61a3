"""The methods that are compared, by name. A method takes a request and returns a new model."""

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.comparison.data import Request
from unlearning import (
    Bench,
    Deepening,
    Erasure,
    Refit,
    choose,
    collect,
    deepest_refit,
    draw_samples,
    erase_classes,
    erase_from_statistics,
    layers_at_most,
)
from unlearning.evaluation import mask_bias
from unlearning.tuning import DEPTHS
from worker.pipeline.data import set_aside
from worker.pipeline.methods import REFIT_RETAIN

Method = Callable[[Request], nn.Module]

BATCH_SIZE = 128
MAX_ROWS = 10_000
NUM_SAMPLES = 900


def original(request: Request) -> nn.Module:
    """Nothing is done."""
    return request.model


def bias_mask(request: Request) -> nn.Module:
    """The null method: a constant is subtracted from one bias."""
    return mask_bias(request.model, request.forget, request.inputs[:1])


def paper_published(request: Request) -> nn.Module:
    """The paper's update of all layers with its published alphas (100, 3): 900 samples a side, 10,000 rows a layer."""
    draw = draw_samples(
        request.labels,
        request.forget,
        num_classes=request.num_classes,
        seed=request.seed,
        excluded=request.excluded,
    )
    erasure = erase_classes(
        request.model,
        retain=batches(request.inputs, draw.retain),
        forget=batches(request.inputs, draw.forget),
        max_rows=MAX_ROWS,
        seed=request.seed,
    )
    return edited(request.model, erasure)


def paper_chosen(request: Request) -> nn.Module:
    """The paper's update of all layers with alphas chosen on training images set aside for that."""
    return edited(request.model, chosen(request, depths=(0.0,))[0])


def paper_chosen_depth(request: Request) -> nn.Module:
    """The same, and how deep the edit reaches chosen as well."""
    return edited(request.model, chosen(request, depths=DEPTHS)[0])


def refit(request: Request) -> nn.Module:
    """The last layers refitted, as deep as retained accuracy on training images set aside allows: the service's own."""
    return edited(request.model, deepened(request).erasure)


METHODS: dict[str, Method] = {
    "original": original,
    "bias_mask": bias_mask,
    "paper_published": paper_published,
    "paper_chosen": paper_chosen,
    "paper_chosen_depth": paper_chosen_depth,
    "refit": refit,
}
"""All of them, in the order of the tables; `retrained` joins where a reference is supplied."""

WITHOUT_SEED = frozenset({"original", "bias_mask", "retrained"})
"""Nothing in these is random: they are measured with the first seed only."""


def batches(inputs: Tensor, index: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[Tensor]:
    """The images at `index` in batches."""
    return [inputs[part] for part in torch.from_numpy(index).split(BATCH_SIZE)]


def edited(model: nn.Module, erasure: Erasure) -> nn.Module:
    """A copy of `model` with the edit applied."""
    copied = copy.deepcopy(model)
    erasure.apply_to(copied)
    return copied


def deepened(request: Request) -> Deepening:
    """The refits that were tried, and the best of them."""
    rest, aside = set_aside(request.labels, num_classes=request.num_classes, seed=request.seed)
    few, more = (
        draw_samples(
            request.labels[rest],
            request.forget,
            num_classes=request.num_classes,
            num_samples=num_samples,
            seed=request.seed,
            excluded=request.excluded,
        )
        for num_samples in (NUM_SAMPLES, REFIT_RETAIN * NUM_SAMPLES)
    )
    refits = Refit(
        request.model,
        retain=batches(request.inputs, rest[more.retain]),
        forget=batches(request.inputs, rest[few.forget]),
        classes=[*request.forget, *request.excluded],
        layers=layers_at_most(request.model, request.inputs[:2]),
        seed=request.seed,
    )
    bench = Bench.of(
        request.model,
        request.inputs[torch.from_numpy(aside)],
        request.labels[aside],
        request.forget,
        excluded=request.excluded,
    )
    return deepest_refit(refits, bench)


def chosen(request: Request, depths: Sequence[float]) -> tuple[Erasure, float]:
    """The paper's update with alphas and depth chosen on training images set aside, and its score on them."""
    rest, aside = set_aside(request.labels, num_classes=request.num_classes, seed=request.seed)
    draw = draw_samples(
        request.labels[rest],
        request.forget,
        num_classes=request.num_classes,
        seed=request.seed,
        excluded=request.excluded,
    )
    retain, forget = (
        collect(
            request.model,
            batches(request.inputs, rest[index]),
            max_rows=MAX_ROWS,
            seed=request.seed,
            side=side,
        )
        for side, index in (("retain", draw.retain), ("forget", draw.forget))
    )
    best = choose(
        request.model,
        retain,
        forget,
        inputs=request.inputs[torch.from_numpy(aside)],
        labels=request.labels[aside],
        classes=request.forget,
        excluded=request.excluded,
        depths=depths,
    ).best
    erasure = erase_from_statistics(
        request.model, retain, forget, alpha_r=best.alpha_r, alpha_f=best.alpha_f, layers=best.layers
    )
    return erasure, best.score
