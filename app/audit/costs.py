"""What a deletion cost, beside what retraining did: the worker's account, flattened to lines that can be read."""

from collections.abc import Iterator, Mapping
from typing import Any

from app.audit.schemas import CostLine

WORDS = {
    "seconds": "Deletion",
    "samples": "Images used by the deletion",
    "peak_memory_bytes": "Most memory of the process until the weights were made, bytes",
    "verification_seconds": "Verification",
    "verification_samples": "Images used by the verification",
    "retrain_seconds": "Retraining the reference, here",
    "deciding": "tests that decide",
    "all": "all tests",
}
"""What the worker's names mean to a reader, in the order of interest; other names speak for themselves."""
_ORDER = {name: place for place, name in enumerate(WORDS)}


def cost_lines(cost: Mapping[str, Any] | None) -> list[CostLine]:
    """One line for each number or text of the account, and one for how much faster than retraining it was."""
    lines = [CostLine(name=": ".join(map(_word, way)), value=_told(way, value)) for way, value in _leaves(cost, ())]
    return [*lines, *_speed_up(cost or {})]


def _speed_up(cost: Mapping[str, Any]) -> list[CostLine]:
    took, retraining = cost.get("seconds"), cost.get("retrain_seconds")
    if not (isinstance(took, int | float) and isinstance(retraining, int | float) and took > 0):
        return []
    return [CostLine(name="Retraining took as long as", value=f"{retraining / took:,.4g} such deletions")]


def _word(name: str) -> str:
    return WORDS.get(name, name.replace("_", " "))


def _leaves(value: Any, way: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        # Databases do not keep the order of members.
        for name in sorted(value, key=lambda name: (_ORDER.get(name, len(_ORDER)), name)):
            yield from _leaves(value[name], (*way, name))
    elif isinstance(value, str | int | float) and way:
        yield way, value


def _told(way: tuple[str, ...], value: str | float) -> str:
    if isinstance(value, bool | str):
        return str(value)
    number = f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
    return f"{number} s" if any("seconds" in part for part in way) else number
