"""A job of kind `purge`. The order is what makes it safe to be killed at any point.

1. One transaction: the plan, the store's listing, every version to go `purged`, a ledger entry. From here on callers
   get 410, and whoever resumes finds the plan and does not make another.
2. Target by target, bytes go. Removing twice is no error; a data set's new file is stored and committed before the old
   one goes.
3. One transaction: what is gone, what stayed and why, the listing after, the ledger entry, the job's end. It asks the
   store about every digest once more: only what is absent is called removed.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import log
from core.clock import database_now, to_rfc3339
from core.db.session import Database
from core.errors import JobCancelled, ServiceError
from core.ledger.entries import Record, append
from core.requests import claims
from core.requests.claims import Lease
from core.requests.repository import find_request
from core.requests.tables import Job
from core.settings import Settings
from core.states import JobState, VersionState
from models_store.datasets import Source
from models_store.datasets.reducing import Reduced, write_without
from models_store.lineage.holders import holder_of
from models_store.lineage.purge_plan import Target, plan
from models_store.lineage.tables import Purge
from models_store.registry import find_model
from models_store.storage import LocalStorage
from models_store.tables import Dataset, DatasetSource, ModelVersion, Reference, ReferenceState
from worker.files import limits_of
from worker.patience import patiently

_log = log.get_logger("purging")


def run(
    lease: Lease, database: Database, storage: LocalStorage, settings: Settings, must_stop: Callable[[], bool]
) -> None:
    """Do the whole job and end it."""
    purge = patiently(lambda: _intent(lease, database, storage), at_most=settings.lease_ttl)
    stayed: dict[int, str] = {}
    for position, target in enumerate(map(Target.of, purge.targets)):
        if must_stop():
            raise JobCancelled("The worker stops; the purge goes on with its next attempt.")
        if target.stays is None:
            reason = _carried_out(target, lease, purge, database, storage, settings)
            if reason is not None:
                stayed[position] = reason
    patiently(lambda: _end(lease, purge, stayed, database, storage), at_most=settings.lease_ttl)


def _intent(lease: Lease, database: Database, storage: LocalStorage) -> Purge:
    """The plan of an earlier attempt, else a new one, written down."""
    with database.reading() as session:
        known = session.get(Purge, lease.job_id)
    if known is not None:
        _log.info("purge.resumed")
        return known
    before = storage.listing()
    with database.writing() as session:
        claims.hold(session, lease)
        job = session.execute(select(Job).where(Job.id == lease.job_id)).scalar_one()
        request = find_request(session, job.tenant, UUID(job.spec["request"]))
        find_model(session, job.tenant, request.model_name, lock=True)
        targets = plan(session, request, job.id)
        for target in targets:
            if target.stays is None:
                _mark(session, target)
        session.flush()
        purge = Purge(
            job_id=job.id,
            request_id=request.job_id,
            tenant=job.tenant,
            actor=lease.actor,
            targets=[one.as_json() for one in targets],
            before=before,
            began_at=database_now(session),
        )
        session.add(purge)
        session.flush()
        told = [{"kind": one.kind, "sha256": one.sha256, "stays": one.stays is not None} for one in targets]
        data: dict[str, Any] = {"purge": str(job.id), "targets": told, "listing": before}
        append(
            session,
            Record(type="purge.begun", tenant=job.tenant, actor=lease.actor, request=request.job_id, data=data),
        )
    return purge


def _mark(session: Session, target: Target) -> None:
    if target.kind == "version":
        version = session.get_one(ModelVersion, target.row_id, with_for_update={"of": ModelVersion, "key_share": True})
        version.state = VersionState.PURGED
    elif target.kind == "reference":
        session.get_one(Reference, target.row_id, with_for_update={"of": Reference}).state = ReferenceState.PURGED


def _carried_out(
    target: Target, lease: Lease, purge: Purge, database: Database, storage: LocalStorage, settings: Settings
) -> str | None:
    """Do what the target asks for; the reason if it has to stay after all."""
    try:
        if target.kind == "images":
            return _reduced(target, lease, purge, database, storage, settings)
        return _removed(target.sha256, purge, database, storage)
    except ServiceError as error:
        _log.warning("purge.target_stays", kind=target.kind, error=type(error).__name__)
        return str(error)


def _removed(sha256: str | None, purge: Purge, database: Database, storage: LocalStorage) -> str | None:
    """Remove bytes unless somebody has come to need them since the plan was made."""
    if sha256 is None:
        return None
    with database.reading() as session:
        held = holder_of(session, purge.tenant, sha256)
    if held is None:
        storage.remove(sha256)
    return held


def _reduced(
    target: Target, lease: Lease, purge: Purge, database: Database, storage: LocalStorage, settings: Settings
) -> str | None:
    with database.reading() as session:
        source = session.get_one(DatasetSource, target.row_id)
    if source.sha256 != target.sha256:  # an earlier attempt came as far as this
        return _removed(target.sha256, purge, database, storage)
    if source.sha256 is None:
        return "the file was never read"
    limits = limits_of(settings)
    path = Source(storage.path(source.sha256), None if source.split == "all" else source.split)
    with storage.writer(2 * settings.max_dataset_bytes) as writer:
        found = write_without(path, target.classes, limits, writer)
        if not found.num_removed:
            return None
        blob = writer.commit()

    def commit() -> None:
        with database.writing() as session:
            claims.hold(session, lease)
            row = session.get_one(DatasetSource, target.row_id, with_for_update=True)
            dataset = session.get_one(Dataset, row.dataset_id, with_for_update={"of": Dataset})
            row.sha256, row.size_bytes = blob.sha256, blob.size_bytes
            dataset.summary = _summary(dataset.summary or {}, found)
            session.flush()
            data = {
                "dataset": dataset.name,
                "split": row.split,
                "before": target.sha256,
                "after": blob.sha256,
                "num_removed": found.num_removed,
            }
            record = Record(
                type="dataset.reduced", tenant=purge.tenant, actor=lease.actor, request=purge.request_id, data=data
            )
            append(session, record)

    patiently(commit, at_most=settings.lease_ttl)
    return _removed(target.sha256, purge, database, storage)


def _summary(summary: dict[str, Any], found: Reduced) -> dict[str, Any]:
    """The survey's counts without the images that went; a label keeps its row, at zero."""
    changed = dict(summary)
    for name in ("counts", "splits"):
        if isinstance(changed.get(name), dict):
            counts = {split: dict(by_label) for split, by_label in changed[name].items()}
            for split, by_label in found.removed.items():
                for label, count in by_label.items():
                    if label in counts.get(split, {}):
                        counts[split][label] -= count
            changed[name] = counts
    if "num_images" in changed:
        changed["num_images"] -= found.num_removed
    return changed


