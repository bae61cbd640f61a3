"""What is left to say when a validation has failed for good: nobody may wait for what it was about for ever.

A file that kills every process that reads it ends as a failed job; what the job was about is then refused, with the
job's problem. Looked for in the table, because the last attempt may have ended with its whole machine.
"""

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from core.db.session import Database
from core.ledger.entries import Record, append
from core.requests.tables import Job
from core.states import DatasetState, JobKind, JobState, VersionState
from models_store.tables import Dataset, ModelVersion, Reference, ReferenceState

ACTOR = "system:validation"


def refuse_unvalidated(database: Database) -> int:
    """Refuse versions, references and data sets whose validation has failed for good; returns how many there were."""
    with database.reading() as session:
        if not any(session.execute(query).first() for query in (_versions(), _references(), _datasets())):
            return 0
    with database.writing() as session:
        versions = session.execute(_versions().with_for_update(of=ModelVersion)).unique().all()
        for version, job in versions:
            version.state, version.problem = VersionState.REFUSED, job.problem
            facts = {"model": version.model.name, "version": version.number, "sha256": version.artifact_sha256}
            _note(session, job, "version.validated", facts)
        references = session.execute(_references().with_for_update(of=Reference)).unique().all()
        for reference, job in references:
            reference.state, reference.problem = ReferenceState.REFUSED, job.problem
            facts = {"model": reference.model.name, "reference": reference.number, "sha256": reference.artifact_sha256}
            _note(session, job, "reference.validated", facts)
        datasets = session.execute(_datasets().with_for_update(of=Dataset)).unique().all()
        for dataset, job in datasets:
            dataset.state, dataset.problem = DatasetState.REFUSED, job.problem
            _note(session, job, "dataset.validated", {"dataset": dataset.name})
        return len(versions) + len(references) + len(datasets)


def _versions() -> Select[ModelVersion, Job]:
    return (
        select(ModelVersion, Job)
        .join(Job, (Job.subject_id == ModelVersion.id) & (Job.kind == JobKind.VALIDATE_VERSION))
        .where(ModelVersion.state == VersionState.VALIDATING, Job.state == JobState.FAILED)
    )


def _references() -> Select[Reference, Job]:
    return (
        select(Reference, Job)
        .join(Job, Reference.job_id == Job.id)
        .where(Reference.state == ReferenceState.VALIDATING, Job.state == JobState.FAILED)
    )


def _datasets() -> Select[Dataset, Job]:
    return (
        select(Dataset, Job)
        .join(Job, (Job.subject_id == Dataset.id) & (Job.kind == JobKind.VALIDATE_DATASET))
        .where(Dataset.state == DatasetState.VALIDATING, Job.state == JobState.FAILED)
    )


def _note(session: Session, job: Job, event: str, facts: dict[str, object]) -> None:
    outcome = {"state": "refused", "problem": (job.problem or {}).get("slug", "unknown")}
    append(session, Record(type=event, tenant=job.tenant, actor=ACTOR, request=job.id, data={**facts, **outcome}))
