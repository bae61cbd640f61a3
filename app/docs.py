"""The API on one page, from its own description. No script, nothing from elsewhere, readable on paper."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.pages import page

router = APIRouter(include_in_schema=False)


@router.get("/docs", response_class=HTMLResponse)
def documentation(request: Request) -> HTMLResponse:
    """Every route, what it does, which scope it needs and what it answers."""
    description = request.app.openapi()
    routes = [
        {"method": method.upper(), "path": path, "scopes": _scopes(operation), **operation}
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
    ]
    return page("docs.html", info=description["info"], routes=routes)


def _scopes(operation: dict[str, Any]) -> list[str]:
    return sorted({scope for one in operation.get("security", []) for scopes in one.values() for scope in scopes})
