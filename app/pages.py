"""Pages for people: rendered here, with every value escaped, one inline style sheet and nothing else to load."""

import base64
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import jinja2
from fastapi.responses import HTMLResponse
from markupsafe import Markup

FOLDER = Path(__file__).parent / "templates"


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@lru_cache(maxsize=1)
def _style() -> str:
    return (FOLDER / "page.css").read_text(encoding="utf-8")


def page(template: str, **values: Any) -> HTMLResponse:
    """A page; its policy lets the browser apply our style sheet, known by its hash, and load or run nothing at all."""
    style = _style()
    # The style sheet is ours and must not be escaped, or its hash would not fit.
    html = _environment().get_template(template).render(style=Markup(style), **values)  # noqa: S704
    digest = base64.b64encode(sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'; base-uri 'none'"
    return HTMLResponse(html, headers={"Content-Security-Policy": f"{policy}; form-action 'none'"})
