"""Which requests a register holds, as conditions on rows."""

from dataclasses import dataclass
from datetime import date
from uuid import UUID

from sqlalchemy import ColumnElement

from core.requests.tables import UnlearnRequest


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Whose requests, and which of them; what is None does not narrow."""

    tenant: str
    since: date | None = None
    until: date | None = None
    """Days of receipt, both included."""
    model: str | None = None
    subject: str | None = None
    request: UUID | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """What a request's row must fulfil."""
        row, found = UnlearnRequest, [UnlearnRequest.tenant == self.tenant]
        if self.since is not None:
            found.append(row.received_on >= self.since)
        if self.until is not None:
            found.append(row.received_on <= self.until)
        equal = {row.model_name: self.model, row.subject_reference: self.subject, row.job_id: self.request}
        return found + [column == value for column, value in equal.items() if value is not None]
