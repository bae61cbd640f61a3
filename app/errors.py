"""Every refusal becomes one problem document (RFC 9457). This is the only place that gives errors a status.

What the service did not foresee is answered without a word about its inside: no exception text, no trace.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from app.schemas import PROBLEM_JSON
from core import errors as service
from core.errors import where_it_broke

log = logging.getLogger("expunge.api")

STATUS: dict[type[service.ServiceError], HTTPStatus] = {
    service.NotFound: HTTPStatus.NOT_FOUND,
    service.Conflict: HTTPStatus.CONFLICT,
    service.LeaseLost: HTTPStatus.CONFLICT,
    service.Invalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    service.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    service.PreconditionFailed: HTTPStatus.PRECONDITION_FAILED,
    service.PreconditionRequired: HTTPStatus.PRECONDITION_REQUIRED,
    service.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    service.Forbidden: HTTPStatus.FORBIDDEN,
    service.Gone: HTTPStatus.GONE,
    service.BadDigest: HTTPStatus.BAD_REQUEST,
    service.DigestMismatch: HTTPStatus.INTERNAL_SERVER_ERROR,
    service.Busy: HTTPStatus.SERVICE_UNAVAILABLE,
}
RETRY_AFTER_SECONDS = 2
NO_OBJECT = {"model_attributes_type", "model_type", "dict_type"}
"""What Pydantic says of a body that is no JSON object; bytes of another media type reach it unparsed."""

TITLES = {
    400: ("bad-request", "The request cannot be read"),
    404: ("no-such-resource", "No such resource"),
    405: ("method-not-allowed", "The resource does not know this method"),
    413: (service.TooLarge.slug, service.TooLarge.title),
    416: ("range-not-satisfiable", "The range lies outside the file"),
    415: ("unsupported-media-type", "The body has the wrong media type"),
}


class MalformedHeader(service.ServiceError):
    """A header does not follow its grammar."""

    slug = "malformed-header"
    title = "A header is malformed"


class MalformedParameter(service.Invalid):
    """A query parameter does not name what it should; `errors` says which."""

    def __init__(self, detail: str, parameter: str) -> None:
        super().__init__(detail, errors=[{"detail": detail, "parameter": parameter}])


STATUS[MalformedHeader] = HTTPStatus.BAD_REQUEST


def status_of(error: service.ServiceError) -> int:
    """The HTTP status of the error's family."""
    for family in type(error).__mro__:
        if family in STATUS:
            return STATUS[family].value
    return HTTPStatus.INTERNAL_SERVER_ERROR.value


def problem(
    scope: Mapping[str, Any],
    status: int,
    slug: str,
    title: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    extensions: Mapping[str, Any] | None = None,
) -> Response:
    """A problem document as a response.

    Args:
        scope: the ASGI scope, for the id of the request.
        status: HTTP status, repeated in the document.
        slug: last part of the problem's type.
        title: the same for every occurrence of the type.
        detail: what is wrong this time.
        headers: further headers.
        extensions: further members; they never replace those above.
    """
    document: dict[str, Any] = {
        "type": f"urn:expunge:problem:{slug}",
        "title": title,
        "status": status,
        "detail": detail,
    }
    request_id = scope.get("state", {}).get("request_id")
    if request_id:
        document["instance"] = f"urn:uuid:{request_id}"
    document |= {name: value for name, value in (extensions or {}).items() if name not in document}
    body = json.dumps(document, ensure_ascii=False, default=str).encode(errors="replace")
    return Response(body, status_code=status, headers=dict(headers or {}), media_type=PROBLEM_JSON)


