"""The API's own description: FastAPI's, with problem documents in place of its validation errors."""

from typing import Any

from fastapi import FastAPI

from app.schemas import Problem

REF = "#/components/schemas/{model}"


def install(app: FastAPI) -> None:
    """Have the application describe itself this way; the description is made when first asked for."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _with_problems(described())
        return app.openapi_schema

    # A documented way to extend the description; the method has no other seam.
    app.openapi = openapi  # type: ignore[method-assign]


def _with_problems(description: dict[str, Any]) -> dict[str, Any]:
    schemas = description.setdefault("components", {}).setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template=REF)
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return description
