"""Publish: one transaction that makes the version, or nothing at all.

The order of locks is job, model, head of the ledger, everywhere. The fence is asked first: a worker that was replaced
while it computed writes nothing, and its candidate is an orphan in the store.
"""

from typing import Any

from sqlalchemy.orm import Session

from core.clock import database_now
from core.errors import Conflict
from core.ledger.entries import decimal
from core.policy.verdict import PassedVerdict, Verdict
from core.requests.claims import finish, hold
from core.requests.repository import find_request
from core.states import JobState, Step, VersionState
from models_store.registry import add_version, forgotten_classes
from models_store.tables import ForgottenClass, Model, ModelVersion
from worker.patience import patiently
from worker.pipeline.context import Context
from worker.pipeline.outputs import digest


class ForgottenMeanwhile(Conflict):
    """A class left the model while this job computed, and the candidate may still hold it."""

    slug = "holds-forgotten-class"
    title = "The version still holds a deleted class"


def publish(context: Context, passed: PassedVerdict) -> None:
    """Make the new version and end the job; its type says that only a passed verdict comes here."""

    def commit() -> None:
        with context.database.writing() as session:
            _publish(session, context, passed.verdict)

    patiently(commit, at_most=context.settings.lease_ttl)


def reject(context: Context, verdict: Verdict) -> None:
    """End the job with all its measures and without a version."""

    def commit() -> None:
        with context.database.writing() as session:
            finish(
                session,
                context.lease,
                JobState.REJECTED,
                result=result_of(context, verdict, new_version=None),
                data=_facts(context, verdict),
            )

    patiently(commit, at_most=context.settings.lease_ttl)


def _publish(session: Session, context: Context, verdict: Verdict) -> None:
    hold(session, context.lease)
    began = database_now(session)
    model = session.get(Model, context.loaded.model_id, with_for_update=True, populate_existing=True)
    if model is None:
        msg = f"Expected model {context.loaded.model_id} to exist, got none."
        raise RuntimeError(msg)
    gone = forgotten_classes(session, model)
    held = sorted(set(gone) - set(context.loaded.forget))
    if held:
        msg = f"Expected no class to leave the model while it was worked on, got the class indices {held}."
        raise ForgottenMeanwhile(msg, class_indices=held)
    version = add_version(
        session,
        model,
        actor=context.lease.actor,
        state=VersionState.READY,
        artifact_sha256=context.erased.sha256,
        size_bytes=context.erased.size_bytes,
        parent_version_id=context.loaded.base_version_id,
        job_id=context.lease.job_id,
        fence=context.lease.fence,
        forgotten=context.loaded.forget,
        verdict=verdict.as_json(),
        manifest=context.packaged.manifest,
    )
    _note_forgotten(session, context, version, gone=set(gone))
    find_request(session, context.tenant, context.lease.job_id).new_version_id = version.id
    facts = _facts(context, verdict) | {
        "version": version.number,
        "sha256": version.artifact_sha256,
        "manifest_sha256": digest(context.packaged.manifest),
    }
    context.note_step(session, Step.PUBLISH, {"version": version.number, "sha256": version.artifact_sha256}, began)
    result = result_of(context, verdict, new_version=version.number)
    finish(session, context.lease, JobState.PUBLISHED, result=result, data=facts)


def _note_forgotten(session: Session, context: Context, version: ModelVersion, *, gone: set[int]) -> None:
    now = database_now(session)
    for index in sorted(set(context.loaded.forget) - gone):
        row = ForgottenClass(
            model_id=version.model_id,
            class_index=index,
            tenant=context.tenant,
            actor=context.lease.actor,
            job_id=context.lease.job_id,
            version_id=version.id,
            forgotten_at=now,
        )
        session.add(row)
    session.flush()


def result_of(context: Context, verdict: Verdict, *, new_version: int | None) -> dict[str, Any]:
    """What the requester reads: see the API's description of a finished request."""
    erased, loaded = context.erased, context.loaded
    result = {
        "base_version": loaded.base_version,
        "artifact_sha256": erased.sha256,
        "method": erased.method,
        "measures": context.verified.measures,
        "verdict": verdict.as_json(),
        "edits": erased.edits,
        "untouched": erased.untouched,
        "steps": dict(context.seconds),
        "environment": erased.environment,
        "forgotten": loaded.forget,
        "samples": erased.samples,
    }
    return result if new_version is None else result | {"new_version": new_version}


def _facts(context: Context, verdict: Verdict) -> dict[str, Any]:
    """What the ledger keeps: numbers as decimal strings, nothing about the data."""
    measures = {
        judgement.name.value: decimal(judgement.value)
        for judgement in verdict.judgements
        if judgement.value is not None
    }
    return {
        "verdict": verdict.outcome.value,
        "policy": f"{verdict.policy.name}/{verdict.policy.version}",
        "measures": measures,
        "base_version": context.loaded.base_version,
    }