def install(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(service.ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(DataError, _data_error)
    for unavailable in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(unavailable, _database_error)


def _service_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, service.ServiceError):
        raise error
    headers = {}
    if isinstance(error, service.Busy):
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if isinstance(error, service.Unauthenticated):
        told = ', error="invalid_token"' if "authorization" in request.headers else ""
        headers["WWW-Authenticate"] = f'Bearer realm="expunge"{told}'
    members = error.as_problem()
    slug, title, detail = (members.pop(name) for name in ("slug", "title", "detail"))
    return problem(request.scope, status_of(error), slug, title, detail, headers=headers, extensions=members)


def _validation_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    if any(one["loc"] == ("body",) and one["type"] in NO_OBJECT for one in error.errors()) and not _is_json(request):
        told = request.headers.get("content-type", "none")
        detail = f"Expected a JSON body with Content-Type: application/json, got Content-Type: {told[:80]}."
        return problem(request.scope, 415, *TITLES[415], detail, headers={"Accept": "application/json"})
    items = _merge(_item(one, error.body) for one in error.errors())
    count = "1 member" if len(items) == 1 else f"{len(items)} members"
    detail = f"Expected a request as the API describes it, got one with {count} out of place; see `errors`."
    kind = service.Invalid
    return problem(request.scope, 422, kind.slug, kind.title, detail, extensions={"errors": items})


def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    slug, title = TITLES.get(error.status_code, (f"http-{error.status_code}", HTTPStatus(error.status_code).phrase))
    detail = error.detail if error.status_code not in (404, 405) else f"{title}: {request.method} {request.url.path}"
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers |= _allow(request)
    return problem(request.scope, error.status_code, slug, title, str(detail), headers=headers)


def _allow(request: Request) -> dict[str, str]:
    # The router names the methods of one route only, and a path has a route for each method.
    path = getattr(request.scope.get("route"), "path", None)
    methods = request.app.openapi()["paths"].get(path, {})
    return {"Allow": ", ".join(sorted(method.upper() for method in methods))} if methods else {}


def _is_json(request: Request) -> bool:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))


def _data_error(request: Request, _error: Exception) -> Response:
    detail = "Expected values that the database can hold, got a number or text that it cannot."
    return problem(request.scope, 422, service.Invalid.slug, service.Invalid.title, detail)


def _database_error(request: Request, error: Exception) -> Response:
    log.error("database unavailable: %s", type(error).__name__, extra={"request_id": _request_id(request)})
    return problem(
        request.scope,
        503,
        "database-unavailable",
        "The database is not available",
        "Nothing was written. Try again.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def log_unforeseen(scope: Mapping[str, Any], error: Exception) -> None:
    """Say in the log where it broke, and not with which words: those may quote personal data."""
    log.error("unforeseen error in request %s: %s", scope.get("state", {}).get("request_id"), where_it_broke(error))


def unforeseen(scope: Mapping[str, Any], error: Exception) -> Response:
    """The answer to an error nobody foresaw: the log gets its place, the caller the id by which to find it."""
    log_unforeseen(scope, error)
    return problem(
        scope,
        500,
        "internal-error",
        "Something broke in the service",
        "The operator finds the cause in the log under this request's id.",
    )


def _request_id(request: Request) -> str:
    return str(request.scope.get("state", {}).get("request_id", ""))


def _item(error: Mapping[str, Any], body: object) -> dict[str, str]:
    where, *path = error["loc"]
    message = str(error["msg"]).removeprefix("Value error, ")
    if where != "body":
        return {"detail": message, "parameter": str(path[0]) if path else str(where)}
    return {"detail": message, "pointer": pointer_into(body, path, absent=error["type"] == "missing")}


def pointer_into(body: object, path: Iterable[str | int], *, absent: bool = False) -> str:
    """JSON Pointer fragment (RFC 6901 section 6) of a place in the body.

    Pydantic's path also names the branches of unions it tried and whether a key was wrong; the walk through the body
    ends before those, because the body has no such member.

    Args:
        body: the body as parsed.
        path: Pydantic's path into it.
        absent: whether the last member is named because it is missing.
    """
    pointer, here = "#", body
    for part in path:
        if isinstance(here, dict) and (absent or part in here):
            here = here.get(part)
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
        else:
            break
        pointer += "/" + quote(str(part).replace("~", "~0").replace("/", "~1"), safe="~")
    return pointer


def _merge(items: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    merged: dict[tuple[str, str], dict[str, str]] = {}
    for item in items:
        key = (item.get("pointer", ""), item.get("parameter", ""))
        if key not in merged:
            merged[key] = item
        elif item["detail"] not in merged[key]["detail"]:
            merged[key] = item | {"detail": f"{merged[key]['detail']}; or: {item['detail']}"}
    return list(merged.values())
