"""Publish: one transaction that makes the version, or nothing at all.

The order of locks is job, model, head of the ledger, everywhere. The fence is asked first: a worker that was replaced
while it computed writes nothing, and its candidate is an orphan in the store.
"""

from typing import Any

from sqlalchemy.orm import Session

from core.clock import database_now
from core.ledger.entries import decimal
from core.policy.verdict import PassedVerdict, Verdict
from core.requests.claims import finish, hold
from core.states import JobState, Step
from models_store.publishing import Candidate, publish_candidate
from models_store.tables import Model
from worker.patience import patiently
from worker.pipeline.context import Context
from worker.pipeline.outputs import digest


def publish(context: Context, passed: PassedVerdict) -> None:
    """Make the new version and end the job; its type says that only a passed verdict comes here."""

    def commit() -> None:
        with context.database.writing() as session:
            _publish(session, context, passed)

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


def _publish(session: Session, context: Context, passed: PassedVerdict) -> None:
    hold(session, context.lease)
    began = database_now(session)
    model = session.get(Model, context.loaded.model_id, with_for_update=True, populate_existing=True)
    if model is None:
        msg = f"Expected model {context.loaded.model_id} to exist, got none."
        raise RuntimeError(msg)
    verdict = passed.verdict
    candidate = Candidate(
        job_id=context.lease.job_id,
        fence=context.lease.fence,
        base_version_id=context.loaded.base_version_id,
        sha256=context.erased.sha256,
        size_bytes=context.erased.size_bytes,
        forgotten=context.loaded.forget,
        verdict=verdict.as_json(),
        manifest=context.packaged.manifest,
    )
    version = publish_candidate(session, model, candidate, passed, actor=context.lease.actor)
    facts = _facts(context, verdict) | {
        "version": version.number,
        "sha256": version.artifact_sha256,
        "manifest_sha256": digest(context.packaged.manifest),
    }
    context.note_step(session, Step.PUBLISH, {"version": version.number, "sha256": version.artifact_sha256}, began)
    result = result_of(context, verdict, new_version=version.number)
    finish(session, context.lease, JobState.PUBLISHED, result=result, data=facts)


def result_of(context: Context, verdict: Verdict, *, new_version: int | None) -> dict[str, Any]:
    """What the requester reads: see the API's description of a finished request."""
    erased, loaded, verified = context.erased, context.loaded, context.verified
    result = {
        "base_version": loaded.base_version,
        "artifact_sha256": erased.sha256,
        "method": erased.method,
        "measures": verified.measures,
        "verdict": verdict.as_json(),
        "curves": verified.curves,
        "cost": verified.cost,
        "edits": erased.edits,
        "untouched": erased.untouched,
        "steps": dict(context.seconds),
        "environment": erased.environment,
        "forgotten": loaded.forget,
        "samples": erased.samples,
    }
    if verified.reference is not None:
        result["reference"] = verified.reference.model_dump(mode="json")
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
        "verdict_sha256": digest(verdict.as_json()),
        "measures": measures,
        "base_version": context.loaded.base_version,
    }
