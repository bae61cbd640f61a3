"""Who calls: an API key, or nobody in particular from this very machine.

Rules, in order:

1. An `Authorization` header is judged, whatever address it comes from; a bad one is never overlooked.
2. Without one, the caller is the local operator if the operator allowed it and nothing in the request says that it
   came from elsewhere: both ends of the socket are loopback addresses, no proxy has forwarded it, and no foreign web
   page has had the browser send it.
3. Everybody else is refused.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer, SecurityScopes

from app.keys import service as keys
from app.keys.service import Scope
from app.resources import Resources, resources
from core.errors import Forbidden, Unauthenticated
from core.policy.override import OVERRIDE
from models_store.lineage.break_glass import BREAK_GLASS

ADMIN: Final = "admin"
APART: Final = frozenset({OVERRIDE, BREAK_GLASS})
"""Scopes that `admin` does not hold: whoever uses them was given them by name."""
FORWARDING_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="ApiKey",
    description="An API key, made with `expunge keys api create`. Not needed on loopback if the operator says so.",
)


@dataclass(frozen=True)
class Caller:
    """Who is behind a request, and what they may do."""

    tenant: str
    actor: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether the caller holds the scope; `admin` holds all but those in `APART`."""
        return scope in self.scopes or (ADMIN in self.scopes and scope not in APART)


LOCAL_OPERATOR = Caller(tenant="default", actor="local:loopback", scopes=frozenset({ADMIN}))


def caller(scope: Scope) -> Any:
    """How a route names the scope it needs: what follows the type in `Annotated[Caller, ...]`."""
    return Security(authenticate, scopes=[scope])


def authenticate(
    request: Request,
    needed: SecurityScopes,
    held: Annotated[Resources, Depends(resources)],
    _documented: Annotated[object, Depends(_bearer)],
) -> Caller:
    """The caller, once they are known and hold the scopes that the route needs.

    Raises:
        Unauthenticated: no key, or one that is not valid.
        Forbidden: the key lacks a scope.
    """
    who = _identify(request, held)
    for scope in needed.scopes:
        if not who.may(scope):
            msg = f"Expected an API key with the scope {scope}, got one without."
            raise Forbidden(msg, scope=scope)
    return who


def _identify(request: Request, held: Resources) -> Caller:
    header = request.headers.get("authorization")
    if header is None:
        if held.settings.allow_anonymous_loopback and is_local(request.scope, request.headers):
            return LOCAL_OPERATOR
        msg = "Expected the header `Authorization: Bearer exp_...`, got none."
        raise Unauthenticated(msg)
    scheme, _, secret = header.partition(" ")
    if scheme.lower() != "bearer":
        msg = "Expected the authentication scheme Bearer."
        raise Unauthenticated(msg)
    key = keys.verify(held.database, secret.strip())
    return Caller(tenant=key.tenant, actor=f"key:{key.id}", scopes=frozenset(key.scopes))


def is_local(scope: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
    """Whether a request comes from this machine and from nobody else through it.

    The addresses are those of the socket, not of a header. The `Host` must be loopback as well, because a foreign name
    that resolves to 127.0.0.1 (DNS rebinding) makes a web page the same origin as this service.
    """
    if not all(_is_loopback_address(scope.get(end)) for end in ("client", "server")):
        return False
    if any(name in headers for name in FORWARDING_HEADERS):
        return False
    host = headers.get("host", "")
    if not _is_loopback_name(_hostname(f"//{host}")):
        return False
    if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        return False
    origin = headers.get("origin")
    return origin is None or origin == f"{scope.get('scheme')}://{host}"


def _is_loopback_address(end: object) -> bool:
    return isinstance(end, tuple | list) and len(end) > 0 and _is_loopback_literal(str(end[0]))


def _is_loopback_literal(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _is_loopback_name(host: str | None) -> bool:
    return host is not None and (host == "localhost" or _is_loopback_literal(host))


def _hostname(netloc: str) -> str | None:
    try:
        return urlsplit(netloc).hostname
    except ValueError:
        return None
