"""Rows of references, recipes and retrainings as what the API answers."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.models.references_schemas import (
    AbsentClass,
    RecipeOut,
    ReferenceOut,
    ReferencePage,
    RetrainingOut,
    RetrainingPage,
)
from app.models.views import model_url
from core.requests.tables import Job
from core.states import JobState
from models_store.lineage.labels import shown_labels
from models_store.recipes import Recipe, RetrainSpec
from models_store.tables import Model, Reference, ReferenceState, TrainingRecipe


def reference_url(model: Model, number: int) -> str:
    """Where a reference stands."""
    return f"{model_url(model.name)}/references/{number}"


def reference_out(session: Session, reference: Reference) -> ReferenceOut:
    """A reference."""
    return ReferenceOut(
        model=reference.model.name,
        reference=reference.number,
        state=reference.state,
        origin="uploaded" if reference.recipe is None else "retrained",
        absent_classes=_classes(session, reference.model, reference.absent_classes),
        dataset=reference.dataset.name,
        sha256=reference.artifact_sha256,
        size_bytes=reference.size_bytes,
        recipe=reference.recipe,
        recipe_version=reference.recipe_version,
        seed=reference.seed,
        measures=reference.measures,
        note=reference.note,
        problem=reference.problem,
        created_at=reference.created_at,
        links=_reference_links(reference),
    )


def reference_page(session: Session, model: Model, references: Sequence[Reference], limit: int) -> ReferencePage:
    """A page of references; `references` holds one more than fits if there is a next page."""
    items, after = references[:limit], None
    if len(references) > limit:
        after = f"{model_url(model.name)}/references?limit={limit}&after={items[-1].number}"
    return ReferencePage(items=[reference_out(session, reference) for reference in items], next=after)


def recipe_out(model: Model, row: TrainingRecipe) -> RecipeOut:
    """A training recipe."""
    here = f"{model_url(model.name)}/recipe"
    return RecipeOut(
        model=model.name,
        version=row.version,
        sha256=row.sha256,
        recipe=Recipe.model_validate(row.content),
        created_at=row.created_at,
        links={"self": f"{here}?version={row.version}", "newest": here, "model": model_url(model.name)},
    )


def retraining_out(session: Session, model: Model, job: Job) -> RetrainingOut:
    """A retraining."""
    spec = RetrainSpec.model_validate(job.spec)
    reference = (job.result or {}).get("reference")
    return RetrainingOut(
        id=job.id,
        state=job.state,
        step=job.step,
        percent=job.percent,
        revision=job.revision,
        attempt=job.attempt,
        fence=job.fence,
        cancel_requested=job.cancel_requested_at is not None,
        model=model.name,
        absent_classes=_classes(session, model, spec.absent_classes),
        dataset=spec.dataset,
        seed=spec.seed,
        recipe=spec.recipe.model_dump(mode="json"),
        recipe_version=spec.recipe_version,
        note=spec.note,
        reference=reference,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        result=job.result,
        problem=job.problem,
        links=_retraining_links(model, job, reference),
    )


def retraining_page(session: Session, model: Model, jobs: Sequence[Job], limit: int) -> RetrainingPage:
    """A page of retrainings; `jobs` holds one more than fits if there is a next page."""
    items, after = jobs[:limit], None
    if len(jobs) > limit:
        after = f"{model_url(model.name)}/retrain?limit={limit}&after={items[-1].id}"
    return RetrainingPage(items=[retraining_out(session, model, job) for job in items], next=after)


def _classes(session: Session, model: Model, indices: Sequence[int]) -> list[AbsentClass]:
    labels = shown_labels(session, model)
    return [AbsentClass(index=index, label=labels[index]) for index in indices]


def _reference_links(reference: Reference) -> dict[str, str]:
    here = reference_url(reference.model, reference.number)
    links = {"self": here, "model": model_url(reference.model.name), "dataset": f"/datasets/{reference.dataset.name}"}
    if reference.state == ReferenceState.DRAFT:
        links["weights"] = f"{here}/weights"
    if reference.recipe is not None:
        links["retraining"] = f"{model_url(reference.model.name)}/retrain/{reference.job_id}"
    return links


def _retraining_links(model: Model, job: Job, reference: int | None) -> dict[str, str]:
    here = f"{model_url(model.name)}/retrain/{job.id}"
    links = {"self": here, "model": model_url(model.name)}
    if reference is not None:
        links["reference"] = reference_url(model, reference)
    if not JobState(job.state).is_final:
        links["cancel"] = here
    return links
