"""One request's report in any of its forms."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from app.audit.checkpoints_service import newest_note
from app.reports.filters import Filters
from app.reports.kinds import Kind
from app.reports.pages import page_of
from app.reports.register import register_csv, rows_after
from app.reports.report import compile_report
from app.reports.typesetting import to_pdf
from core.requests.tables import UnlearnRequest


def render_report(session: Session, request: UnlearnRequest, kind: Kind, *, as_of: datetime | None = None) -> bytes:
    """The report as a file: what the routes answer, for whoever packs it.

    Args:
        session: any transaction; only read.
        request: what it is about.
        kind: the form.
        as_of: the moment that it says it is of; default: now.

    Raises:
        TooManyPdfs: others are being made.
        NoPdf: the typesetter failed.
    """
    if kind is Kind.CSV:
        return _as_csv(session, request.tenant, request.job_id)
    report = compile_report(session, request.tenant, request.job_id, as_of=as_of)
    if kind is Kind.JSON:
        return report.model_dump_json().encode()
    html = page_of(report)
    return html.encode() if kind is Kind.HTML else to_pdf(html)


def _as_csv(session: Session, tenant: str, request: UUID) -> bytes:
    rows, _ = rows_after(session, Filters(tenant=tenant, request=request), 0, 1)
    return "".join(register_csv(rows, newest_note(session))).encode()
