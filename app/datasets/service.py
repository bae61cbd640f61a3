"""Data sets from draft to sealed. A sealed one never changes: what a request was judged on can always be told."""

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.datasets.paths import located
from app.datasets.schemas import Paths, RegisterDataset
from app.dependencies import Caller
from app.models.service import NameTaken
from core.clock import database_now
from core.errors import Conflict, Invalid
from core.ledger.entries import Record, append
from core.requests.repository import enqueue
from core.settings import Settings
from core.states import DatasetState, JobKind
from models_store.registry import find_dataset
from models_store.storage import StoredBlob
from models_store.tables import Dataset, DatasetSource

WHOLE = "all"


class DatasetSealed(Conflict):
    """A sealed data set takes no more files and is sealed only once."""

    slug = "dataset-sealed"
    title = "The data set is sealed"


class MixedSources(Conflict):
    """A data set comes either as one file with its splits inside or as one file per split."""

    slug = "mixed-sources"
    title = "Splits and a whole file do not mix"


class MissingSplit(Invalid):
    """A data set needs members and non-members: train and test."""

    slug = "missing-split"
    title = "A split is missing"


def register(session: Session, who: Caller, body: RegisterDataset, settings: Settings) -> Dataset:
    """Write a new data set and its ledger entry, and seal it if it names files by path; the caller commits.

    Raises:
        NameTaken: the tenant has a data set of this name.
        PathsNotAllowed: paths are named and the operator shares no folder.
        PathRefused: a path names no file below that folder.
        TooLarge: a file is over the limit.
        MixedSources: `all` is named beside splits.
        MissingSplit: neither `all` nor both train and test are named.
    """
    sources = _sources_of(session, who, body.paths, settings) if body.paths else []
    dataset = Dataset(
        tenant=who.tenant,
        actor=who.actor,
        name=body.name,
        state=DatasetState.DRAFT,
        labels=body.labels,
        created_at=database_now(session),
        sources=sources,
    )
    session.add(dataset)
    try:
        session.flush()
    except IntegrityError as error:
        msg = f"Expected a name that is free, got {body.name!r}, which is a data set already."
        raise NameTaken(msg, pointer="#/name", links={"dataset": f"/datasets/{body.name}"}) from error
    _record(session, who, "dataset.registered", dataset)
    if sources:
        _seal(session, who, dataset, settings)
    return dataset


def datasets_after(session: Session, who: Caller, after: int, limit: int) -> list[Dataset]:
    """The tenant's data sets in the order of their registration; one more than `limit` if there are more."""
    query = select(Dataset).where(Dataset.tenant == who.tenant, Dataset.id > after).order_by(Dataset.id)
    return list(session.execute(query.limit(limit + 1)).scalars())


def require_draft(session: Session, who: Caller, name: str, split: str, *, lock: bool = False) -> Dataset:
    """A data set that still takes this file.

    Raises:
        UnknownDataset: the tenant has no data set of this name.
        DatasetSealed: it takes no more files.
        MixedSources: it came as one file per split and this is a whole one, or the other way round.
    """
    dataset = find_dataset(session, who.tenant, name, lock=lock)
    _refuse_sealed(dataset)
    _refuse_mixed({split, *(source.split for source in dataset.sources)})
    return dataset


def add_content(session: Session, who: Caller, name: str, split: str, blob: StoredBlob, settings: Settings) -> Dataset:
    """Make stored bytes a file of a draft; a whole file seals it. The caller commits.

    A split that was uploaded before is replaced: a draft is not part of any record yet.

    Raises:
        UnknownDataset: the tenant has no data set of this name.
        DatasetSealed: it takes no more files.
        MixedSources: it came as one file per split and this is a whole one, or the other way round.
    """
    dataset = require_draft(session, who, name, split, lock=True)
    now = database_now(session)
    source = next((source for source in dataset.sources if source.split == split), None)
    if source is None:
        source = DatasetSource(tenant=who.tenant, split=split)
        dataset.sources.append(source)
    source.actor = who.actor
    source.sha256 = blob.sha256
    source.size_bytes = blob.size_bytes
    source.created_at = now
    session.flush()
    if split == WHOLE:
        _seal(session, who, dataset, settings)
    return dataset


def seal(session: Session, who: Caller, name: str, settings: Settings) -> Dataset:
    """Close a draft and queue its validation; the caller commits.

    Raises:
        UnknownDataset: the tenant has no data set of this name.
        DatasetSealed: it was sealed before.
        MissingSplit: it has neither a whole file nor both train and test.
    """
    dataset = find_dataset(session, who.tenant, name, lock=True)
    _refuse_sealed(dataset)
    _seal(session, who, dataset, settings)
    return dataset


def _seal(session: Session, who: Caller, dataset: Dataset, settings: Settings) -> None:
    _refuse_incomplete({source.split for source in dataset.sources})
    dataset.state = DatasetState.VALIDATING
    enqueue(
        session,
        JobKind.VALIDATE_DATASET,
        tenant=who.tenant,
        actor=who.actor,
        subject_id=dataset.id,
        spec={"dataset": dataset.name},
        max_attempts=settings.max_attempts,
    )
    _record(session, who, "dataset.sealed", dataset)


def _sources_of(session: Session, who: Caller, paths: Paths, settings: Settings) -> list[DatasetSource]:
    named = paths.by_split()
    _refuse_mixed(set(named))
    _refuse_incomplete(set(named))
    now = database_now(session)
    sources = []
    for split, path in named.items():
        place, size_bytes = located(
            settings.dataset_root, path, pointer=f"#/paths/{split}", max_bytes=settings.max_dataset_bytes
        )
        sources.append(
            DatasetSource(
                tenant=who.tenant, actor=who.actor, split=split, path=place, size_bytes=size_bytes, created_at=now
            )
        )
    return sources


def _refuse_sealed(dataset: Dataset) -> None:
    if dataset.state != DatasetState.DRAFT:
        msg = f"Expected a data set that is a draft, got {dataset.name!r}, which is sealed ({dataset.state})."
        raise DatasetSealed(msg, state=str(dataset.state))


def _refuse_mixed(splits: set[str]) -> None:
    if WHOLE in splits and len(splits) > 1:
        msg = f"Expected one whole file or one file per split, got {', '.join(sorted(splits))}."
        raise MixedSources(msg, splits=sorted(splits))


def _refuse_incomplete(splits: set[str]) -> None:
    missing = sorted({"train", "test"} - splits)
    if missing and WHOLE not in splits:
        got = ", ".join(sorted(splits)) or "no file at all"
        msg = f"Expected a whole file or both train (members) and test (non-members), got {got}."
        raise MissingSplit(msg, missing=missing)


def _record(session: Session, who: Caller, kind: str, dataset: Dataset) -> None:
    # No labels and no paths: both can name people.
    sources = [{"split": source.split, "sha256": source.sha256} for source in dataset.sources]
    data = {"dataset": dataset.name, "sources": sources}
    append(session, Record(type=kind, tenant=who.tenant, actor=who.actor, data=data))
