"""Uploaded references on trial: whether the weights fit, and whether they lack the classes they claim to lack."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.session import Database
from core.errors import Problem, ServiceError
from core.requests import claims
from core.requests.claims import Lease
from core.settings import Settings
from core.states import JobState
from models_store.datasets import Source
from models_store.references import note_reference, original_of
from models_store.registry import refuse_unready
from models_store.storage import LocalStorage
from models_store.tables import Model, ModelVersion, Reference, ReferenceState
from unlearning.errors import UnlearningError
from worker import problems
from worker.environment import prepare
from worker.files import check_unchanged, checked_files, limits_of
from worker.patience import patiently
from worker.pipeline.data import Images
from worker.pipeline.materials import Blueprint
from worker.retraining.checks import Found, measure, refuse_unfit


def reference_of(database: Database, lease: Lease) -> Reference | None:
    """The reference whose weights this job is to check; None if it is about a version."""
    with database.reading() as session:
        return session.execute(select(Reference).where(Reference.job_id == lease.job_id)).scalar_one_or_none()


def validate_reference(
    lease: Lease, reference: Reference, database: Database, storage: LocalStorage, settings: Settings
) -> None:
    """Load the weights strictly, measure them beside the original, and write down what came of it."""
    found: Found | None = None
    problem: Problem | None = None
    try:
        found = _measured(reference, database, storage, settings)
        refuse_unfit(found)
    except ServiceError as error:
        problem = error.as_problem()
    except UnlearningError as error:
        problem = problems.refused_by_engine(error)

    def write() -> None:
        with database.writing() as session:
            _write(session, lease, reference, found, problem)

    patiently(write, at_most=settings.lease_ttl)


def _measured(reference: Reference, database: Database, storage: LocalStorage, settings: Settings) -> Found:
    device, blueprint = prepare(settings), Blueprint.of(reference.model)
    network = blueprint.network(storage, reference.artifact_sha256 or "", device)
    test = _test_split(reference, blueprint, storage, settings)
    original = _original(database, reference).artifact_sha256
    return measure(network, blueprint.network(storage, original, device), test, list(reference.absent_classes))


def _test_split(reference: Reference, blueprint: Blueprint, storage: LocalStorage, settings: Settings) -> Images:
    dataset = reference.dataset
    refuse_unready(dataset)
    files = checked_files(dataset, storage, settings)
    sources: list[Source] = [file.source for file in files]
    test = blueprint.images(sources, "test", limits_of(settings))
    check_unchanged(files, dataset.sources)
    return test


def _original(database: Database, reference: Reference) -> ModelVersion:
    with database.reading() as session:
        return original_of(session, reference.model)


def _write(session: Session, lease: Lease, reference: Reference, found: Found | None, problem: Problem | None) -> None:
    claims.hold(session, lease)
    session.get(Model, reference.model_id, with_for_update=True)
    row = session.get_one(Reference, reference.id)
    row.state = ReferenceState.REFUSED if problem else ReferenceState.READY
    row.problem = problem
    row.measures = found.as_json() if found else None
    row.fence = lease.fence
    outcome: dict[str, Any] = {"state": row.state.value} | ({"problem": problem["slug"]} if problem else {})
    note_reference(session, row, "reference.validated", actor=lease.actor, **outcome)
    claims.finish(session, lease, JobState.REJECTED if problem else JobState.COMPLETED, problem=problem, data=outcome)
