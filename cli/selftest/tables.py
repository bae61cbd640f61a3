"""What was found, as tables: the controls with their verdicts, and the room that each test leaves."""

from collections.abc import Iterable, Sequence
from itertools import chain

from cli.selftest.controls import Expected
from cli.selftest.gate import Room, Row, room_beyond, room_inside
from core.policy.policies import SHIPPED, TestName
from core.policy.verdict import Judgement, Outcome, Verdict

CONTROLS = ("control", "expected", *SHIPPED, "what decides", "nearest margin")
ROOM = ("test", "margin", "worst control that passes", "best control that fails by it", "fails")
NOTHING = ""


def control_table(rows: Iterable[Row]) -> list[tuple[str, ...]]:
    """One line for each control; a verdict that is not the expected one is marked, and said to be known if it is."""
    return [
        (
            row.control.name,
            row.control.expected.value,
            *(_outcome(row, name) for name in SHIPPED),
            *_deciding(row),
        )
        for row in rows
    ]


def room_table(rows: Sequence[Row], policy: str) -> list[tuple[str, ...]]:
    """One line for each test that decides: between which controls its margin lies, and how far from them."""
    return [line for test in SHIPPED[policy].deciding if (line := _room(rows, policy, test)) is not None]


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table as documents hold it."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _outcome(row: Row, policy: str) -> str:
    outcome = row.verdicts[policy].outcome.value
    if row.is_told_apart(policy):
        return outcome
    return f"{outcome} (known limit)" if row.holds(policy) else f"{outcome} (!)"


def _deciding(row: Row) -> tuple[str, str]:
    """The tests that decided, and how far the one that says most is from its margin.

    By the first policy that tells the control apart.
    """
    policy = next((name for name in SHIPPED if row.is_told_apart(name)), "standard")
    verdict = row.verdicts[policy]
    prefix = "" if policy == "standard" else f"{policy}: "
    deciding = [judgement for judgement in verdict.judgements if judgement.deciding]
    if verdict.outcome is Outcome.FAIL:
        rooms = [room for judgement in deciding if (room := room_beyond(judgement)) is not None]
        return prefix + ", ".join(verdict.decided_by), told(max(rooms, key=_share))
    if verdict.outcome is Outcome.PASS:
        rooms = [room for judgement in deciding if (room := room_inside(judgement)) is not None]
        return f"{prefix}all of them", told(min(rooms, key=_share))
    return prefix + ", ".join(verdict.decided_by), NOTHING


def _room(rows: Sequence[Row], policy: str, test: TestName) -> tuple[str, ...] | None:
    passing = _rooms(rows, policy, test, Expected.PASS)
    failing = _rooms(rows, policy, test, Expected.FAIL)
    margin = SHIPPED[policy].deciding[test]
    sides = {"at least": margin.at_least, "at most": margin.at_most}
    limits = " and ".join(f"{words} {limit:g}" for words, limit in sides.items() if limit is not None)
    inside, beyond = (
        f"{room.end:.3g}, {room.distance:.2g} away ({name})" if room is not None else "none"
        for name, room in (
            min(side, key=lambda found: found[1].distance, default=("", None)) for side in (passing, failing)
        )
    )
    return test.value, limits, inside, beyond, str(len(failing))


def _rooms(rows: Sequence[Row], policy: str, test: TestName, expected: Expected) -> list[tuple[str, Room]]:
    find = room_inside if expected is Expected.PASS else room_beyond
    found: list[tuple[str, Room]] = []
    for row in rows:
        if row.control.expected is expected:
            rooms = (find(judgement) for judgement in _of(row.verdicts[policy], test))
            found += [(row.control.name, room) for room in rooms if room is not None]
    return found


def _of(verdict: Verdict, test: TestName) -> list[Judgement]:
    return [judgement for judgement in verdict.judgements if judgement.name is test and judgement.deciding]


def told(room: Room) -> str:
    """The distance in words."""
    return f"{room.test} {room.end:.3g}, {room.distance:.2g} from {room.limit:g}"


def _share(room: Room) -> float:
    return room.distance / max(abs(room.limit), 1e-9)


def missed(rows: Iterable[Row]) -> list[str]:
    """Controls that a policy lets through although it should not, as it is known to."""
    return [
        f"{row.control.name} ({name})"
        for row in rows
        for name in SHIPPED
        if row.holds(name) and not row.is_told_apart(name)
    ]


def unexpected(rows: Iterable[Row]) -> list[str]:
    """The controls of which the gate did not say what it had to, with the policy."""
    found = ([f"{row.control.name} ({name})" for name in SHIPPED if not row.holds(name)] for row in rows)
    return list(chain.from_iterable(found))
