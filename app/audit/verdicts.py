"""The verdict as the report shows it: deciding tests first, each explained, and where its interval lies."""

from collections.abc import Iterable, Mapping
from typing import Any

from app.audit.meanings import DIRECTIONS, meaning_of, title_of
from app.audit.schemas import TestOut, VerdictOut

POSITIONS = {
    "pass": "wholly inside the margin",
    "fail": "wholly outside the margin",
    "inconclusive": "reaches over the margin",
}
NO_INTERVAL = "no interval"


def verdict_out(verdict: Mapping[str, Any] | None) -> VerdictOut | None:
    """The verdict of a result, as `core.policy.verdict.Verdict.as_json` left it; None where there is none yet."""
    if not verdict:
        return None
    policy = verdict["policy"]
    return VerdictOut(
        outcome=verdict["outcome"],
        policy=f"{policy['name']} (version {policy['version']})",
        decided_by=[title_of(name) for name in verdict["decided_by"]],
        tests=_in_order(map(_test, verdict["tests"])),
    )


def _in_order(tests: Iterable[TestOut]) -> list[TestOut]:
    """Deciding ones first, those that did not pass before those that did."""
    order = {"fail": 0, "inconclusive": 1}
    return sorted(tests, key=lambda test: (not test.deciding, order.get(test.outcome or "", 2)))


def _test(judged: Mapping[str, Any]) -> TestOut:
    meaning, margin = meaning_of(judged["name"]), judged["margin"] or {}
    direction = judged.get("direction") or (meaning.direction if meaning else "none")
    return TestOut(
        name=judged["name"],
        title=title_of(judged["name"]),
        meaning=meaning.sentence if meaning else "",
        direction=DIRECTIONS.get(direction, direction),
        retrained=meaning.retrained if meaning else "",
        deciding=judged["deciding"],
        outcome=judged["outcome"],
        margin=_margin(margin),
        at_least=margin.get("at_least"),
        at_most=margin.get("at_most"),
        position=_position(judged),
        value=judged["value"],
        low=judged["low"],
        high=judged["high"],
        n=judged.get("n"),
        seed=judged.get("seed"),
        problem=judged["problem"],
    )


def _position(judged: Mapping[str, Any]) -> str:
    if not judged["deciding"]:
        return ""
    has_interval = judged["low"] is not None and judged["high"] is not None
    return POSITIONS.get(judged["outcome"], "") if has_interval else NO_INTERVAL


def _margin(margin: Mapping[str, float]) -> str:
    sides = {"at_least": "at least", "at_most": "at most"}
    return " and ".join(f"{words} {margin[side]:g}" for side, words in sides.items() if side in margin)
