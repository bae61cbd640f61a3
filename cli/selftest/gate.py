"""Every control before the gate: measured as the worker measures, judged by the shipped policies."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from cli.selftest.controls import Control, Expected
from cli.selftest.ground import Ground
from cli.selftest.service import silent
from core.policy.policies import SHIPPED, Margin, Policy, TestName
from core.policy.verdict import Evidence, Judgement, Outcome, Verdict, judge
from worker.pipeline.verification import Case, Deletion, Looked, Scene, Subject, decide

Watch = Callable[[str], None]
"""Told the name of each control before it is made."""


@dataclass(frozen=True)
class Row:
    """One control and what was found."""

    control: Control
    verdicts: Mapping[str, Verdict]
    """By the policy's name."""

    def holds(self, policy: str) -> bool:
        """Whether the gate said what it had to, as far as it was known to be able to."""
        return self.is_told_apart(policy) or policy in self.control.blind

    def is_told_apart(self, policy: str) -> bool:
        """Whether the gate said what it had to."""
        expected = self.control.expected
        return expected is Expected.REPORTED or self.verdicts[policy].outcome.value == expected.value


@dataclass(frozen=True)
class Trial:
    """Some controls on one ground.

    Attributes:
        ground: What they are made from.
        controls: In the order of the table.
        only: The tests that judge here; empty for all that the policies name.
    """

    ground: Ground
    controls: Sequence[Control]
    only: frozenset[TestName] = frozenset()


def policies_among(only: frozenset[TestName]) -> dict[str, Policy]:
    """The shipped policies, as far as they judge by these tests; as they are if there are none."""
    if not only:
        return dict(SHIPPED)
    kept = {
        name: {test: margin for test, margin in policy.deciding.items() if test in only}
        for name, policy in SHIPPED.items()
    }
    return {name: SHIPPED[name].model_copy(update={"deciding": deciding}) for name, deciding in kept.items()}


def names_among(only: frozenset[TestName]) -> list[TestName]:
    """Every test that judges by any of these policies."""
    return list(dict.fromkeys(test for policy in policies_among(only).values() for test in policy.deciding))


def measured(trial: Trial, watch: Watch) -> Iterator[tuple[Control, list[Evidence]]]:
    """Make each control, and make every test that judges."""
    ground, names = trial.ground, names_among(trial.only)
    deletion = Deletion([ground.forget], [ground.forget], ground.num_classes, ground.seed)
    scene = Scene(deletion, Looked.at(ground.train, ground.test, deletion), ground.original)

    def subject(model: nn.Module) -> Subject:
        return Subject(scene, model, silent(), (0.0, 1.0))

    original, reference = subject(ground.original), subject(ground.reference)
    for control in trial.controls:
        watch(control.name)
        yield control, decide(Case(original, subject(control.make(ground)), reference), names)


def judged(control: Control, evidence: list[Evidence], only: frozenset[TestName] = frozenset()) -> Row:
    """What the policies say of it."""
    return Row(control, {name: judge(evidence, policy) for name, policy in policies_among(only).items()})


@dataclass(frozen=True)
class Room:
    """How far an interval lies from the end of a margin that it is nearest to."""

    test: TestName
    end: float
    """Of the interval."""
    limit: float
    """Of the margin."""

    @property
    def distance(self) -> float:
        """In the test's own unit."""
        return abs(self.limit - self.end)


def room_inside(judgement: Judgement) -> Room | None:
    """The room of an interval that lies inside its margin; None for one that does not."""
    if judgement.outcome is not Outcome.PASS or judgement.margin is None:
        return None
    return min(_ends(judgement, judgement.margin, inside=True), key=lambda room: room.distance)


def room_beyond(judgement: Judgement) -> Room | None:
    """The room of an interval that lies wholly outside its margin; None for one that does not."""
    if judgement.outcome is not Outcome.FAIL or judgement.margin is None:
        return None
    return max(_ends(judgement, judgement.margin, inside=False), key=lambda room: room.distance)


def _ends(judgement: Judgement, margin: Margin, *, inside: bool) -> list[Room]:
    low, high = judgement.low or 0.0, judgement.high or 0.0
    found = []
    if margin.at_most is not None and (inside or low > margin.at_most):
        found.append(Room(judgement.name, high if inside else low, margin.at_most))
    if margin.at_least is not None and (inside or high < margin.at_least):
        found.append(Room(judgement.name, low if inside else high, margin.at_least))
    return found
