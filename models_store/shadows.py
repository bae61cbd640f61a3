"""What an audit and its shadows are asked to do: the contract between the API that writes it and the worker.

A shadow is known by its request, population, index, seed and recipe. The same again is the same work, so that a later
audit of the request takes what earlier ones have left.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.requests.tables import Job
from core.states import JobKind, JobState
from models_store.recipes import MAX_SEED, Recipe, Seed

MIN_PAIRS, MAX_PAIRS = 2, 512
AUDIT_PRIORITY, SHADOW_PRIORITY = -5, -10
"""Below every other job: a deletion is always claimed before a shadow."""

Kind = Literal["unlearned", "retrained"]
KINDS: tuple[Kind, ...] = ("unlearned", "retrained")


@dataclass(frozen=True)
class Place:
    """Which shadow of an audit."""

    population: Kind
    index: int


class AuditSpec(BaseModel):
    """An audit: how many pairs of shadows of which request, and how they are trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    request: UUID
    pairs: int = Field(ge=MIN_PAIRS, le=MAX_PAIRS)
    seed: Seed
    recipe: Recipe
    recipe_version: int

    def places(self) -> list[Place]:
        """Every shadow it needs, pair by pair: an audit that is cut short has whole pairs."""
        return [Place(population, index) for index in range(self.pairs) for population in KINDS]

    def shadow(self, place: Place) -> "ShadowSpec":
        """What one shadow is asked to do."""
        return ShadowSpec(
            request=self.request,
            population=place.population,
            index=place.index,
            audit_seed=self.seed,
            recipe=self.recipe,
            recipe_version=self.recipe_version,
        )


class ShadowSpec(BaseModel):
    """One shadow, complete enough to make it again; model, data set and method are those of the request."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    request: UUID
    population: Kind
    index: int = Field(ge=0, lt=MAX_PAIRS)
    audit_seed: Seed
    recipe: Recipe
    recipe_version: int

    @property
    def seed(self) -> int:
        """The shadow's own seed: of its training and, if it is unlearned, of that. No two of an audit share one."""
        name = f"{self.audit_seed}/{self.population}/{self.index}"
        return int.from_bytes(sha256(name.encode()).digest()[:8]) & MAX_SEED


def audits_of(session: Session, request_id: UUID) -> list[Job]:
    """The audits of a request, newest first."""
    query = select(Job).where(Job.parent_job_id == request_id, Job.kind == JobKind.AUDIT)
    return list(session.execute(query.order_by(Job.seq.desc())).scalars())


def shadows_of(session: Session, spec: AuditSpec, audit_id: UUID | None = None) -> dict[Place, Job]:
    """The shadows that stand for an audit's places: its own, else the newest completed one of any audit.

    Args:
        session: any transaction.
        spec: what the audit is asked to do.
        audit_id: the audit; None for one that is yet to be queued.
    """
    audits = select(Job.id).where(Job.parent_job_id == spec.request, Job.kind == JobKind.AUDIT)
    query = select(Job).where(Job.parent_job_id.in_(audits), Job.kind == JobKind.SHADOW)
    recipe = spec.recipe.model_dump(mode="json")
    found: dict[Place, Job] = {}
    for job in session.execute(query.order_by(Job.seq)).scalars():
        place = Place(job.spec["population"], job.spec["index"])
        is_same = job.spec["audit_seed"] == spec.seed and job.spec["recipe"] == recipe
        if not is_same or place.index >= spec.pairs:
            continue
        is_own = job.parent_job_id == audit_id
        if is_own or (job.state == JobState.COMPLETED and not _is_own(found.get(place), audit_id)):
            found[place] = job
    return found


def _is_own(job: Job | None, audit_id: UUID | None) -> bool:
    return job is not None and job.parent_job_id == audit_id
