"""What a purge is to remove and what has to stay, decided in one transaction and written down before any byte goes.

What holds the classes of a request: the quarantined versions of its lineage, refused uploads and rejected candidates,
references that were trained with the classes, records of shadow models (answers to single images), prototypes, and the
images in data sets that the lineage was worked on with. Statistics of layers are never stored. What somebody still
needs stays, and the target says who. What an earlier purge removed is listed again: that it is absent is proved anew,
and what a purge that failed left behind goes now.
"""

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.requests.tables import Job, JobStep, UnlearnRequest
from core.states import DatasetState, JobKind, JobState, Step, VersionState
from models_store.lineage.holders import holder_of
from models_store.lineage.kinship import models_akin, relatives
from models_store.lineage.retired import RETIRED
from models_store.lineage.tables import Effect, Quarantine, Relation
from models_store.tables import Dataset, ForgottenClass, Model, ModelVersion, Reference

Kind = Literal["version", "refused-upload", "rejected-candidate", "reference", "shadow-record", "prototypes", "images"]
WORKING = (JobKind.UNLEARN, JobKind.RETRAIN, JobKind.SHADOW, JobKind.AUDIT, JobKind.REPLAY)
OPEN = (JobState.QUEUED, JobState.RUNNING)
_TRAINED_ON = Job.spec["dataset"].as_string()
"""The data set's name in the spec of a training; until that has made a reference nothing else tells of it."""


@dataclass(frozen=True)
class Target:
    """One thing that holds the classes. `stays` is the reason for which it must be left alone."""

    kind: Kind
    what: str
    sha256: str | None
    row_id: int | None = None
    """Of the version, reference or data set source."""
    classes: tuple[str, ...] = ()
    """For images: the labels (or indices, as text) to be removed. Not for the ledger."""
    stays: str | None = None

    def as_json(self) -> dict[str, Any]:
        """As kept with the purge; not for the ledger, since labels are in it."""
        return asdict(self) | {"classes": list(self.classes)}

    @classmethod
    def of(cls, stored: dict[str, Any]) -> "Target":
        """A target as `as_json` gave it."""
        return cls(**(stored | {"classes": tuple(stored["classes"])}))


def plan(session: Session, request: UnlearnRequest, own_job: UUID) -> list[Target]:
    """Everything that holds the request's classes; the caller holds the model's row locked.

    Args:
        session: a writing transaction.
        request: a published deletion.
        own_job: the purge itself, which is no reason to wait.
    """
    published = session.get_one(ModelVersion, request.new_version_id)
    model = published.model
    query = select(ForgottenClass.class_index).where(ForgottenClass.job_id == request.job_id)
    classes = set(session.execute(query).scalars())
    akin = models_akin(session, model)
    busy = _open_job(session, akin, own_job)
    found = [
        *_versions(session, request, busy),
        *_refused(session, model, akin, classes),
        *_candidates(session, model, classes),
        *_references(session, model, classes, busy),
        *_records(session, model, busy),
        *_prototypes(session, model, classes),
    ]
    versions = [
        one.row_id for one in found if one.kind in ("version", "refused-upload") and one.row_id and not one.stays
    ]
    references = [one.row_id for one in found if one.kind == "reference" and one.row_id and not one.stays]
    checked = []
    for one in found:
        held = one.stays or (
            holder_of(session, request.tenant, one.sha256, versions=versions, references=references)
            if one.sha256
            else None
        )
        checked.append(Target(one.kind, one.what, one.sha256, one.row_id, one.classes, held))
    meanings = _meanings(session, akin, published, classes)
    return [*checked, *_images(session, published, akin, meanings, own_job)]


def _open_job(session: Session, model_ids: Collection[int], own_job: UUID) -> str | None:
    query = select(Job.kind, Job.id).where(
        Job.model_id.in_(model_ids), Job.state.in_(OPEN), Job.kind.in_(WORKING), Job.id != own_job
    )
    row = session.execute(query.limit(1)).first()
    return None if row is None else f"a job of kind {row[0]} is not final ({row[1]})"


def _versions(session: Session, request: UnlearnRequest, busy: str | None) -> Iterator[Target]:
    query = select(Quarantine).where(Quarantine.job_id == request.job_id, Quarantine.effect != Effect.MARKED)
    for row in session.execute(query.order_by(Quarantine.entry)).scalars():
        version = row.version
        if version.state not in RETIRED:
            continue
        stays = busy
        if row.relation == Relation.KIN:
            stays = "it is a version of a kindred model; delete the class there"
        what = f"version {version.number} of {version.model.name!r}"
        yield Target("version", what, version.artifact_sha256, version.id, stays=stays)


