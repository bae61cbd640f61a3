"""Route of the evidence bundle."""

from hashlib import sha256
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response

from app.audit.evidence_service import make_bundle
from app.dependencies import Caller, Held, caller
from app.preconditions import etag, matches_weakly
from app.schemas import problems

router = APIRouter(prefix="/unlearn", tags=["audit"])

ZIP = "application/zip"


@router.get(
    "/{request_id}/evidence",
    operation_id="download_evidence",
    response_class=Response,
    responses={
        200: {"content": {ZIP: {}}, "description": "A bundle of format `expunge-evidence/1`."},
        304: {"description": "It is as the ETag in If-None-Match says."},
        **problems(404),
    },
)
def evidence(
    request_id: UUID,
    who: Annotated[Caller, caller("audit:read")],
    held: Held,
    since: Annotated[
        int | None, Query(ge=0, le=2**63 - 1, description="Size of a checkpoint you kept, to show growth from it.")
    ] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Everything that proves this request, as one zip file that `expunge verify FILE --key KEY` checks offline.

    Request and receipt, the ledger's entries about it with their proofs and the signed checkpoint, the manifest with
    the digests of the weights before and after, verdict, policy and measures, attestations, the report, and the
    verifier itself. `docs/evidence.md` says what the check shows, and what it cannot.
    """
    content = make_bundle(held, who, request_id, since)
    tag = etag(sha256(content).hexdigest())
    if if_none_match is not None and matches_weakly(if_none_match, tag):
        return Response(status_code=304, headers={"ETag": tag})
    headers = {"ETag": tag, "Content-Disposition": f'attachment; filename="{request_id}.zip"'}
    return Response(content, media_type=ZIP, headers=headers)
