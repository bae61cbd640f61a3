"""docs/operations.md lists every test with its tier, its values and the margin it takes, as the code has them."""

import math
from pathlib import Path

from core.policy.catalogue import TESTS, Scale

DOCUMENT = Path(__file__).resolve().parents[4] / "docs" / "operations.md"
BEGIN, END = "<!-- tests: begin -->\n", "<!-- tests: end -->\n"
HEAD = "| Test | Tier | Value | Margin | What it says |\n| --- | --- | --- | --- | --- |\n"


def values(scale: Scale) -> str:
    """What a value can be."""
    lowest, highest = (f"{end:g}" if math.isfinite(end) else "" for end in (scale.lowest, scale.highest))
    span = f"{lowest} to {highest}" if lowest and highest else f"from {lowest}" if lowest else "any number"
    return f"{scale.kind}, {span}"


def margin(scale: Scale) -> str:
    """The sides that a margin gives; those in brackets may be left out."""
    if scale.instead is not None:
        return f"none: `{scale.instead}` decides"
    return ", ".join([f"`{side}`" for side in scale.needed] + [f"(`{side}`)" for side in scale.optional])


def test_the_operations_page_lists_every_test() -> None:
    table = DOCUMENT.read_text().partition(BEGIN)[2].partition(END)[0]
    assert table.startswith(HEAD)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.removeprefix(HEAD).splitlines()]
    expected = [
        [f"`{name}`", facts.tier.value, values(facts.scale), margin(facts.scale)] for name, facts in TESTS.items()
    ]
    assert [row[:4] for row in rows] == expected
    assert all(len(row) == 5 and row[4] for row in rows)
