"""What a published request left on record, and whether all that names the published weights says the same.

The ledger's entry about the publication is the yardstick: it is the one place that nobody can change unnoticed. What
the version, its manifest, the result, the record of the load step and the stored bytes say is held against it; each
contradiction is a sentence.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import Conflict, DigestMismatch, Gone
from core.ledger.nodes import LedgerDamaged, inclusion_proof
from core.ledger.tables import LedgerEntry, LedgerHead
from core.ledger.tree import leaf_hash
from core.requests.claims import Lease
from core.requests.tables import Job, JobStep
from core.states import JobState, Step
from models_store.errors import UnknownBlob
from models_store.registry import UnknownDataset
from models_store.storage import LocalStorage
from models_store.tables import ModelVersion
from worker.pipeline.methods import Chosen
from worker.pipeline.outputs import digest
from worker.shadows.subject import Subject


class NotReplayable(Conflict):
    """The request has not left behind what a replay of it needs."""

    slug = "not-replayable"
    title = "The request cannot be replayed"


class InputGone(Gone):
    """What the request worked on is no longer there, or is no longer what it was."""

    slug = "replay-input-gone"
    title = "What the request worked on is gone"


@dataclass(frozen=True)
class Record:
    """A published request as it can be made again, and what in its record contradicts the ledger."""

    subject: Subject
    version: int
    chosen: Chosen
    published_sha256: str
    environment: dict[str, Any]
    """Where it was made, and by which release."""
    samples: dict[str, int]
    contradictions: tuple[str, ...]

    @classmethod
    def read(cls, session: Session, lease: Lease, request_id: UUID) -> Self:
        """The record of the request that a replay is about.

        Raises:
            NotReplayable: it is not published, or its record cannot be read.
            InputGone: its data set is no longer registered.
            ServiceError: its model is not there, or its data set not ready.
        """
        published = _published(session, request_id)
        if published is None:
            msg = f"Expected request {request_id} to be published with its entry in the ledger, got none."
            raise NotReplayable(msg)
        try:
            subject = Subject.find(session, lease, request_id)
        except UnknownDataset as error:
            msg = f"The data set of request {request_id} is no longer registered, so nothing can be drawn from it."
            raise InputGone(msg, missing=["dataset"]) from error
        version = session.execute(select(ModelVersion).where(ModelVersion.job_id == request_id)).scalar_one_or_none()
        job = session.execute(select(Job).where(Job.id == request_id)).scalar_one()
        step = session.get_one(JobStep, (request_id, Step.LOAD.value))
        if version is None or version.manifest is None or job.result is None:
            msg = f"Expected request {request_id} to have left a version with its manifest, got none."
            raise NotReplayable(msg)
        entry, facts = published
        found = [
            *_of_entry(session, entry),
            *_of_version(version, facts, entry.seq),
            *_of_result(job, version.manifest, facts, entry.seq),
            *_of_step(step, subject, version.manifest),
        ]
        try:
            manifest = version.manifest
            return cls(
                subject,
                version.number,
                Chosen.of(manifest["method"]),
                str(facts["sha256"]),
                {**manifest["environment"], **manifest["code"]},
                dict(manifest["samples"]),
                tuple(found),
            )
        except (KeyError, TypeError) as error:
            msg = f"Expected the manifest of version {version.number} to say how it was made, got one that does not."
            raise NotReplayable(msg, contradictions=found) from error


def contradictions_of_bytes(record: Record, storage: LocalStorage) -> tuple[list[str], bool]:
    """What the stored bytes of the published version say, and whether they are there and sound."""
    try:
        storage.verify(record.published_sha256)
    except UnknownBlob:
        return [], False
    except DigestMismatch as error:
        return [f"The stored weights of version {record.version} are not those that were published: {error}"], False
    return [], True


def _published(session: Session, request_id: UUID) -> tuple[LedgerEntry, dict[str, Any]] | None:
    """The entry about the publication, and its facts."""
    query = select(LedgerEntry).where(LedgerEntry.request_id == request_id, LedgerEntry.type == "request.transition")
    for entry in session.execute(query.order_by(LedgerEntry.seq.desc())).scalars():
        fields = json.loads(entry.leaf)
        if fields.get("to") == JobState.PUBLISHED and "sha256" in fields["data"]:
            return entry, fields["data"]
    return None


def _of_entry(session: Session, entry: LedgerEntry) -> Iterator[str]:
    size = session.execute(select(LedgerHead.tree_size).where(LedgerHead.id == 1)).scalar_one()
    try:
        held = inclusion_proof(session, entry.seq, size).leaf_hash == leaf_hash(entry.leaf)
    except (LedgerDamaged, ValueError):
        held = False
    if not held:
        yield f"Entry {entry.seq}, which tells of the publication, is not the one that the ledger's tree holds."


def _of_version(version: ModelVersion, facts: dict[str, Any], seq: int) -> Iterator[str]:
    if version.artifact_sha256 != facts["sha256"]:
        yield f"Version {version.number} names weights {version.artifact_sha256}, entry {seq} names {facts['sha256']}."
    if digest(version.manifest) != facts.get("manifest_sha256"):
        yield f"The manifest of version {version.number} is not the one whose digest entry {seq} holds."


def _of_result(job: Job, manifest: dict[str, Any], facts: dict[str, Any], seq: int) -> Iterator[str]:
    result = job.result or {}
    if result.get("artifact_sha256") != facts["sha256"]:
        yield f"The result names weights {result.get('artifact_sha256')}, entry {seq} names {facts['sha256']}."
    method = {name: value for name, value in (result.get("method") or {}).items() if name != "table"}
    if method != manifest.get("method"):
        yield "Result and manifest name different methods, strengths or layers."
    if job.spec.get("seed") != manifest.get("seed"):
        yield "Request and manifest name different seeds."


def _of_step(step: JobStep, subject: Subject, manifest: dict[str, Any]) -> Iterator[str]:
    if digest(step.output) != step.output_sha256:
        yield "The record of what was loaded does not have the digest that it was stored with."
    if subject.loaded.base_sha256 != manifest.get("parent_sha256"):
        yield "The record of what was loaded and the manifest name different parents."
    if subject.loaded.files != manifest.get("dataset_files"):
        yield "The record of what was loaded and the manifest name different files."
