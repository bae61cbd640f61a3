"""CSV (RFC 4180) that a spreadsheet shows and never calculates.

A cell that begins with `=`, `+`, `-` or `@` is a formula to a spreadsheet, however it is quoted in the file. Such text
gets an apostrophe in front. Programs differ in what they skip before they look (spaces, quotes, invisible characters),
in whether a wide equals sign counts, and in which character separates cells; so all of these count here.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from app.audit.plots.svg import clean
from app.reports.glyphs import in_plain_order

TRIGGERS = (
    "=\ufe66\uff1d\u207c\u208c\u2a75\u2a76"  # and small, wide, raised, lowered, doubled
    "+\ufe62\uff0b\u207a\u208a\ufb29"
    "\\-\ufe63\uff0d\u2212\u2010-\u2015\u207b\u208b"  # dashes too: some programs correct them
    "@\ufe6b\uff20"
)
"""What begins a formula, and what turns into that when compatibility forms are made plain; a character class."""
_SPACES = (
    "\\s\\x00-\\x20\\x7f-\\xa0\\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202f\u2060-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffd"
)
_QUOTES = "\"'`\xb4\u2018-\u201f\xab\xbb\u2039\u203a\uff02\uff07"
_FORMULA = re.compile(f"(^|[,;|\t\r\n])(?=[{_SPACES}{_QUOTES}]*[{TRIGGERS}])")


def inert(text: str) -> str:
    """The text with an apostrophe wherever a spreadsheet could take what follows for a formula."""
    return _FORMULA.sub(r"\1'", in_plain_order(clean(text)))


def cell(value: object) -> str:
    """A value as text: nothing for None, members of a list one after the other."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return "; ".join(map(cell, value))
    return inert(str(value))


def csv_lines(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """The header, then a line for each row, every cell quoted; one at a time, so that length costs no memory.

    Args:
        columns: their names, in order; ours, never a caller's.
        rows: values by column.

    Yields:
        Lines that end in CR LF.
    """
    yield _line(columns)
    for row in rows:
        yield _line([cell(row[name]) for name in columns])


def _line(cells: Sequence[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue()
