"""Verify: read the candidate back from the store and examine it beside the original, and beside a reference if any.

What is measured here is what would be published: the stored bytes, not the network that was edited. A measure that
cannot be made becomes evidence without a value, which a policy never lets pass; so does every deciding one where the
original shows that the data set's labels are not its own.

Classes deleted by earlier requests are measured again. No class may water down another: each measure of forgetting that
decides is made on every forgotten class alone, and the worst one counts.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import select
from torch import nn

from core import log
from core.errors import ServiceError
from core.requests.tables import Job
from core.states import JobKind
from models_store.references import fitting_references
from models_store.tables import Model
from unlearning.errors import UnlearningError
from worker.patience import patiently
from worker.pipeline.context import Context
from worker.pipeline.outputs import Compared, Verified
from worker.pipeline.verification import Case, Deletion, Looked, Scene, Subject, evidence_of, examine
from worker.pipeline.verification.examination import NO_REFERENCE, Examined

PASSES = ((0.0, 0.2), (0.2, 0.4), (0.4, 0.5))
"""Shares of the step in which original, candidate and reference look at the images; the rest is for the measures."""
MEASURES_FROM = 0.5

_log = log.get_logger("verify")


@dataclass(frozen=True)
class Chosen:
    """A reference's row, as far as it is needed, and how long it took to train here."""

    compared: Compared
    retrain_seconds: float | None


def run(context: Context) -> Verified:
    materials, deletion = context.materials, _deletion(context)
    scene = Scene(deletion, Looked.at(materials.train, materials.test, deletion), materials.base)
    candidate = materials.blueprint.network(context.storage, context.erased.sha256, context.device)
    original, unlearned = (
        Subject(scene, model, context.progress, span)
        for model, span in zip((materials.base, candidate), PASSES, strict=False)
    )
    chosen = patiently(partial(_chosen, context), at_most=context.settings.lease_ttl)
    reference, why_none = _reference(context, scene, chosen)
    case = Case(original, unlearned, reference, why_none)
    policy = context.spec.policy
    examined = examine(case, policy.deciding, context.progress, MEASURES_FROM)
    return Verified(
        measures=examined.measures,
        evidence=evidence_of(
            examined.measures["unlearned"], policy.deciding, why_no_reference=why_none, doubt=examined.doubt
        ),
        reference=chosen.compared if chosen is not None and reference is not None else None,
        curves=examined.curves,
        cost=_cost(context, scene, examined, chosen),
    )


def _deletion(context: Context) -> Deletion:
    loaded = context.loaded
    num_classes, asked = context.materials.blueprint.num_classes, tuple(context.spec.class_indices)
    return Deletion(loaded.forget, loaded.erase, num_classes, context.spec.seed, asked)


def _chosen(context: Context) -> Chosen | None:
    """The newest reference that lacks exactly the forgotten classes."""
    with context.database.reading() as session:
        model = session.get_one(Model, context.loaded.model_id)
        found = next(iter(fitting_references(session, model, context.loaded.forget)), None)
        if found is None or found.artifact_sha256 is None:
            return None
        trained = select(Job.result).where(Job.id == found.job_id, Job.kind == JobKind.RETRAIN)
        result: dict[str, Any] = session.execute(trained).scalar_one_or_none() or {}
        return Chosen(
            Compared(number=found.number, sha256=found.artifact_sha256, seed=found.seed), result.get("seconds")
        )


def _reference(context: Context, scene: Scene, chosen: Chosen | None) -> tuple[Subject | None, str]:
    """The reference as a network, or why there is none: damaged weights are no reason to lose the other tests."""
    if chosen is None:
        return None, NO_REFERENCE
    try:
        model: nn.Module = context.materials.blueprint.network(context.storage, chosen.compared.sha256, context.device)
    except (ServiceError, UnlearningError, OSError) as error:
        _log.warning("reference.unreadable", reference=chosen.compared.number, error=type(error).__name__)
        return None, f"Expected the weights of reference {chosen.compared.number} to be readable, got an error."
    return Subject(scene, model, context.progress, PASSES[2]), NO_REFERENCE


def _cost(context: Context, scene: Scene, examined: Examined, chosen: Chosen | None) -> dict[str, Any]:
    """What the deletion cost, and what training without the classes did."""
    cost = {
        "seconds": context.seconds.get("unlearn"),
        "samples": sum(context.erased.samples.values()),
        "peak_memory_bytes": context.erased.peak_memory_bytes,
        "verification_seconds": examined.seconds,
        "verification_samples": scene.looked.counts,
    }
    trained = None if chosen is None else chosen.retrain_seconds
    return cost if trained is None else cost | {"retrain_seconds": trained}
