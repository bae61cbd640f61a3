"""Routes of the ledger and of reports."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.responses import StreamingResponse

from app.audit import service
from app.audit.negotiation import prefers_html
from app.audit.pages import plot_of, report_page
from app.audit.report import compile_report
from app.audit.schemas import EntriesOut, ReportOut
from app.dependencies import Caller, Held, ReadingSession, caller
from app.schemas import problems
from core.ledger.sealing import newest_checkpoint

router = APIRouter(prefix="/audit", tags=["audit"])


@router.get("/entries", operation_id="list_ledger_entries", responses=problems())
def list_entries(
    who: Annotated[Caller, caller("audit:read")],
    session: ReadingSession,
    start: Annotated[int, Query(ge=0, le=2**63 - 1, description="Number of the first entry wanted.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    request: Annotated[UUID | None, Query(description="Only entries about this request.")] = None,
) -> EntriesOut:
    """Your ledger entries by number: the bytes that were hashed, and their hash.

    Size and root are those of the whole ledger. Entries of other tenants are left out, so numbers may have gaps; the
    complete ledger is at `/audit/export`.
    """
    return service.own_entries(session, who.tenant, start=start, limit=limit, request=request)


@router.get(
    "/export",
    operation_id="export_ledger",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/json": {}}, "description": "The export document."}, **problems()},
)
def export(who: Annotated[Caller, caller("audit:read")], held: Held) -> StreamingResponse:
    """The complete ledger as one file that `expunge verify FILE` checks without this service.

    As soon as the ledger holds entries of another tenant, this needs the scope `admin`: the bytes that were hashed name
    tenants, actors and models, and cannot be left out without breaking the chain. `checkpoint` is the newest that was
    signed, if any was.
    """
    with held.database.reading() as session:
        service.refuse_foreign_ledger(session, who)
        signed = newest_checkpoint(session)
        head = service.read_head(session)
    return StreamingResponse(
        service.export(held.database, head, signed.note if signed is not None else None),
        media_type="application/json",
        headers={"Content-Disposition": 'attachment; filename="expunge-ledger.json"'},
    )


@router.get(
    "/report",
    operation_id="report_request",
    response_model=ReportOut,
    responses={200: {"content": {"text/html": {}}}, **problems(404)},
)
def report(
    who: Annotated[Caller, caller("audit:read")],
    session: ReadingSession,
    request: Annotated[UUID, Query(description="Id of the request.")],
    as_format: Annotated[Literal["json", "html"] | None, Query(alias="format")] = None,
    accept: Annotated[str | None, Header()] = None,
) -> Response:
    """Who asked for what when, what was done, what was measured, and which ledger entries say so.

    JSON, or a page for people when `Accept` prefers `text/html` (or with `?format=html`).
    """
    compiled = compile_report(session, who.tenant, request)
    if as_format == "html" or (as_format is None and prefers_html(accept)):
        answer: Response = report_page(compiled)
    else:
        answer = Response(compiled.model_dump_json(), media_type="application/json")
    answer.headers["Vary"] = "Accept"
    return answer


@router.get(
    "/report/plots/{name}",
    operation_id="report_plot",
    response_class=Response,
    responses={200: {"content": {"image/svg+xml": {}}, "description": "The plot."}, **problems(404)},
)
def plot(
    who: Annotated[Caller, caller("audit:read")],
    session: ReadingSession,
    name: Annotated[str, Path(max_length=64, description="Name of the plot, without extension.")],
    request: Annotated[UUID, Query(description="Id of the request.")],
) -> Response:
    """One plot of the report as SVG, for documents of your own.

    `class-accuracy`, `confusion`, `membership-roc`, `few-shot` or `layers`, as far as the request's result holds the
    numbers; `curves` in the report's JSON has the same numbers.
    """
    drawn = plot_of(compile_report(session, who.tenant, request), name)
    return Response(drawn.svg, media_type="image/svg+xml")
