"""What the schemas of all nouns share. In and Out schemas are never the same class: neither can leak into the other."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

PROBLEM_JSON = "application/problem+json"
MAX_INTEGER = 2**31 - 1
"""The largest number a column of type INTEGER holds on PostgreSQL."""


class In(BaseModel):
    """What a caller sends: unknown members are refused, so that a misspelt option is not silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Out(BaseModel):
    """What the service answers."""

    model_config = ConfigDict(frozen=True)


def _storable(text: str) -> str:
    # JSON can spell NUL, which PostgreSQL does not store, and half of a surrogate pair, which has no UTF-8.
    if "\x00" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        msg = "Expected text without NUL characters and lone surrogates."
        raise ValueError(msg)
    return text


Text = Annotated[str, AfterValidator(_storable)]
"""Text that every database can hold; give it a length with `Field(max_length=...)`."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""Name of a model or data set: fit for a URL path as it is."""

AliasName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9._-]{0,63}$")]
"""Name of an alias: never a number, which would be a version."""

Number = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
"""Number of a version."""


class ProblemItem(Out):
    """One of several things wrong with a request."""

    detail: str
    pointer: str | None = Field(None, description="JSON Pointer fragment into the body.", examples=["#/classes/0"])
    parameter: str | None = Field(None, description="Name of the query, path or header parameter.")


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:expunge:problem:validation-error"])
    title: str
    status: int
    detail: str
    instance: str | None = Field(None, description="`urn:uuid:` of the request, as in `X-Request-Id`.")
    errors: list[ProblemItem] | None = None


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route: which problems it answers with, beside those of every route (401, 403, 422, 503)."""
    told = {
        400: "The body does not match its digest, or a header is malformed.",
        401: "No valid API key.",
        403: "The API key lacks the scope.",
        404: "It does not exist for this tenant.",
        409: "The present state forbids it.",
        410: "No longer available.",
        412: "The resource has changed.",
        413: "The body is over the limit.",
        415: "The body has the wrong media type.",
        416: "The range lies outside the artifact.",
        422: "The request breaks a rule; `errors` says where.",
        428: "A precondition is required.",
        503: "The database is not available; try again after `Retry-After` seconds.",
    }
    content = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": told[status], "content": content} for status in sorted({*statuses, 401, 403, 422, 503})
    }
