"""What a report is about: one request, or all that came in a period, concern a model or name a data subject."""

import re
from dataclasses import dataclass
from datetime import date
from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import BeforeValidator
from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from app.errors import MalformedParameter
from app.reports.filters import Filters
from core.errors import NotFound
from models_store.registry import find_model

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class UnknownSubject(NotFound):
    """No request of the tenant names this data subject; one that was erased is not told apart."""

    slug = "unknown-subject"
    title = "Unknown data subject"


def _day(text: object) -> object:
    # Pydantic would also take a moment at midnight, or a number of seconds since 1970.
    try:
        if isinstance(text, str) and _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    msg = f"Expected a day of the calendar as YYYY-MM-DD, got {str(text)[:40]!r}."
    raise ValueError(msg)


Day = Annotated[date, BeforeValidator(_day)]


@dataclass(frozen=True)
class Scope:
    """The parameters of a report."""

    request: Annotated[UUID | None, Query(description="Id of one request; stands alone.")] = None
    since: Annotated[Day | None, Query(alias="from", description="First day of receipt, as YYYY-MM-DD.")] = None
    until: Annotated[Day | None, Query(alias="to", description="Last day of receipt, included.")] = None
    model: Annotated[str | None, Query(max_length=128, description="Name of a model.")] = None
    subject: Annotated[str | None, Query(max_length=256, description="Reference of a data subject.")] = None
    after: Annotated[UUID | None, Query(description="Id of the last request already seen; see `next`.")] = None
    limit: Annotated[int | None, Query(ge=1, le=100_000, description="How many requests at most.")] = None


def filters_of(session: Session, tenant: str, scope: Scope) -> Filters:
    """Which requests the parameters mean.

    Raises:
        MalformedParameter: they mean nothing, or not one thing.
        UnknownModel: there is no such model.
        UnknownSubject: no request names the data subject.
    """
    named = (scope.since, scope.until, scope.model, scope.subject)
    if scope.request is not None and any(one is not None for one in named):
        msg = "Expected `request` alone, or `from`, `to`, `model` and `subject` without it, got both."
        raise MalformedParameter(msg, "request")
    if scope.request is None and all(one is None for one in named):
        msg = "Expected `request`, or one or several of `from`, `to`, `model` and `subject`, got none of them."
        raise MalformedParameter(msg, "request")
    if scope.since is not None and scope.until is not None and scope.since > scope.until:
        msg = f"Expected `from` not to be after `to`, got {scope.since} and {scope.until}; exchange them."
        raise MalformedParameter(msg, "from")
    if scope.model is not None:
        find_model(session, tenant, scope.model)
    filters = Filters(tenant=tenant, since=scope.since, until=scope.until, model=scope.model, subject=scope.subject)
    if scope.subject is not None:
        _refuse_unknown(session, Filters(tenant=tenant, subject=scope.subject))
    return filters


def _refuse_unknown(session: Session, subject: Filters) -> None:
    if not session.execute(select(exists().where(*subject.conditions()))).scalar_one():
        msg = (
            "Expected the reference of a data subject that one of your requests names, byte for byte; got one that "
            "none does. A data subject whose personal data were destroyed is not found either."
        )
        raise UnknownSubject(msg)
