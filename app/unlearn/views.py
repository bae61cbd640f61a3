"""How a request is shown."""

from typing import Any
from urllib.parse import quote
from uuid import UUID

from sqlalchemy.orm import Session

from app.unlearn.deadlines_views import deadline_out
from app.unlearn.schemas import ClassOut, LinksOut, StepOut, UnlearnItem, UnlearnOut
from app.unlearn.service import finished_steps, version_numbers
from core.clock import database_now
from core.requests.tables import UnlearnRequest
from core.states import JobState
from models_store.tables import ModelVersion


def show(session: Session, request: UnlearnRequest) -> UnlearnOut:
    """Everything about one request but the subject reference, which the caller has and nobody else needs."""
    job = request.job
    numbers = version_numbers(session, [request])
    return UnlearnOut(
        id=job.id,
        state=job.state,
        step=job.step,
        percent=job.percent,
        revision=job.revision,
        attempt=job.attempt,
        fence=job.fence,
        cancel_requested=job.cancel_requested_at is not None,
        model=request.model_name,
        classes=classes_of(request),
        dataset=request.dataset_name,
        requested_version=request.requested_version,
        requested_alias=request.requested_alias,
        base_version=numbers.get(request.base_version_id or 0),
        new_version=numbers.get(request.new_version_id or 0),
        method=job.spec["method"],
        seed=job.spec["seed"],
        policy=request.policy_name,
        policy_version=request.policy_version,
        legal_ground=request.legal_ground,
        received_on=request.received_on,
        deadline=deadline_out(request.deadline, database_now(session).date()),
        external_reference=request.external_reference,
        note=request.note,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        steps=steps_of(session, job.id),
        result=job.result,
        problem=job.problem,
        erased_at=request.erased_at,
        links=_links(request, numbers),
        **override_of(session, request),
    )


def show_all(session: Session, requests: list[UnlearnRequest]) -> list[UnlearnItem]:
    """The requests of one page, in short."""
    numbers, today = version_numbers(session, requests), database_now(session).date()
    return [
        UnlearnItem(
            id=one.job.id,
            state=one.job.state,
            step=one.job.step,
            percent=one.job.percent,
            model=one.model_name,
            classes=classes_of(one),
            dataset=one.dataset_name,
            external_reference=one.external_reference,
            created_at=one.job.created_at,
            finished_at=one.job.finished_at,
            due_on=one.deadline.due_on if one.deadline is not None else None,
            overdue=one.deadline is not None and one.deadline.is_overdue(today),
            erased_at=one.erased_at,
            links=_links(one, numbers),
        )
        for one in requests
    ]


def classes_of(request: UnlearnRequest) -> list[ClassOut]:
    """The classes it names, in the order named; without their labels once these were erased."""
    labels = request.class_labels if request.erased_at is None else [None] * len(request.class_indices)
    pairs = zip(request.class_indices, labels, strict=True)
    return [ClassOut(index=index, label=label) for index, label in pairs]


def steps_of(session: Session, job_id: UUID) -> list[StepOut]:
    """Its finished steps and the seconds each took."""
    return [
        StepOut(name=step.step, seconds=(step.finished_at - step.started_at).total_seconds())
        for step in finished_steps(session, job_id)
    ]


def override_of(session: Session, request: UnlearnRequest) -> dict[str, Any]:
    """Who published its version by an override and why, if anybody did."""
    version = session.get(ModelVersion, request.new_version_id) if request.new_version_id is not None else None
    names = ("overridden_by", "override_reason")
    return {name: getattr(version, name) if version is not None else None for name in names}


def _links(request: UnlearnRequest, numbers: dict[int, int]) -> LinksOut:
    job = request.job
    own = f"/unlearn/{job.id}"
    model = f"/models/{quote(request.model_name, safe='')}"
    number = numbers.get(request.new_version_id or 0)
    version = f"{model}/versions/{number}" if number else None
    return LinksOut(
        self=own,
        events=f"{own}/events",
        model=model,
        report=f"/audit/report?request={job.id}",
        evidence=f"{own}/evidence",
        proof=f"{own}/proof.tlog-proof",
        model_version=version,
        artifact=f"{version}/artifact" if version else None,
        cancel=None if JobState(job.state).is_final else own,
        retry=f"{own}/retry" if job.state == JobState.FAILED else None,
        override=f"{own}/override" if job.state == JobState.REJECTED else None,
        replay=f"{own}/replay" if job.state == JobState.PUBLISHED else None,
        replays=f"{own}/replays",
        audit=f"{own}/audit" if job.state in {JobState.PUBLISHED, JobState.REJECTED} else None,
        purge=f"{own}/purge" if job.state == JobState.PUBLISHED else None,
    )
