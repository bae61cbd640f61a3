"""The measures of a result in the order a reader wants them, each explained, before and after and in the reference."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from app.audit.meanings import DIRECTIONS, MEANINGS, Group, meaning_of, title_of
from app.schemas import Out

SIDES = ("original", "unlearned", "reference")


class Measure(Out):
    """One number with its 95 % interval."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = Field(None, description="Samples behind the value.")
    seed: int | None = Field(None, description="Of every random choice in it; null when nothing is random.")
    problem: str | None = Field(None, description="Why there is no value.")


class MeasureRow(Out):
    name: str
    title: str
    group: str = Field(description="Heading under which the report shows it.")
    meaning: str = Field(description="What it measures, in one sentence.")
    direction: str = Field(description="Which way is better.")
    retrained: str = Field(description="What a model scores that was trained anew without the classes.")
    before: Measure | None = Field(description="Of the base version.")
    after: Measure | None = Field(description="Of the new weights.")
    reference: Measure | None = Field(description="Of the reference, if one was measured.")


def measure_rows(result: Mapping[str, Any]) -> list[MeasureRow]:
    """Every measure of a result that has a number or a reason for having none, by group, known ones first."""
    before, after, reference = sides_of(result)
    tests = {one["name"]: one for one in (result.get("verdict") or {}).get("tests", [])}
    # What is measured of both at once, such as a loss, stands only among the tests; there not, if it has no value.
    compared = {name: one for name, one in tests.items() if name not in before and one.get("value") is not None}
    after = {**compared, **after}
    found = [_row(name, before.get(name), after.get(name), reference.get(name)) for name in {**before, **after}]
    groups, known = list(Group), {name: place for place, name in enumerate(MEANINGS)}
    return sorted(
        found,
        key=lambda row: (groups.index(Group(row.group)), known.get(row.name, len(known)), _counted(row.name)),
    )


def sides_of(result: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The measures of original, unlearned and reference by name; what is no measure is left out."""
    measures = result.get("measures") or {}
    original, unlearned, reference = (
        {name: one for name, one in (measures.get(side) or {}).items() if _is_measure(one)} for side in SIDES
    )
    return original, unlearned, reference


def _row(name: str, before: Any, after: Any, reference: Any) -> MeasureRow:
    meaning = meaning_of(name)
    told = [one["direction"] for one in (after, before) if one is not None and one.get("direction", "none") != "none"]
    direction = told[0] if told else meaning.direction if meaning else "none"
    return MeasureRow(
        name=name,
        title=title_of(name),
        group=meaning.group if meaning else Group.OTHER,
        meaning=meaning.sentence if meaning else "",
        direction=DIRECTIONS.get(direction, direction),
        retrained=meaning.retrained if meaning else "",
        before=_measure(before),
        after=_measure(after),
        reference=_measure(reference),
    )


def _counted(name: str) -> list[tuple[str, int]]:
    """A key that puts 5 before 20."""
    return [(letters, int(digits or -1)) for letters, digits in re.findall(r"([^0-9]*)([0-9]*)", name)]


def _is_measure(value: object) -> bool:
    return isinstance(value, dict) and "value" in value


def _measure(value: dict[str, Any] | None) -> Measure | None:
    return None if value is None else Measure.model_validate({name: value.get(name) for name in Measure.model_fields})
