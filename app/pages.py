"""Pages for people: rendered here, with every value escaped, one inline style sheet and nothing else to load."""

import base64
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import jinja2
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from app.reports.glyphs import in_plain_order

FOLDER = Path(__file__).parent / "templates"


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_in_plain_order,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@lru_cache(maxsize=1)
def _style() -> str:
    return (FOLDER / "page.css").read_text(encoding="utf-8")


def rendered(template: str, **values: Any) -> str:
    """A page's HTML."""
    # The style sheet is ours and must not be escaped, or its hash would not fit.
    return _environment().get_template(template).render(style=Markup(_style()), **values)  # noqa: S704


def rendered_in_pieces(template: str, **values: Any) -> Iterator[str]:
    """The same, piece by piece, for pages whose rows come from a generator."""
    stream = _environment().get_template(template).stream(style=Markup(_style()), **values)  # noqa: S704 as above
    stream.enable_buffering(200)
    return stream


def policy() -> dict[str, str]:
    """The header that lets the browser apply our style sheet, known by its hash, and load or run nothing at all."""
    digest = base64.b64encode(sha256(_style().encode()).digest()).decode()
    own = f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'; base-uri 'none'"
    return {"Content-Security-Policy": f"{own}; form-action 'none'"}


def page(template: str, **values: Any) -> HTMLResponse:
    """A page as an answer."""
    return HTMLResponse(rendered(template, **values), headers=policy())


def _in_plain_order(value: Any) -> Any:
    """Text as it is read; markup is ours."""
    return in_plain_order(value) if isinstance(value, str) and not isinstance(value, Markup) else value
