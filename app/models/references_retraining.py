"""Asking for retrainings, finding and withdrawing them."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.dependencies import Caller
from app.errors import MalformedParameter
from app.models.references_rules import checked, refuse_untrainable
from app.models.references_schemas import RetrainIn
from core.errors import NotFound
from core.requests import claims
from core.requests.repository import enqueue
from core.requests.tables import Job
from core.states import JobKind
from models_store.recipes import Recipe, RetrainSpec, find_recipe
from models_store.registry import find_model
from models_store.tables import Model


class UnknownRetraining(NotFound):
    """The model has no retraining with this id."""

    slug = "unknown-retraining"
    title = "Unknown retraining"


def retrain(session: Session, who: Caller, name: str, body: RetrainIn, max_attempts: int) -> tuple[Model, Job]:
    """Queue a retraining with its ledger entry; the caller commits.

    Raises:
        ServiceError: model, recipe, data set, classes or images do not allow it.
    """
    model = find_model(session, who.tenant, name)
    recipe, version = _recipe(session, model, body.recipe)
    asked = checked(session, who, model, body)
    refuse_untrainable(asked)
    spec = RetrainSpec(
        model=model.name,
        absent_classes=sorted(asked.absent),
        dataset=asked.dataset.name,
        seed=recipe.drawn_seed() if body.seed is None else body.seed,
        recipe=recipe,
        recipe_version=version,
        note=body.note,
    )
    job = enqueue(
        session,
        JobKind.RETRAIN,
        tenant=who.tenant,
        actor=who.actor,
        spec=spec.model_dump(mode="json"),
        max_attempts=max_attempts,
        model_id=model.id,
    )
    return model, job


def find_retraining(session: Session, model: Model, job_id: UUID, *, lock: bool = False) -> Job:
    """The model's retraining with this id.

    Raises:
        UnknownRetraining: there is none.
    """
    query = select(Job).where(Job.id == job_id, Job.model_id == model.id, Job.kind == JobKind.RETRAIN)
    job = session.execute(query.with_for_update() if lock else query).scalar_one_or_none()
    if job is None:
        msg = f"Expected the id of a retraining of model {model.name!r}, got {job_id}."
        raise UnknownRetraining(msg)
    return job


def retrainings_before(session: Session, model: Model, after: str | None, limit: int) -> list[Job]:
    """The model's retrainings, newest first; one more than `limit` if there are more.

    Raises:
        MalformedParameter: `after` is not the id of one of them.
    """
    query = select(Job).where(Job.model_id == model.id, Job.kind == JobKind.RETRAIN)
    if after is not None:
        try:
            query = query.where(Job.seq < find_retraining(session, model, UUID(after)).seq)
        except (ValueError, UnknownRetraining) as error:
            msg = "Expected `after` to be the id of the last retraining already seen."
            raise MalformedParameter(msg, "after") from error
    return list(session.execute(query.order_by(Job.seq.desc()).limit(limit + 1)).scalars())


def cancel(session: Session, who: Caller, name: str, job_id: UUID) -> tuple[Model, Job]:
    """Withdraw a retraining: at once while it waits, between two batches while it runs; the caller commits.

    Raises:
        UnknownModel: the tenant has no model of this name.
        UnknownRetraining: it has no such retraining.
        InvalidMove: the retraining is final.
    """
    model = find_model(session, who.tenant, name)
    job = find_retraining(session, model, job_id, lock=True)
    return model, claims.cancel(session, job, actor=who.actor)


def _recipe(session: Session, model: Model, given: Recipe | None) -> tuple[Recipe, int | None]:
    if given is not None:
        return given, None
    row = find_recipe(session, model)
    return Recipe.model_validate(row.content), row.version
