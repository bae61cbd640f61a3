"""Routes of signed checkpoints and of witnesses' signatures below them."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Request, Response

from app.audit import checkpoints_service as service
from app.audit.conditional import TEXT, conditional
from app.dependencies import Caller, Held, ReadingSession, WritingSession, caller
from app.errors import MalformedParameter
from app.schemas import problems

router = APIRouter(prefix="/audit", tags=["audit"])

Answers = dict[int | str, dict[str, Any]]
NOTE: Answers = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "A signed note (C2SP)."},
    304: {"description": "It is as the ETag in If-None-Match says."},
    **problems(404),
}
Size = Annotated[int, Path(ge=0, le=2**63 - 1, description="Entries it covers.")]
IfNoneMatch = Annotated[str | None, Header()]


async def _text(request: Request) -> str:
    try:
        return (await request.body()).decode()
    except UnicodeDecodeError as error:
        msg = "Expected text in UTF-8."
        raise MalformedParameter(msg, "body") from error


@router.get("/checkpoint", operation_id="show_newest_checkpoint", response_class=Response, responses=NOTE)
def newest(
    who: Annotated[Caller, caller("audit:read")],  # noqa: ARG001 the scope is what is asked for
    held: Held,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The newest signed checkpoint: origin, size and root of the ledger, with the signatures of its keys and witnesses.

    A new one is signed first if the ledger has grown and the last is older than the interval. Keep some of them where
    this service cannot reach: they are what shows later that entries were cut off the end.
    """
    size = held.sealer.current().size
    with held.database.reading() as session:
        return conditional(service.note_of(session, size), TEXT, if_none_match)


@router.get("/checkpoints/{size}", operation_id="show_checkpoint", response_class=Response, responses=NOTE)
def at_size(
    size: Size,
    who: Annotated[Caller, caller("audit:read")],  # noqa: ARG001 the scope is what is asked for
    session: ReadingSession,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The checkpoint that was signed when the ledger had this many entries."""
    return conditional(service.note_of(session, size), TEXT, if_none_match)


@router.post(
    "/checkpoints/{size}/cosignatures",
    operation_id="add_cosignatures",
    response_class=Response,
    responses={
        200: {**NOTE[200], "description": "The checkpoint with every cosignature."},
        **problems(404, 413),
    },
    openapi_extra={"requestBody": {"required": True, "content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def cosign(
    size: Size,
    who: Annotated[Caller, caller("audit:read")],  # noqa: ARG001 the scope is what is asked for
    text: Annotated[str, Depends(_text)],
    held: Held,
    session: WritingSession,
) -> Response:
    """Add the lines a witness answered with, as text. Each must be of a witness the operator configured, and verify.

    The signature decides, not the caller: whoever may read the ledger may bring it. The same again changes nothing.
    """
    return conditional(service.add_cosignatures(session, size, text, held.settings.witness_keys.split()), TEXT, None)
