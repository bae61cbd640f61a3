"""docs/operations.md lists every setting as the code has it."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from core.settings import Settings

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "operations.md"
BEGIN, END = "<!-- settings: begin -->\n", "<!-- settings: end -->\n"


def settings_table() -> str:
    """The table, in the order of the code."""
    rows = ["| Variable | Default | Meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        rows.append(f"| `EXPUNGE_{name.upper()}` | {_spelled(field.default)} | {field.description} |")
    return "\n".join(rows) + "\n"


def _spelled(default: Any) -> str:
    if default is None or default in ("", PydanticUndefined):
        return ""
    if isinstance(default, timedelta):
        return f"`{default.total_seconds():g}` s"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default}`"


def test_the_operations_page_lists_every_setting() -> None:
    text = DOCUMENT.read_text()
    assert text.partition(BEGIN)[2].partition(END)[0] == settings_table()
