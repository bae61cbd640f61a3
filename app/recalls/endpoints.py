"""Routes of recalls."""

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response

from app.audit.conditional import conditional
from app.dependencies import Caller, Held, ReadingSession, WritingSession, caller
from app.recalls.feed import signed_page
from app.recalls.schemas import AcknowledgeIn, AcknowledgementList, AcknowledgementOut, EnvelopeOut
from app.schemas import problems
from models_store.lineage.recalls import acknowledge, acknowledgements_of, find_recall
from models_store.lineage.tables import Acknowledgement

router = APIRouter(prefix="/recalls", tags=["recalls"])

ENVELOPE = "application/vnd.dsse.envelope.v1+json"
Holder = Annotated[Caller, caller("artifacts:read")]
RecallPath = Annotated[int, Path(ge=0, le=2**63 - 1, description="Id of the recall.")]


@router.get(
    "",
    operation_id="list_recalls",
    response_class=Response,
    responses={
        200: {"model": EnvelopeOut, "description": "The page in a signed envelope."},
        304: {"description": "Nothing is new since the ETag in If-None-Match."},
        **problems(409),
    },
)
def list_recalls(
    who: Holder,
    held: Held,
    session: ReadingSession,
    after: Annotated[int | None, Query(ge=0, le=2**63 - 1, description="`cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Every version that was put into quarantine, in the order of the ledger: retire the copies you hold of them.

    A DSSE envelope of type `application/vnd.expunge.recalls+json`, signed by the service's statement key; check the
    signature against `/.well-known/expunge`, or better a pinned key, before reading the payload. Copies are told by
    their SHA-256. Poll with `If-None-Match`, and go on from `cursor` when `more` is true.
    """
    return conditional(signed_page(session, held.keys.current(), who.tenant, after, limit), ENVELOPE, if_none_match)


@router.post(
    "/{recall}/acknowledgements",
    operation_id="acknowledge_recall",
    status_code=201,
    responses=problems(404, 413, 415),
)
def acknowledge_recall(
    recall: RecallPath, body: AcknowledgeIn, who: Holder, session: WritingSession
) -> AcknowledgementOut:
    """Say that copies of a recalled version are retired, with a ledger entry. Said again, it changes nothing."""
    found = find_recall(session, who.tenant, recall)
    row = acknowledge(session, found, actor=who.actor, holder=body.holder, num_copies=body.num_copies)
    return _shown(row)


@router.get("/{recall}/acknowledgements", operation_id="list_acknowledgements", responses=problems(404))
def list_acknowledgements(recall: RecallPath, who: Holder, session: ReadingSession) -> AcknowledgementList:
    """Who has said that they retired copies of a recalled version."""
    found = find_recall(session, who.tenant, recall)
    return AcknowledgementList(items=[_shown(one) for one in acknowledgements_of(session, [found.entry])])


def _shown(row: Acknowledgement) -> AcknowledgementOut:
    return AcknowledgementOut(
        entry=row.entry,
        recall=row.recall,
        holder=row.holder,
        num_copies=row.num_copies,
        actor=row.actor,
        at=row.at,
    )
