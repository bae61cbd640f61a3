"""Unlearn: draw the images of both sides, edit the base by the request's method, and store the candidate."""

import copy
from dataclasses import asdict
from typing import Any

from models_store.storage import StoredBlob
from models_store.weights import iterate_state
from unlearning import Erasure
from worker.environment import describe, peak_memory_bytes
from worker.guarding.prototypes import MAX_BYTES, Prototypes
from worker.pipeline.context import Context
from worker.pipeline.methods import Made, method_of, sides_of
from worker.pipeline.outputs import Erased

HEADROOM_BYTES = 1 << 20
"""The candidate has the base's tensors; only the spelling of the header may be longer."""


def run(context: Context) -> Erased:
    sides = sides_of(context)
    made = method_of(context)(context, sides, (0.0, 1.0))
    blob = _stored(context, made.erasure)
    retain = sides.retain if made.erasure.method == "paper" else sides.retain_more
    counted = {"retain": retain, "forget": sides.forget, "validation": sides.validation or ()}
    return Erased(
        sha256=blob.sha256,
        size_bytes=blob.size_bytes,
        method=_method(made),
        edits=[_edit(layer) for layer in map(asdict, made.erasure.layers)],
        untouched=[
            {"parameter": item.name, "share": item.share, "reason": item.reason} for item in made.erasure.untouched
        ],
        samples={name: len(images) for name, images in counted.items()},
        environment=describe(context.device, seed=context.spec.seed),
        peak_memory_bytes=peak_memory_bytes(),
        prototypes=_prototypes(context),
    )


def _prototypes(context: Context) -> str | None:
    if not context.settings.guard_prototypes:
        return None
    loaded, materials = context.loaded, context.materials
    kept = Prototypes.take(materials.base, materials.train, loaded.erase, loaded.erased_before)
    return None if kept is None else context.storage.put([kept.to_bytes()], max_bytes=MAX_BYTES).sha256


def _stored(context: Context, erasure: Erasure) -> StoredBlob:
    candidate = copy.deepcopy(context.materials.base)
    erasure.apply_to(candidate)
    limit = context.storage.size(context.loaded.base_sha256) + HEADROOM_BYTES
    return context.storage.put(iterate_state(candidate), max_bytes=limit)


def _method(made: Made) -> dict[str, Any]:
    erasure = made.erasure
    return {
        "name": erasure.method,
        "alpha_r": erasure.alpha_r,
        "alpha_f": erasure.alpha_f,
        "chosen": made.score is not None,
        "layers": [layer.weight for layer in erasure.layers],
        "table": made.table,
    }


def _edit(layer: dict[str, Any]) -> dict[str, Any]:
    names = {"parameter": "weight", "rows_retain": "retain_rows", "rows_forget": "forget_rows"}
    same = {name: name for name in ("d", "m", "groups", "relative_change")}
    return {name: layer[source] for name, source in {**names, **same}.items()}
