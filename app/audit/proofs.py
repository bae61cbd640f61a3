"""Routes of proofs."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query, Response

from app.audit import proofs_service as service
from app.audit.conditional import TEXT, conditional
from app.audit.proofs_schemas import ConsistencyOut, InclusionOut
from app.dependencies import Caller, Held, caller
from app.schemas import problems

router = APIRouter(prefix="/audit", tags=["audit"])
of_requests = APIRouter(prefix="/unlearn", tags=["unlearn"])

MOST = 2**63 - 1
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "It is as the ETag in If-None-Match says."}}
PROOF_FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "A proof file (C2SP)."},
    **NOT_MODIFIED,
    **problems(404),
}
Reader = Annotated[Caller, caller("audit:read")]
IfNoneMatch = Annotated[str | None, Header()]
Size = Annotated[
    int | None,
    Query(ge=0, le=MOST, description="Entries of the ledger it is about; default: those of the newest checkpoint."),
]


@router.get(
    "/proof/inclusion", operation_id="prove_inclusion", response_model=InclusionOut, responses=NOT_MODIFIED | problems()
)
def inclusion(
    who: Reader,  # noqa: ARG001 the scope is what is asked for
    held: Held,
    index: Annotated[int, Query(ge=0, le=MOST, description="Number of the entry.")],
    size: Size = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """That an entry is in the ledger: hashes that lead from it to the root of the ledger with `size` entries.

    Without `size` it leads to the newest signed checkpoint, and one is signed now if none covers the entry yet.
    """
    shown = service.inclusion(held, index, size)
    return conditional(shown.model_dump_json(), "application/json", if_none_match)


@router.get(
    "/proof/consistency",
    operation_id="prove_consistency",
    response_model=ConsistencyOut,
    responses=NOT_MODIFIED | problems(),
)
def consistency(
    who: Reader,  # noqa: ARG001 the scope is what is asked for
    held: Held,
    old: Annotated[int, Query(alias="from", ge=0, le=MOST, description="Entries of the earlier ledger.")],
    new: Annotated[
        int | None, Query(alias="to", ge=0, le=MOST, description="Of the later; default: as for size.")
    ] = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """That the ledger only grew: hashes that lead from the root of its first `from` entries to that of `to` entries."""
    shown = service.consistency(held, old, new)
    return conditional(shown.model_dump_json(), "application/json", if_none_match)


@router.get(
    "/entries/{index}/tlog-proof",
    operation_id="show_entry_proof",
    response_class=Response,
    responses=PROOF_FILE,
)
def entry_proof(
    index: Annotated[int, Path(ge=0, le=MOST, description="Number of the entry.")],
    who: Reader,
    held: Held,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """One of your entries with everything that proves it, as one file: `expunge verify FILE --key KEY` checks it.

    The file has the entry's bytes, its number, the hashes and the signed checkpoint they lead to.
    """
    return conditional(service.entry_proof(held, who, index), TEXT, if_none_match)


@of_requests.get(
    "/{request_id}/proof.tlog-proof",
    operation_id="show_request_proof",
    response_class=Response,
    responses=PROOF_FILE,
)
def request_proof(request_id: UUID, who: Reader, held: Held, if_none_match: IfNoneMatch = None) -> Response:
    """The newest ledger entry about a request with everything that proves it, as one file.

    For a published request whose story is over that is its last word; `GET /audit/entries?request=` lists all of them,
    and each has its own proof file. `expunge verify FILE --key KEY` checks it. 404 while no key signs checkpoints.
    """
    return conditional(service.request_proof(held, who, request_id), TEXT, if_none_match)