def _why_still_there(target: Target) -> str:
    return "no image of the classes is in it" if target.kind == "images" else "it is still in the store"


def _end(lease: Lease, purge: Purge, stayed: dict[int, str], database: Database, storage: LocalStorage) -> None:
    listed, after = [], storage.listing()
    for position, stored in enumerate(purge.targets):
        target = Target.of(stored)
        target = replace(target, stays=target.stays or stayed.get(position))
        is_there = target.sha256 is not None and storage.exists(target.sha256)
        outcome = "stays" if is_there or target.stays else "removed"
        why = target.stays or (_why_still_there(target) if is_there else None)
        listed.append({
            "kind": target.kind,
            "what": target.what,
            "sha256": target.sha256,
            "outcome": outcome,
            "why": why,
        })
    removed = [one["sha256"] for one in listed if one["outcome"] == "removed"]
    result = {
        "request": str(purge.request_id),
        "began_at": to_rfc3339(purge.began_at),
        "targets": listed,
        "listing_before": purge.before,
        "listing_after": after,
        "absent": removed,
    }
    facts = {"removed": removed, "num_stayed": len(listed) - len(removed), "before": purge.before, "after": after}
    with database.writing() as session:
        told = Record(
            type="purge.finished",
            tenant=purge.tenant,
            actor=lease.actor,
            request=purge.request_id,
            data={"purge": str(purge.job_id), **facts},
        )
        claims.hold(session, lease)
        append(session, told)
        claims.finish(session, lease, JobState.COMPLETED, result=result, data=facts)
