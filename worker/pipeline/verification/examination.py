"""The whole examination of an unlearned network, or the tests of one policy alone."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from core.policy.catalogue import TESTS, Tier
from core.policy.policies import TestName
from core.policy.verdict import Evidence
from unlearning.evaluation import Measure
from worker.pipeline.verification import comparisons, outputs, references
from worker.pipeline.verification.attacks import ATTACKS, DEAREST
from worker.pipeline.verification.comparisons import Pair
from worker.pipeline.verification.curves import curves, per_class_accuracy
from worker.pipeline.verification.findings import Findings, by_name, missing
from worker.pipeline.verification.labels import why_unfit
from worker.pipeline.verification.references import Triple
from worker.pipeline.verification.subject import Subject
from worker.progress import Progress

Action = Callable[[], None]

NO_REFERENCE = "Expected a reference that was trained without exactly the forgotten classes, got none."
NO_AUDIT = "Expected shadow models, got none: no audit was made."


@dataclass(frozen=True)
class Case:
    """The networks of one examination."""

    original: Subject
    unlearned: Subject
    reference: Subject | None = None
    why_none: str = NO_REFERENCE
    """Why there is no reference."""

    @property
    def subjects(self) -> dict[str, Subject]:
        found = {"original": self.original, "unlearned": self.unlearned}
        return found if self.reference is None else found | {"reference": self.reference}

    @property
    def pair(self) -> Pair:
        return Pair(self.original, self.unlearned)

    @property
    def triple(self) -> Triple | None:
        return None if self.reference is None else Triple(self.original, self.unlearned, self.reference)


@dataclass(frozen=True)
class Examined:
    """Everything that was measured, as JSON."""

    measures: dict[str, dict[str, Any]]
    """By network; what compares two of them stands with the unlearned one."""
    curves: dict[str, Any]
    seconds: dict[str, float]
    """How long the tests that decide took, the passes over the images among them, and how long all of it."""
    doubt: str | None
    """Why nothing can be decided with these images, if that is so."""


def tests_of(case: Case) -> dict[TestName, Callable[[], Measure]]:
    """How each test that a policy may name is made, as far as it can be for this case."""
    made: dict[TestName, Callable[[], Measure]] = {
        **{name: partial(test, case.unlearned) for name, test in outputs.TESTS.items()},
        **{name: partial(test, case.pair) for name, test in comparisons.TESTS.items()},
    }
    triple = case.triple
    return made if triple is None else made | {name: partial(test, triple) for name, test in references.TESTS.items()}


def decide(case: Case, names: Iterable[TestName]) -> list[Evidence]:
    """Make these tests and no others."""
    findings, made = Findings(), tests_of(case)
    for name in names:
        if name in made:
            findings.take(name.value, made[name])
    return evidence_of(findings.measures, names, why_no_reference=case.why_none, doubt=why_unfit(case.original))


def examine(case: Case, deciding: Iterable[TestName], progress: Progress, start: float) -> Examined:
    """Measure everything: first what decides, then what informs.

    Args:
        case: the networks.
        deciding: the tests that the policy names; measured first.
        progress: moved from `start` of the step to its end.
        start: see there.
    """
    began, found = time.monotonic(), {name: Findings() for name in case.subjects}
    first, rest = _deciding(case, found, set(deciding)), _informing(case, found, set(deciding))
    total, seconds = len(first) + len(rest), {}
    for done, action in enumerate([*first, *rest], start=1):
        action()
        progress.reach(start + (1.0 - start) * done / total)
        if done == len(first):
            seconds["deciding"] = round(time.monotonic() - began, 3)
    measures = {name: findings.measures for name, findings in found.items()}
    drawn = curves(case.subjects, measures)
    doubt = why_unfit(case.original)
    return Examined(measures, drawn, seconds | {"all": round(time.monotonic() - began, 3)}, doubt)


def evidence_of(
    measures: dict[str, Any], deciding: Iterable[TestName], *, why_no_reference: str, doubt: str | None = None
) -> list[Evidence]:
    """The evidence for a verdict: every test that was made, and those that the policy names but that were not.

    Args:
        measures: of the unlearned network.
        deciding: the tests that the policy names.
        why_no_reference: what is said of tests that compare with one.
        doubt: why none of the deciding tests says anything; they are then inconclusive.
    """
    wanted = set(deciding)
    found = []
    for name in TestName:
        measure = measures.get(name.value)
        if measure is None and name in wanted:
            measure = missing(_why_missing(name, why_no_reference))
        elif doubt is not None and name in wanted:
            measure = missing(doubt)
        if measure is not None:
            found.append(_evidence(name, measure))
    return found


def _deciding(case: Case, found: dict[str, Findings], deciding: set[TestName]) -> list[Action]:
    take = found["unlearned"].take
    return [partial(take, name.value, test) for name, test in tests_of(case).items() if name in deciding]


def _informing(case: Case, found: dict[str, Findings], deciding: set[TestName]) -> list[Action]:
    """Everything else, in order."""
    ours, triple = found["unlearned"], case.triple
    work: list[Action] = [
        partial(ours.take, name.value, test) for name, test in tests_of(case).items() if name not in deciding
    ]
    for whose, subject in case.subjects.items():
        if subject is not case.unlearned:
            work += [partial(found[whose].take, name.value, partial(t, subject)) for name, t in outputs.TESTS.items()]
        work += _of_one(case, whose, found[whose])
    work.append(partial(ours.take, "over_unlearning", partial(comparisons.over_unlearning, case.pair)))
    work.append(partial(ours.take_all, "cka_original", partial(comparisons.likeness, case.pair)))
    if triple is not None:
        work.append(partial(ours.take_all, "beside_reference", partial(references.further, triple)))
        work.append(partial(ours.take_all, "relearning_time", partial(references.relearning_times, triple)))
        judged = Pair(case.original, triple.reference)
        work += [
            partial(found["reference"].take, name.value, partial(comparisons.TESTS[name], judged))
            for name in comparisons.PUT_BACK
        ]
    return work


def _of_one(case: Case, whose: str, findings: Findings) -> list[Action]:
    """What informs about one network."""
    subject = case.subjects[whose]
    work: list[Action] = [partial(findings.note, "per_class_accuracy_test", partial(per_class_accuracy, subject))]
    work += [partial(findings.take, name, partial(test, subject)) for name, test in outputs.INFORMING.items()]
    work += [partial(findings.take_all, name, partial(t, subject)) for name, t in outputs.INFORMING_TOGETHER.items()]
    if subject.scene.deletion.num_classes > outputs.TOP:
        for split, name in (("test", "forget_accuracy_top5"), ("train", "forget_accuracy_top5_train")):
            work.append(partial(findings.take, name, partial(outputs.top_forget_accuracy, subject, split)))
    near = partial(outputs.nearest_accuracy, subject, case.original)
    work.append(partial(findings.take, "nearest_class_accuracy", near))
    attacks = [name for name in ATTACKS if whose != "original" or name not in DEAREST]
    return work + [partial(findings.take_all, name, partial(_attack, subject, name)) for name in attacks]


def _attack(subject: Subject, attack: str) -> dict[str, Measure]:
    return by_name(outcome.measure() for outcome in subject.attacked[attack].get())


def _why_missing(name: TestName, why_no_reference: str) -> str:
    tier = TESTS[name].tier
    return {Tier.REFERENCE: why_no_reference, Tier.AUDIT: NO_AUDIT}.get(tier, "It was not measured.")


def _evidence(name: TestName, measure: dict[str, Any]) -> Evidence:
    return Evidence(
        name=name,
        value=measure["value"],
        low=measure["low"],
        high=measure["high"],
        n=measure["n"],
        seed=measure["seed"],
        problem=measure.get("problem"),
    )