def _refused(session: Session, model: Model, akin: Collection[int], classes: set[int]) -> Iterator[Target]:
    query = select(ModelVersion).where(ModelVersion.model_id.in_(akin), ModelVersion.state == VersionState.REFUSED)
    for version in session.execute(query.order_by(ModelVersion.id)).scalars():
        judged = (version.guard or {}).get("classes", [])
        is_caught = any(one["outcome"] == "above" for one in judged)
        if is_caught or (version.model_id == model.id and not classes <= set(version.forgotten)):
            what = f"refused version {version.number} of {version.model.name!r}"
            yield Target("refused-upload", what, version.artifact_sha256, version.id)


def _jobs(session: Session, model: Model) -> list[Job]:
    query = select(Job).where(Job.model_id == model.id, Job.kind == JobKind.UNLEARN)
    return list(session.execute(query.order_by(Job.seq)).scalars())


def _candidates(session: Session, model: Model, classes: set[int]) -> Iterator[Target]:
    """Candidates that were never published: their step names the bytes. One made after the deletion may stay."""
    for job in _jobs(session, model):
        if job.state in (*OPEN, JobState.PUBLISHED):
            continue
        asked = session.get_one(UnlearnRequest, job.id)
        load, made = _output(session, job.id, Step.LOAD), _output(session, job.id, Step.UNLEARN)
        sha256 = made.get("sha256") or (job.result or {}).get("artifact_sha256")
        forgotten = load.get("forget") or (job.result or {}).get("forgotten") or []
        if sha256 and (classes & set(asked.class_indices) or not classes <= set(forgotten)):
            yield Target("rejected-candidate", f"candidate of request {job.id}", sha256)


def _references(session: Session, model: Model, classes: set[int], busy: str | None) -> Iterator[Target]:
    query = select(Reference).where(Reference.model_id == model.id, Reference.artifact_sha256.is_not(None))
    for one in session.execute(query.order_by(Reference.number)).scalars():
        if not classes <= set(one.absent_classes):
            yield Target(
                "reference", f"reference {one.number} of {model.name!r}", one.artifact_sha256, one.id, stays=busy
            )


def _records(session: Session, model: Model, busy: str | None) -> Iterator[Target]:
    """Every record of the model's audits: a record has the answers to the images that its request deleted, or had."""
    query = select(Job).where(Job.model_id == model.id, Job.kind == JobKind.SHADOW, Job.state == JobState.COMPLETED)
    for job in session.execute(query.order_by(Job.seq)).scalars():
        sha256 = (job.result or {}).get("record_sha256")
        if sha256:
            yield Target("shadow-record", f"record of shadow {job.id}", sha256, stays=busy)


def _prototypes(session: Session, model: Model, classes: set[int]) -> Iterator[Target]:
    for job in _jobs(session, model):
        sha256 = _output(session, job.id, Step.UNLEARN).get("prototypes")
        erased_before = set(_output(session, job.id, Step.LOAD).get("forget", [])) - set(
            _output(session, job.id, Step.LOAD).get("erase", [])
        )
        if sha256 and not classes <= erased_before:
            yield Target("prototypes", f"prototypes of request {job.id}", sha256)


def _output(session: Session, job_id: UUID, step: Step) -> dict[str, Any]:
    row = session.get(JobStep, (job_id, step.value))
    found: dict[str, Any] = {} if row is None else row.output.get("output", {})
    return found


@dataclass
class _Meaning:
    """What the deleted classes are in one model of the lineage."""

    indices: set[int]
    in_use: bool = False
    """Whether a version that is given away still has one of them."""


def _meanings(
    session: Session, akin: dict[int, Model], published: ModelVersion, classes: set[int]
) -> dict[int, _Meaning]:
    """By model: a kindred model may number the classes in another way, or not have them at all.

    Where a model has the same bytes, they are the same outputs, whatever it calls them.
    """
    labels = {published.model.labels[index] for index in classes}
    kindred = relatives(session, published.model, published, classes)
    copies = {one.version.model_id for one in kindred if one.relation is Relation.COPY}
    found: dict[int, _Meaning] = {}
    for relative in kindred:
        meaning = found.setdefault(relative.version.model_id, _Meaning(set()))
        if relative.relation is Relation.COPY or relative.version.model_id not in copies:
            meaning.indices |= relative.named
        meaning.in_use |= bool(relative.held) and relative.version.state == VersionState.READY
    for one in akin.values():
        found.setdefault(one.id, _Meaning({index for index, label in enumerate(one.labels) if label in labels}))
    return found | {published.model_id: _Meaning(classes)}


