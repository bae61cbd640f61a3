"""The verdict: a pure function of measures and policy. Only a passed one can be published, and its type says so."""

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from core.policy.catalogue import TESTS, TestName
from core.policy.margins import Margin, Policy


class Outcome(StrEnum):
    """What a test, and the whole verdict, says."""

    PASS = "pass"  # noqa: S105 not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    """The interval reaches over the margin, or the test could not be made; never releases."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One measured test. `problem` says why there is no value."""

    name: TestName
    value: float | None
    low: float | None
    high: float | None
    n: int
    seed: int | None = None
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One test judged against its margin."""

    name: TestName
    deciding: bool
    outcome: Outcome | None
    """None for a test that only informs."""
    margin: Margin | None
    value: float | None
    low: float | None
    high: float | None
    n: int
    seed: int | None
    problem: str | None

    def as_json(self) -> dict[str, Any]:
        """JSON members, with the direction that is better; the margin as `{"at_least", "at_most"}`."""
        margin = self.margin.model_dump(exclude_none=True) if self.margin else None
        return {
            **asdict(self),
            "margin": margin,
            "name": self.name.value,
            "outcome": self.outcome and self.outcome.value,
            "direction": TESTS[self.name].scale.direction,
        }


@dataclass(frozen=True)
class Verdict:
    """All tests judged."""

    policy: Policy
    outcome: Outcome
    decided_by: tuple[TestName, ...]
    """The tests that decided: every deciding one for a pass, else those that failed or could not be told."""
    judgements: tuple[Judgement, ...]

    def as_json(self) -> dict[str, Any]:
        """JSON members of the verdict, policy included."""
        return {
            "policy": self.policy.as_json(),
            "outcome": self.outcome.value,
            "decided_by": [name.value for name in self.decided_by],
            "tests": [judgement.as_json() for judgement in self.judgements],
        }

    def passed(self) -> "PassedVerdict | None":
        """The verdict as the type that publishing takes, or None."""
        return PassedVerdict(self) if self.outcome is Outcome.PASS else None


@dataclass(frozen=True)
class PassedVerdict:
    """Proof that a verdict passed; what publishing asks for."""

    verdict: Verdict

    def __post_init__(self) -> None:
        """Refuse a verdict that did not pass: a mistake of the programmer, not of the caller."""
        if self.verdict.outcome is not Outcome.PASS:
            msg = f"Expected a passed verdict, got {self.verdict.outcome}."
            raise RuntimeError(msg)


def judge(evidence: list[Evidence], policy: Policy) -> Verdict:
    """Judge measures against a policy.

    A deciding test that is missing or has no finite interval is inconclusive. All deciding tests must pass, so no
    correction for multiplicity is needed.
    """
    measured = {item.name: item for item in evidence}
    missing = [
        Evidence(name=name, value=None, low=None, high=None, n=0, problem="not measured")
        for name in policy.deciding
        if name not in measured
    ]
    judgements = tuple(_judge_one(item, policy.deciding.get(item.name)) for item in [*evidence, *missing])
    deciding = [judgement for judgement in judgements if judgement.deciding]
    failed = tuple(judgement.name for judgement in deciding if judgement.outcome is Outcome.FAIL)
    unclear = tuple(judgement.name for judgement in deciding if judgement.outcome is Outcome.INCONCLUSIVE)
    if failed:
        return Verdict(policy, Outcome.FAIL, failed, judgements)
    if unclear or not deciding:
        return Verdict(policy, Outcome.INCONCLUSIVE, unclear, judgements)
    return Verdict(
        policy,
        Outcome.PASS,
        tuple(judgement.name for judgement in deciding),
        judgements,
    )


def _judge_one(item: Evidence, margin: Margin | None) -> Judgement:
    return Judgement(
        deciding=margin is not None,
        outcome=_outcome(item, margin) if margin else None,
        margin=margin,
        **asdict(item),
    )


def _outcome(item: Evidence, margin: Margin) -> Outcome:
    if item.low is None or item.high is None or not (math.isfinite(item.low) and math.isfinite(item.high)):
        return Outcome.INCONCLUSIVE
    floor = -math.inf if margin.at_least is None else margin.at_least
    ceiling = math.inf if margin.at_most is None else margin.at_most
    if floor <= item.low and item.high <= ceiling:
        return Outcome.PASS
    if item.high < floor or item.low > ceiling:
        return Outcome.FAIL
    return Outcome.INCONCLUSIVE
