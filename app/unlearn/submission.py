"""Accepting a request: everything that can be known to fail is refused now, before anybody waits for it."""

import secrets
from datetime import date, timedelta

from sqlalchemy.orm import Session

from app.dependencies import Caller
from app.policies.service import find_policy
from app.unlearn.classes import refuse_all, refuse_deleted, refuse_requested, resolve_classes
from app.unlearn.measurable import refuse_unmeasurable
from app.unlearn.samples import count_images, refuse_few_samples
from app.unlearn.schemas import UnlearnIn
from core.clock import database_now
from core.deadlines.periods import due_on
from core.deadlines.tables import Deadline
from core.errors import Invalid
from core.ledger.tables import LedgerEntry
from core.requests.repository import enqueue
from core.requests.spec import UnlearnSpec
from core.requests.tables import UnlearnRequest
from core.settings import Settings
from core.states import JobKind
from models_store.registry import (
    find_dataset,
    find_model,
    forgotten_classes,
    refuse_forgotten,
    refuse_unready,
    resolve_base,
)
from models_store.tables import Model

EASTERNMOST = timedelta(hours=14)
"""Somewhere it is already tomorrow: the caller's date is not in the future if it is not there."""


LONGEST_AGO = timedelta(days=366)
"""No extension reaches as far; an older date is a slip of the pen more often than a request."""


class ReceivedTooLongAgo(Invalid):
    """The date of receipt is so old that it must be a mistake."""

    slug = "received-too-long-ago"
    title = "The date of receipt lies too far back"


class ReceivedInFuture(Invalid):
    """The data subject cannot have asked on a day that has not come."""

    slug = "received-in-future"
    title = "The date of receipt lies in the future"


def submit(session: Session, who: Caller, body: UnlearnIn, settings: Settings) -> tuple[UnlearnRequest, LedgerEntry]:
    """Write the request, its job and its ledger entry; the caller commits.

    Holds the model's row locked, so two requests for one model are judged one after the other.

    Raises:
        ServiceError: one of the rules is broken; nothing is written then.
    """
    received_on = _received_on(session, body.received_on)
    policy = find_policy(session, who.tenant, body.policy).tightened(body.thresholds)
    model = find_model(session, who.tenant, body.model, lock=True)
    base = resolve_base(session, model, version=body.version, alias=body.alias)
    dataset = find_dataset(session, who.tenant, body.dataset)
    indices = resolve_classes(model, body.classes)
    refuse_deleted(session, model, indices)
    being_deleted = refuse_requested(session, model, indices)
    refuse_all(session, model, indices, being_deleted)
    if body.version is not None or body.alias is not None:
        # The newest version may hold deleted classes, as after a fresh upload: the job erases those as well.
        refuse_forgotten(session, base)
    refuse_unready(dataset)
    forgotten = set(forgotten_classes(session, model))
    refuse_unmeasurable(session, model, policy, forgotten | set(indices))
    counts = count_images(dataset, model, forgotten)
    also_erased = sorted(forgotten - set(base.forgotten))
    retained = _retained(model, forgotten | set(indices))
    gone = sorted(forgotten & set(base.forgotten))
    refuse_few_samples(counts, policy, indices, retained, also_erased=also_erased, gone=gone)
    spec = UnlearnSpec(
        model=model.name,
        version=body.version,
        alias=body.alias,
        class_indices=indices,
        dataset=dataset.name,
        method=body.method,
        seed=body.seed,
        policy=policy,
    )
    request = _row(who, body, spec, [model.labels[index] for index in indices], received_on)
    due = due_on(received_on, working_days=settings.working_days)
    request.deadline = Deadline(tenant=who.tenant, actor=who.actor, due_on=due)
    accepted: list[LedgerEntry] = []
    enqueue(
        session,
        JobKind.UNLEARN,
        tenant=who.tenant,
        actor=who.actor,
        spec=spec.model_dump(mode="json"),
        max_attempts=settings.max_attempts,
        model_id=model.id,
        request=request,
        data={"received_on": received_on.isoformat(), "due_on": due.isoformat()},
        tell=accepted.append,
    )
    return request, accepted[0]


def _row(who: Caller, body: UnlearnIn, spec: UnlearnSpec, labels: list[str], received_on: date) -> UnlearnRequest:
    return UnlearnRequest(
        tenant=who.tenant,
        actor=who.actor,
        model_name=spec.model,
        dataset_name=spec.dataset,
        class_indices=spec.class_indices,
        class_labels=labels,
        requested_version=body.version,
        requested_alias=body.alias,
        policy_name=spec.policy.name,
        policy_version=spec.policy.version,
        subject_reference=body.subject_reference,
        legal_ground=body.legal_ground,
        received_on=received_on,
        external_reference=body.external_reference,
        note=body.note,
        commitment_key=secrets.token_bytes(32),
    )


def _retained(model: Model, leaving: set[int]) -> list[int]:
    return [index for index in range(len(model.labels)) if index not in leaving]


def _received_on(session: Session, given: date | None) -> date:
    now = database_now(session)
    if given is None:
        return now.date()
    if given > (now + EASTERNMOST).date():
        msg = f"Expected a date of receipt up to today, got {given.isoformat()}."
        raise ReceivedInFuture(msg, pointer="#/received_on")
    if given < (now - LONGEST_AGO).date():
        days = LONGEST_AGO.days
        msg = f"Expected a date of receipt within the last {days} days, got {given.isoformat()}; is the year right?"
        raise ReceivedTooLongAgo(msg, pointer="#/received_on")
    return given