def _images(
    session: Session, published: ModelVersion, akin: dict[int, Model], meanings: dict[int, _Meaning], own_job: UUID
) -> Iterator[Target]:
    for dataset in _datasets(session, published.tenant, {one.name for one in akin.values()}, set(akin)):
        users = _worked_on_with(session, dataset)
        ours = [one for one in users if one.id in akin]
        meant = {one.id: frozenset(meanings[one.id].indices) for one in ours}
        if not any(meant.values()):
            continue  # of a model whose classes are others, such as one that shares a version's bytes by accident
        summary = dataset.summary or {}
        is_indexed = bool(summary.get("labels_are_indices")) or not dataset.labels
        indices = frozenset[int]().union(*meant.values())
        labels = {one.labels[index] for one in ours for index in meant[one.id]}
        gone = tuple(sorted(map(str, indices) if is_indexed else labels))
        others = [one for one in users if one.id not in akin]
        stays = _open_job(session, {*akin, *(one.id for one in users)}, own_job)
        stays = stays or _needed_by(session, others, indices, labels, is_indexed=is_indexed)
        if using := [one.name for one in ours if meanings[one.id].in_use]:
            stays = f"model {using[0]!r} is of the lineage and still has the class; delete it there"
        if is_indexed and len(set(meant.values())) > 1:
            stays = "models of the lineage that were worked on with it number the classes differently"
        if not is_indexed and not labels & set(dataset.labels or ()):
            stays = "none of its labels is the class's; a label that was erased with a person's data cannot be found"
        if dataset.state != DatasetState.READY:
            stays = f"the data set is {dataset.state}"
        for source in dataset.sources:
            own = "it is the operator's own file, and theirs to change" if source.path is not None else stays
            what = f"images in data set {dataset.name!r}, {source.split}"
            yield Target("images", what, source.sha256, source.id, gone, own)


def _datasets(session: Session, tenant: str, models: set[str], model_ids: set[int]) -> list[Dataset]:
    """Every data set that a request, a reference or a training of these models has named."""
    asked = select(UnlearnRequest.dataset_name).where(
        UnlearnRequest.tenant == tenant, UnlearnRequest.model_name.in_(models)
    )
    compared = select(Reference.dataset_id).where(Reference.model_id.in_(model_ids))
    trained = select(_TRAINED_ON).where(Job.kind == JobKind.RETRAIN, Job.model_id.in_(model_ids))
    named = Dataset.name.in_(asked) | Dataset.name.in_(trained) | Dataset.id.in_(compared)
    query = select(Dataset).where(Dataset.tenant == tenant, named)
    return list(session.execute(query.order_by(Dataset.id)).scalars())


def _worked_on_with(session: Session, dataset: Dataset) -> list[Model]:
    """Every model of which a request, a reference or a training named the data set."""
    asked = select(UnlearnRequest.model_name).where(
        UnlearnRequest.tenant == dataset.tenant, UnlearnRequest.dataset_name == dataset.name
    )
    compared = select(Reference.model_id).where(Reference.dataset_id == dataset.id)
    trained = select(Job.model_id).where(
        Job.tenant == dataset.tenant, Job.kind == JobKind.RETRAIN, dataset.name == _TRAINED_ON
    )
    named = Model.name.in_(asked) | Model.id.in_(trained) | Model.id.in_(compared)
    query = select(Model).where(Model.tenant == dataset.tenant, named)
    return list(session.execute(query.order_by(Model.id)).scalars())


def _needed_by(
    session: Session, others: list[Model], indices: Collection[int], labels: set[str], *, is_indexed: bool
) -> str | None:
    """A model outside the lineage that was worked on with the data set and still has one of the classes."""
    for other in others:
        forgotten = select(ForgottenClass.class_index).where(ForgottenClass.model_id == other.id)
        gone = set(session.execute(forgotten).scalars())
        if is_indexed:
            has = {index for index in indices if index < len(other.labels)}
        else:
            has = {index for index, label in enumerate(other.labels) if label in labels}
        if has - gone:
            return f"model {other.name!r} was worked on with it and still has the class"
    return None
