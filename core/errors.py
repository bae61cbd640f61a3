"""The service refuses: one family of errors whose text is fit for the caller to read.

The HTTP status of each family is decided in `app.errors`, not here: a worker raises the same errors and stores them
with the job.
"""

from traceback import extract_tb
from typing import Any, ClassVar

Problem = dict[str, Any]
"""A problem as stored with a job or a version: `slug`, `title`, `detail` and extensions (RFC 9457 section 3.2)."""


class ServiceError(Exception):
    """The service refuses; `str(error)` is a sentence that says what to do.

    Args:
        detail: the sentence for this occurrence; holds no personal data, unless the class `quotes_input`.
        pointer: JSON Pointer fragment (RFC 6901 section 6) to the offending member of the request body, if any.
        **extensions: further members of the problem document, JSON values only.
    """

    slug: ClassVar[str] = "service-error"
    title: ClassVar[str] = "The service refused"
    quotes_input: ClassVar[bool] = False
    """Whether its sentence may quote a label or a file's name: the caller reads it, a log must not."""

    def __init__(self, detail: str, *, pointer: str | None = None, **extensions: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.pointer = pointer
        self.extensions = extensions

    def as_problem(self) -> Problem:
        """The error as a JSON object, for storing with a job or a version."""
        problem: Problem = {
            "slug": self.slug,
            "title": self.title,
            "detail": self.detail,
            **self.extensions,
        }
        if self.pointer is not None:
            problem["errors"] = [{"detail": self.detail, "pointer": self.pointer}]
        return problem


class NotFound(ServiceError):
    """What the caller named does not exist for this tenant."""

    slug = "not-found"
    title = "Not found"


class Conflict(ServiceError):
    """The request is well formed but the present state forbids it."""

    slug = "conflict"
    title = "Conflict with the present state"


class Invalid(ServiceError):
    """The content of the request breaks a rule."""

    slug = "validation-error"
    title = "The request is not valid"


class TooLarge(ServiceError):
    """The body is over the limit."""

    slug = "content-too-large"
    title = "The body is over the limit"


class PreconditionFailed(ServiceError):
    """An `If-Match` or `If-None-Match` of the caller does not hold."""

    slug = "version-conflict"
    title = "The resource has changed"


class PreconditionRequired(ServiceError):
    """A change of a shared resource must name the state it changes."""

    slug = "precondition-required"
    title = "A precondition is required"


class Unauthenticated(ServiceError):
    """No valid API key came with the request."""

    slug = "unauthenticated"
    title = "An API key is required"


class Forbidden(ServiceError):
    """The API key does not hold the scope."""

    slug = "forbidden"
    title = "The API key lacks a scope"


class Gone(ServiceError):
    """It existed and is no longer to be had."""

    slug = "gone"
    title = "No longer available"


class BadDigest(ServiceError):
    """The body does not match the digest sent with it."""

    slug = "digest-mismatch"
    title = "The digest does not match"


class DigestMismatch(ServiceError):
    """Stored bytes no longer have the digest they were stored under."""

    slug = "stored-digest-mismatch"
    title = "Stored bytes are damaged"


class Busy(ServiceError):
    """There is no room for more of this at the moment."""

    slug = "temporary-reduced-capacity"
    title = "No room at the moment"


class LeaseLost(ServiceError):
    """The job was taken over or cancelled: whoever holds the old fence must stop and publish nothing."""

    slug = "lease-lost"
    title = "The lease was lost"


class JobCancelled(ServiceError):
    """The caller asked to cancel the request and the job saw it at a checkpoint."""

    slug = "cancelled"
    title = "Cancelled"


def where_it_broke(error: BaseException) -> str:
    """Types and places of an error and of its causes, for the log.

    Messages are left out, because they quote what was being worked on; those of most `ServiceError` are written for
    callers and hold nothing personal.
    """
    is_safe = isinstance(error, ServiceError) and not error.quotes_input
    lines = [type(error).__qualname__ + (f": {error}" if is_safe else "")]
    lines += [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in extract_tb(error.__traceback__)]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(lines) + (f"\nafter {where_it_broke(cause)}" if cause is not None else "")
