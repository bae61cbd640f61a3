"""Routes of reports: one mechanism, whatever the report is about and whatever form it comes in."""

from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Query, Response
from fastapi.responses import StreamingResponse

from app.audit.schemas import ReportOut
from app.dependencies import Caller, Held, ReadingSession, caller
from app.pages import policy
from app.reports.kinds import MEDIA_TYPES, Kind, kind_for
from app.reports.pages import plot_of
from app.reports.registers import Register, RegisterOut
from app.reports.rendering import render_report
from app.reports.report import compile_report
from app.reports.scope import Scope, filters_of
from app.schemas import problems
from core.requests.repository import find_request

router = APIRouter(tags=["reports"])

FORMS: dict[int | str, dict[str, Any]] = {
    200: {"content": {MEDIA_TYPES[kind]: {} for kind in (Kind.HTML, Kind.PDF, Kind.CSV)}},
    **problems(404),
}
About = Annotated[Scope, Depends()]
Accept = Annotated[str | None, Header(description="The form wanted, unless the path or `format` names it.")]


@router.get(
    "/audit/report/plots/{name}",
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


@router.get("/unlearn/{request_id}/report", operation_id="report_one", response_model=ReportOut, responses=FORMS)
def report_one(
    request_id: UUID, who: Annotated[Caller, caller("audit:read")], held: Held, accept: Accept = None
) -> Response:
    """Who asked for what when, what was done, what was measured, who was told, and what remains uncertain.

    JSON, HTML, PDF or CSV, by `Accept`; append `.html`, `.pdf`, `.csv` or `.json` to the path to name one.
    """
    return _file(held, who, request_id, kind_for(accept), varies=True)


@router.get(
    "/unlearn/{request_id}/report.{kind}", operation_id="report_one_as", response_model=ReportOut, responses=FORMS
)
def report_one_as(request_id: UUID, kind: Kind, who: Annotated[Caller, caller("audit:read")], held: Held) -> Response:
    """The same report in the form that the path names."""
    return _file(held, who, request_id, kind, varies=False)


@router.get("/audit/report", operation_id="report_request", response_model=ReportOut | RegisterOut, responses=FORMS)
def report(
    who: Annotated[Caller, caller("audit:read")],
    held: Held,
    scope: About,
    as_kind: Annotated[Kind | None, Query(alias="format")] = None,
    accept: Accept = None,
) -> Response:
    """The report on one request, or the register of all that came in a period, concern a model or name a data subject.

    Who asked when on what ground, what was done by when, which copies were retired, who was told, what was measured,
    what remains uncertain. JSON, HTML, PDF or CSV: `format` decides, else `Accept`; or append `.html`, `.pdf`, `.csv`
    or `.json` to the path. A PDF holds at most 5,000 requests; `Link` with `rel="next"` leads to the next part.
    """
    return _report(held, who, scope, as_kind or kind_for(accept), varies=as_kind is None)


@router.get("/audit/report.{kind}", operation_id="report_as", response_model=ReportOut | RegisterOut, responses=FORMS)
def report_as(kind: Kind, who: Annotated[Caller, caller("audit:read")], held: Held, scope: About) -> Response:
    """The same in the form that the path names."""
    return _report(held, who, scope, kind, varies=False)


def _report(held: Held, who: Caller, scope: Scope, kind: Kind, *, varies: bool) -> Response:
    with held.database.reading() as session:
        filters = filters_of(session, who.tenant, scope)
        if scope.request is not None:
            return _file(held, who, scope.request, kind, varies=varies)
        register = Register(session, held.database, filters, scope, kind)
    headers = headers_of(kind, "register", varies=varies)
    if register.part.next_after is not None:
        headers["Link"] = f'<{_next(scope, kind, register.part.next_after)}>; rel="next"'
    return StreamingResponse(register.pieces(), media_type=kind.media_type, headers=headers)


def _next(scope: Scope, kind: Kind, after: UUID) -> str:
    named = {"from": scope.since, "to": scope.until, "model": scope.model, "subject": scope.subject}
    members = {**named, "limit": scope.limit, "after": after}
    return f"/audit/report.{kind}?" + urlencode({name: one for name, one in members.items() if one is not None})


def _file(held: Held, who: Caller, request_id: UUID, kind: Kind, *, varies: bool) -> Response:
    with held.database.reading() as session:
        content = render_report(session, find_request(session, who.tenant, request_id), kind)
    return Response(
        content, media_type=kind.media_type, headers=headers_of(kind, f"report-{request_id}", varies=varies)
    )


def headers_of(kind: Kind, name: str, *, varies: bool) -> dict[str, str]:
    """The headers of a report; PDF and CSV come as files."""
    headers = policy() if kind is Kind.HTML else {}
    if kind in (Kind.PDF, Kind.CSV):
        headers["Content-Disposition"] = f'attachment; filename="{name}.{kind}"'
    if varies:
        headers["Vary"] = "Accept"
    return headers
