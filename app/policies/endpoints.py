"""Routes of policies."""

from typing import Annotated

from fastapi import APIRouter, Header, Response
from sqlalchemy.orm import Session

from app.dependencies import Caller, ReadingSession, WritingSession, caller
from app.policies import service, views
from app.policies.schemas import NamePath, NewNamePath, NumberPath, PolicyList, PolicyOut, PutPolicy
from app.preconditions import etag, matches_weakly
from app.schemas import problems
from core.policy.policies import SHIPPED, UnknownPolicy, find_shipped

router = APIRouter(prefix="/policies", tags=["policies"])

Reader = Annotated[Caller, caller("policies:read")]
Writer = Annotated[Caller, caller("policies:write")]
Known = Annotated[str | None, Header(description="ETag of what you have.")]


@router.get("", operation_id="list_policies", responses=problems())
def list_policies(who: Reader, session: ReadingSession) -> PolicyList:
    """The shipped policies and your own, each in its newest version."""
    return views.policy_list(SHIPPED.values(), service.newest_stored(session, who.tenant))


@router.put(
    "/{name}",
    operation_id="put_policy",
    response_model=PolicyOut,
    responses={201: {"model": PolicyOut, "description": "This version is new."}, **problems(409, 413, 415)},
)
def put_policy(name: NewNamePath, body: PutPolicy, who: Writer, session: WritingSession) -> Response:
    """Write a policy of your own: version 1, or the next version if it says something new.

    A version is never changed: what a verdict was reached by can be read for ever. The newest version sent again is
    nothing new (200). A share must have `at_most`, an AUC both sides around 0.5, and so on; what no result could meet
    is refused (422), and so are the names of shipped policies (409).
    """
    row, is_new = service.put(session, who, name, body)
    return _answer(views.stored_out(row), 201 if is_new else 200)


@router.get(
    "/{name}",
    operation_id="show_policy",
    response_model=PolicyOut,
    responses={304: {"description": "The newest version is the one in If-None-Match."}, **problems(404)},
)
def show_policy(name: NamePath, who: Reader, session: ReadingSession, if_none_match: Known = None) -> Response:
    """The newest version of a policy."""
    return _answer(_shown(session, who, name, None), 200, if_none_match)


@router.get(
    "/{name}/versions/{number}",
    operation_id="show_policy_version",
    response_model=PolicyOut,
    responses={304: {"description": "A version never changes."}, **problems(404)},
)
def show_policy_version(
    name: NamePath, number: NumberPath, who: Reader, session: ReadingSession, if_none_match: Known = None
) -> Response:
    """One version of a policy, as the verdicts that name it were reached."""
    return _answer(_shown(session, who, name, number), 200, if_none_match)


def _shown(session: Session, who: Caller, name: str, version: int | None) -> PolicyOut:
    shipped = find_shipped(name, version)
    if shipped is not None:
        return views.shipped_out(shipped)
    stored = service.find_stored(session, who.tenant, name, version)
    if stored is None:
        which = f"version {version} of a policy" if version else "the name of a policy"
        msg = f"Expected {which} that is shipped or your own, got {name!r}."
        raise UnknownPolicy(msg)
    return views.stored_out(stored)


def _answer(shown: PolicyOut, status: int, if_none_match: str | None = None) -> Response:
    headers = {"ETag": etag(shown.version)}
    if if_none_match is not None and matches_weakly(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if status == 201:
        headers["Location"] = shown.links["self"]
    return Response(shown.model_dump_json().encode(), status, headers=headers, media_type="application/json")
