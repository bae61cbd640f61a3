"""Unlearn: measure both sides on the base, choose how strong and how deep to edit, edit, and store the candidate."""

import copy
from dataclasses import asdict, dataclass
from typing import Any

from models_store.storage import StoredBlob
from models_store.weights import iterate_state
from unlearning import (
    Choice,
    Erasure,
    LayerStatistics,
    choose,
    collect,
    draw_samples,
    erase_from_statistics,
)
from worker.environment import describe
from worker.pipeline.context import Context
from worker.pipeline.data import Images, at_most, set_aside
from worker.pipeline.outputs import Erased

RETAIN, FORGET, TUNE, PROJECT = (0.0, 0.25), (0.25, 0.5), (0.5, 0.95), (0.95, 1.0)
HEADROOM_BYTES = 1 << 20
"""The candidate has the base's tensors; only the spelling of the header may be longer."""


@dataclass(frozen=True)
class Sides:
    """Which images are for what; no image is on two sides, and none is a test image."""

    retain: Images
    forget: Images
    validation: Images | None
    """None when the strength is given: nothing is left to choose."""


def run(context: Context) -> Erased:
    sides = _sides(context)
    retain = _statistics(context, sides.retain, "retain", RETAIN)
    forget = _statistics(context, sides.forget, "forget", FORGET)
    choice = _choice(context, retain, forget, sides.validation)
    erasure = _erasure(context, retain, forget, choice)
    blob = _stored(context, erasure)
    counted = {"retain": sides.retain, "forget": sides.forget, "validation": sides.validation or ()}
    return Erased(
        sha256=blob.sha256,
        size_bytes=blob.size_bytes,
        method=_method(context, erasure, choice),
        edits=[_edit(layer) for layer in map(asdict, erasure.layers)],
        untouched=[{"parameter": item.name, "share": item.share, "reason": item.reason} for item in erasure.untouched],
        samples={name: len(images) for name, images in counted.items()},
        environment=describe(context.device, seed=context.spec.seed),
    )


def _sides(context: Context) -> Sides:
    train, own = context.materials.train, context.materials.validation
    num_classes, seed = context.materials.blueprint.num_classes, context.spec.seed
    measured, validation = train, None
    if context.spec.method.alpha_r is None:
        if own is not None:
            validation = at_most(own, num_classes=num_classes, seed=seed)
        else:
            rest, aside = set_aside(train.labels, num_classes=num_classes, seed=seed)
            measured, validation = train.subset(rest), train.subset(aside)
    draw = draw_samples(
        measured.labels,
        context.loaded.erase,
        num_classes=num_classes,
        num_samples=context.spec.method.num_samples,
        seed=seed,
        excluded=context.loaded.erased_before,
    )
    return Sides(measured.subset(draw.retain), measured.subset(draw.forget), validation)


def _statistics(context: Context, images: Images, side: str, span: tuple[float, float]) -> LayerStatistics:
    return collect(
        context.materials.base,
        images.batches(),
        max_rows=context.spec.method.max_rows,
        seed=context.spec.seed,
        num_samples=len(images),
        progress=context.progress.over(span),
        side=side,
    )


def _choice(
    context: Context, retain: LayerStatistics, forget: LayerStatistics, validation: Images | None
) -> Choice | None:
    if validation is None:
        return None
    return choose(
        context.materials.base,
        retain,
        forget,
        inputs=validation.tensor(),
        labels=validation.labels,
        classes=context.loaded.erase,
        excluded=context.loaded.erased_before,
        progress=context.progress.over(TUNE),
    )


def _erasure(context: Context, retain: LayerStatistics, forget: LayerStatistics, choice: Choice | None) -> Erasure:
    method = context.spec.method
    alpha_r, alpha_f, layers = method.alpha_r, method.alpha_f, None
    if choice is not None:
        alpha_r, alpha_f, layers = choice.best.alpha_r, choice.best.alpha_f, choice.best.layers
    if alpha_r is None or alpha_f is None:
        msg = f"Expected both alphas to be given or chosen, got {alpha_r} and {alpha_f}."
        raise RuntimeError(msg)
    return erase_from_statistics(
        context.materials.base,
        retain,
        forget,
        alpha_r=alpha_r,
        alpha_f=alpha_f,
        layers=layers,
        progress=context.progress.over(PROJECT),
    )


def _stored(context: Context, erasure: Erasure) -> StoredBlob:
    candidate = copy.deepcopy(context.materials.base)
    erasure.apply_to(candidate)
    limit = context.storage.size(context.loaded.base_sha256) + HEADROOM_BYTES
    return context.storage.put(iterate_state(candidate), max_bytes=limit)


def _method(context: Context, erasure: Erasure, choice: Choice | None) -> dict[str, Any]:
    tried = choice.candidates if choice is not None else ()
    return {
        "name": context.spec.method.name,
        "alpha_r": erasure.alpha_r,
        "alpha_f": erasure.alpha_f,
        "chosen": choice is not None,
        "layers": [layer.weight for layer in erasure.layers],
        "table": [{**asdict(candidate), "layers": len(candidate.layers)} for candidate in tried],
    }


def _edit(layer: dict[str, Any]) -> dict[str, Any]:
    names = {"parameter": "weight", "rows_retain": "retain_rows", "rows_forget": "forget_rows"}
    same = {name: name for name in ("d", "m", "groups", "relative_change")}
    return {name: layer[source] for name, source in {**names, **same}.items()}
