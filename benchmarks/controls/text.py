"""Sections of the document: a heading and a table."""

from collections.abc import Sequence

from cli.selftest import tables
from cli.selftest.gate import Row


def controls_section(title: str, rows: Sequence[Row]) -> str:
    """The controls and their verdicts."""
    return f"### {title}\n\n{tables.markdown(tables.CONTROLS, tables.control_table(rows))}"


def room_section(title: str, rows: Sequence[Row], policy: str) -> str:
    """The room around each margin."""
    return f"### {title}\n\n{tables.markdown(tables.ROOM, tables.room_table(rows, policy))}"
