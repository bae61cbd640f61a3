"""Uploads on trial: weights against their architecture, data sets read from end to end.

A refusal is a result: the version or the data set says why, and the job ends `rejected`, not `failed`.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.db.session import Database
from core.errors import Problem, ServiceError
from core.ledger.entries import Record, append
from core.requests.claims import Lease, finish, hold
from core.requests.tables import Job
from core.settings import Settings
from core.states import DatasetState, JobState, VersionState
from models_store.architectures import build, check_input
from models_store.datasets import DatasetSurvey, survey
from models_store.errors import UnknownDatasetLabel
from models_store.input_spec import InputSpec
from models_store.lineage.watch import watched_classes
from models_store.storage import LocalStorage
from models_store.tables import Dataset, DatasetSource, Model, ModelVersion
from models_store.weights import load_state
from worker.environment import prepare
from worker.files import CheckedFile, check_unchanged, checked_files, limits_of
from worker.guarding.guard import Guard
from worker.patience import patiently
from worker.retraining.uploads import reference_of, validate_reference

Row = TypeVar("Row", ModelVersion, Dataset)


def validate_weights(lease: Lease, database: Database, storage: LocalStorage, settings: Settings) -> None:
    """Try uploaded weights: those of the reference that names this job, else those of a version."""
    reference = reference_of(database, lease)
    if reference is None:
        validate_version(lease, database, storage, settings)
    else:
        validate_reference(lease, reference, database, storage, settings)


def validate_version(lease: Lease, database: Database, storage: LocalStorage, settings: Settings) -> None:
    """Load the uploaded weights into their architecture, strictly; then ask the guard about deleted classes."""
    while not _validated(lease, database, storage, settings):
        pass


def _validated(lease: Lease, database: Database, storage: LocalStorage, settings: Settings) -> bool:
    """Whether the answer was written; not if a class left the lineage while the guard was looking for others."""
    with database.reading() as session:
        version = _subject(session, lease, ModelVersion)
        model = version.model
    problem, finding = None, None
    try:
        spec = InputSpec.model_validate(model.input_spec)
        check_input(model.architecture, model.architecture_options, len(model.labels), spec)
        network = build(model.architecture, model.architecture_options, len(model.labels), spec.channels)
        load_state(storage.path(version.artifact_sha256), version.artifact_sha256, network)
        finding = Guard(version, network, database, storage, settings, prepare(settings)).judge()
        if finding.is_refused(settings.relearning_guard):
            problem = finding.problem()
    except ServiceError as error:
        problem = error.as_problem()
    written = False

    def write(session: Session) -> None:
        nonlocal written
        hold(session, lease)
        session.get(Model, model.id, with_for_update=True)
        row = _subject(session, lease, ModelVersion)
        if finding is not None and tuple(watched_classes(session, row)) != finding.watched:
            return
        row.state = VersionState.REFUSED if problem else VersionState.READY
        row.problem = problem
        facts: dict[str, Any] = {"model": row.model.name, "version": row.number, "sha256": row.artifact_sha256}
        if finding is not None and finding.judged:
            row.guard = finding.as_json(settings.relearning_guard)
            facts["guard"] = {
                "outcome": row.guard["outcome"],
                "judged_by": sorted({one.basis for one in finding.judged}),
                "num_above": len(finding.above),
            }
        _end(session, lease, "version.validated", row.tenant, row.state.value, facts, problem)
        written = True

    _commit(database, settings, write)
    return written


def validate_dataset(lease: Lease, database: Database, storage: LocalStorage, settings: Settings) -> None:
    """Read every image of the data set once; keep what was counted, and the digest of every file."""
    with database.reading() as session:
        dataset = _subject(session, lease, Dataset)
    problem, files, found = None, list[CheckedFile](), None
    try:
        files = checked_files(dataset, storage, settings)
        surveyed = survey([file.source for file in files], limits_of(settings))
        check_unchanged(files, dataset.sources)
        found = _checked(surveyed, dataset.labels or [])
    except ServiceError as error:
        problem = error.as_problem()

    def write(session: Session) -> None:
        hold(session, lease)
        row = _subject(session, lease, Dataset)
        row.state = DatasetState.REFUSED if found is None else DatasetState.READY
        row.problem = problem
        if found is not None:
            row.summary = found.as_json()
            row.labels = list(row.labels or []) if found.labels_are_indices else list(found.labels)
        for file in files:
            known = {"sha256": file.sha256, "size_bytes": file.size_bytes}
            session.execute(update(DatasetSource).where(DatasetSource.id == file.row_id).values(**known))
        facts = {"dataset": row.name, "files": {file.split: file.sha256 for file in files}}
        _end(session, lease, "dataset.validated", row.tenant, row.state.value, facts, problem)

    _commit(database, settings, write)


def _checked(found: DatasetSurvey, labels: list[str]) -> DatasetSurvey:
    """The survey of an npz whose registration names the classes, if its indices stay within the names.

    Raises:
        UnknownDatasetLabel: an index is past them.
    """
    past = [text for text in found.labels if int(text) >= len(labels)] if found.labels_are_indices and labels else []
    if past:
        msg = f"Expected class indices of 0 to {len(labels) - 1}, one per label given, got {', '.join(past[:5])}."
        raise UnknownDatasetLabel(msg)
    return found


def _subject(session: Session, lease: Lease, kind: type[Row]) -> Row:
    job = session.execute(select(Job).where(Job.id == lease.job_id)).scalar_one()
    row = session.get(kind, job.subject_id) if job.subject_id is not None else None
    if row is None:
        msg = f"Expected job {lease.job_id} to be about a {kind.__name__}, got none with id {job.subject_id}."
        raise RuntimeError(msg)
    return row


def _end(
    session: Session,
    lease: Lease,
    event: str,
    tenant: str,
    state: str,
    facts: dict[str, Any],
    problem: Problem | None,
) -> None:
    outcome = {"state": state} | ({"problem": problem["slug"]} if problem else {})
    append(session, Record(type=event, tenant=tenant, actor=lease.actor, request=lease.job_id, data=facts | outcome))
    finish(session, lease, JobState.REJECTED if problem else JobState.COMPLETED, problem=problem, data=outcome)


def _commit(database: Database, settings: Settings, write: Callable[[Session], None]) -> None:
    def once() -> None:
        with database.writing() as session:
            write(session)

    patiently(once, at_most=settings.lease_ttl)
