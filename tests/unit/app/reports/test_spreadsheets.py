"""CSV that no spreadsheet calculates, read back by a parser, as several programs would split it."""

import csv
import io
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.reports.spreadsheets import csv_lines, inert

ATTACKS = [
    '=HYPERLINK("http://evil.example","x")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "   =1+1",
    '"=1+1"',
    '""=1+1',
    "\u201c=1+1",
    "\uff1d1+1",
    "\uff0b1",
    "\uff0d1",
    "\uff20SUM(1)",
    "\u200b=1+1",
    "\ufeff=1+1",
    "\xa0=1+1",
    "\u202e=1+1",
    "\x00=1+1",
    "\x0b=1+1",
    "harmless;=1+1",
    'harmless","=1+1',
    "harmless\t=1+1",
    "harmless\r\n=1+1",
    "harmless, =1+1",
]
SKIPPED = " \t\r\n\"'`\u2018\u2019\u201c\u201d\xa0\u200b\u202e\ufeff\ufffd\x00\x0b"


def begins_a_formula(cell: str) -> bool:
    """As the most suspicious spreadsheet would see it."""
    plain = unicodedata.normalize("NFKC", cell)
    return not plain.startswith("'") and plain.lstrip(SKIPPED)[:1] in {*"=+-@"}


def read(text: str, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def every_cell(text: str) -> list[str]:
    """As programs split it: at commas, semicolons or tabs, and one that takes no notice of quotes."""
    split = [cell for delimiter in ",;\t" for row in read(text, delimiter) for cell in row]
    return split + [cell.strip('"') for line in text.splitlines() for cell in line.split(",")]


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_that_works_on_plain_csv_does_not_on_ours(attack: str) -> None:
    plain = io.StringIO()
    csv.writer(plain).writerow(["x", attack])
    assert any(begins_a_formula(cell) for cell in every_cell(plain.getvalue()))
    ours = "".join(csv_lines(["a", "b"], [{"a": "x", "b": attack}]))
    assert [len(row) for row in read(ours)] == [2, 2]
    assert not any(begins_a_formula(cell) for cell in every_cell(ours))


def test_whatever_becomes_a_trigger_when_made_plain_is_one() -> None:
    letters = map(chr, (code for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000))
    wide = [letter for letter in letters if unicodedata.normalize("NFKC", letter)[:1] in {*"=+-@"}]
    assert len(wide) > 10
    assert all(inert(letter + "1").startswith("'") for letter in wide)


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_cells_come_back_as_they_were_but_for_the_apostrophe(values: list[str]) -> None:
    columns = [f"c{place}" for place in range(len(values))]
    header, row = read("".join(csv_lines(columns, [dict(zip(columns, values, strict=True))])))
    assert header == columns
    assert row == [inert(value) for value in values]
    assert not any(begins_a_formula(cell) for cell in row)


@pytest.mark.parametrize("harmless", ["cat", "2026-01-31", "a-b", "x=1", "art17_1_b", "me@example.org", "key:12", ""])
def test_ordinary_text_stays_as_it_is(harmless: str) -> None:
    assert inert(harmless) == harmless
