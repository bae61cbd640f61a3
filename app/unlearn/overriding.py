"""Publishing what the verification rejected, on the word of somebody who may override it.

The candidate is what was measured: its bytes are still in the store under the digest in the result, and its verdict
stays what it was. Nothing removes the bytes of a rejected candidate, so an override can come at any time.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.dependencies import Caller
from app.resources import Resources
from app.unlearn.service import refuse_moved_on
from core.errors import Gone
from core.ledger.entries import commitment
from core.policy.override import Override
from core.requests.erasure import refuse_erased
from core.requests.moves import InvalidMove, move, record
from core.requests.repository import find_request
from core.requests.tables import Job, JobStep, UnlearnRequest
from core.states import JobState, Step
from models_store.errors import UnknownBlob
from models_store.manifests import class_commitments, digest, manifest_of
from models_store.publishing import Candidate, publish_candidate
from models_store.registry import find_model
from models_store.storage import StoredBlob
from models_store.tables import ModelVersion


class CandidateGone(Gone):
    """The weights that were rejected are no longer in the store."""

    slug = "candidate-gone"
    title = "The rejected weights are gone"


def candidate_bytes(held: Resources, who: Caller, job_id: UUID) -> StoredBlob | None:
    """The candidate of a rejected request, read again and compared; None if it is not rejected.

    In a transaction of its own, closed before the bytes are read: that may take a while, and nobody must wait for it.

    Raises:
        UnknownRequest: the tenant has none with this id.
        CandidateGone: the bytes are no longer there.
        DigestMismatch: they are damaged.
    """
    with held.database.reading() as session:
        job = find_request(session, who.tenant, job_id).job
    if job.state != JobState.REJECTED:
        return None
    if job.result is None:
        msg = f"Expected request {job_id} to have left weights behind, got a rejection without a result."
        raise CandidateGone(msg)
    sha256 = job.result["artifact_sha256"]
    try:
        return held.storage.verify(sha256)
    except UnknownBlob as error:
        msg = f"Expected the rejected weights with SHA-256 {sha256} in the store, got none; submit the request again."
        raise CandidateGone(msg, sha256=sha256) from error


def override(session: Session, who: Caller, job_id: UUID, grounds: Override, blob: StoredBlob | None) -> UnlearnRequest:
    """Publish a rejected candidate, marked for ever, with ledger entries; the caller commits.

    The job's row is locked first, then the model's, as by a worker that publishes. The same override sent again changes
    nothing.

    Args:
        session: a writing transaction.
        who: the caller.
        job_id: the request.
        grounds: who overrides, and why.
        blob: the candidate as `candidate_bytes` found it.

    Raises:
        UnknownRequest: the tenant has none with this id.
        InvalidMove: it was not rejected.
        RequestErased: its personal data were destroyed.
        AlreadyDeleted: its classes have left the model meanwhile.
        AlreadyRequested: another open request names them.
        NoClassRetained: with the open requests, no class would be left.
        ForgottenMeanwhile: the candidate would bring back a class that has left the model.
    """
    request = find_request(session, who.tenant, job_id, lock=True)
    job = request.job
    if _is_repeated(session, request, grounds):
        return request
    if job.state != JobState.REJECTED or blob is None:
        msg = f"Expected a request that was rejected, got one that is {job.state}."
        raise InvalidMove(msg, state=str(job.state))
    refuse_erased(request)
    model = find_model(session, who.tenant, request.model_name, lock=True)
    refuse_moved_on(session, model, request)
    candidate = _candidate(session, request, grounds, blob)
    facts = _facts(candidate)
    record(session, job, "request.overridden", actor=grounds.actor, data=facts | _reason(request, grounds))
    version = publish_candidate(session, model, candidate, grounds, actor=grounds.actor)
    facts |= {"version": version.number, "sha256": version.artifact_sha256, "overridden": True}
    move(
        session,
        job,
        JobState.PUBLISHED,
        actor=grounds.actor,
        override=grounds,
        data=facts | {"manifest_sha256": digest(version.manifest)},
        result={**(job.result or {}), "new_version": version.number},
        finished_at=job.finished_at,
    )
    return request


def _is_repeated(session: Session, request: UnlearnRequest, grounds: Override) -> bool:
    version = session.get(ModelVersion, request.new_version_id) if request.new_version_id is not None else None
    return version is not None and (version.overridden_by, version.override_reason) == (grounds.actor, grounds.reason)


def _candidate(session: Session, request: UnlearnRequest, grounds: Override, blob: StoredBlob) -> Candidate:
    job, result = request.job, request.job.result or {}
    if request.base_version_id is None:
        msg = f"Expected a rejected request to have a base version, got none for {job.id}."
        raise RuntimeError(msg)
    base = session.get_one(ModelVersion, request.base_version_id)
    manifest = manifest_of(
        job.id,
        parent_sha256=base.artifact_sha256,
        sha256=blob.sha256,
        classes=class_commitments(request),
        made=result,
        seed=job.spec["seed"],
        dataset_files=_dataset_files(session, job),
        verdict=result["verdict"],
    )
    return Candidate(
        job_id=job.id,
        fence=job.fence,
        base_version_id=base.id,
        sha256=blob.sha256,
        size_bytes=blob.size_bytes,
        forgotten=result["forgotten"],
        verdict=result["verdict"],
        manifest=manifest | {"override": {"by": grounds.actor, **_reason(request, grounds)}},
    )


def _dataset_files(session: Session, job: Job) -> dict[str, str]:
    query = select(JobStep.output).where(JobStep.job_id == job.id, JobStep.step == Step.LOAD.value)
    files: dict[str, str] = session.execute(query).scalar_one()["output"]["files"]
    return files


def _facts(candidate: Candidate) -> dict[str, Any]:
    policy = candidate.verdict["policy"]
    return {
        "verdict": candidate.verdict["outcome"],
        "policy": f"{policy['name']}/{policy['version']}",
        "verdict_sha256": digest(candidate.verdict),
    }


def _reason(request: UnlearnRequest, grounds: Override) -> dict[str, str]:
    """The reason as a commitment: its words may be about people, so they stay in the version's row."""
    if request.commitment_key is None:
        return {}
    return {"reason": commitment(request.commitment_key, "reason", grounds.reason)}
