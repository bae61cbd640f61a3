"""Results as a worker would leave them, made up from a seed, and the report that is put together from one."""

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from app.audit.costs import cost_lines
from app.audit.coverage import coverage_of, statement_of
from app.audit.curves import read_curves
from app.audit.measures import measure_rows
from app.audit.schemas import ReportEntry, ReportOut, VersionOut
from app.audit.verdicts import verdict_out
from app.reports.anonymity import anonymity_of
from app.reports.grounds import ground_in_words
from app.reports.schemas import Accounted, LineageVersion, RecordLine
from app.unlearn.deadlines_schemas import DeadlineOut, DeadlineStepOut
from app.unlearn.schemas import ClassOut, StepOut
from core.policy.catalogue import TESTS, TestName, Tier
from core.policy.margins import Margin, Policy
from core.policy.verdict import Evidence, judge
from core.states import JobState

WORDS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
HOSTILE = '<script>alert("1")</script>&\x01\u0000'


ALONE = Policy(
    name="house",
    version=3,
    deciding={
        TestName.FORGET_ACCURACY_TEST: Margin(at_most=0.10),
        TestName.WORST_CLASS_DROP: Margin(at_most=0.20),
        TestName.MEMBERSHIP_AUC: Margin(at_least=0.30, at_most=0.70),
        TestName.HEAD_OUTLIER: Margin(at_most=3.5),
    },
)
COMPARING = Policy(
    name="house-with-reference",
    version=1,
    deciding={
        **ALONE.deciding,
        TestName.PROBE_GAP: Margin(at_most=0.20),
        TestName.RETAIN_ACCURACY_GAP: Margin(at_least=-0.05),
    },
)
"""Policies of the tests' own: the margins of those that are shipped may change."""


def labels_of(num_classes: int) -> list[str]:
    """Ten names as of CIFAR-10, then longer ones."""
    return [WORDS[index] if index < len(WORDS) else f"species number {index}" for index in range(num_classes)]


def result_of(num_classes: int = 10, deleted: tuple[int, ...] = (3,), *, reference: bool = True) -> dict[str, Any]:
    """A whole result: measures, verdict, curves and cost."""
    rng = random.Random(num_classes)
    before = confusion(rng, num_classes, ())
    after = confusion(rng, num_classes, deleted)
    sides = {"original": before, "unlearned": after}
    if reference:
        sides["reference"] = confusion(rng, num_classes, deleted)
    accuracies = {side: [row[place] / sum(row) for place, row in enumerate(matrix)] for side, matrix in sides.items()}
    levels = {"original": 0.55, "unlearned": 0.38, "reference": 0.3}
    shots = {
        side: {
            str(k): min(0.99, levels[side] + 0.11 * place + rng.random() / 50) for place, k in enumerate((1, 5, 10, 50))
        }
        for side in sides
    }
    return {
        "base_version": 1,
        "new_version": 2,
        "forgotten": sorted(deleted),
        "method": {"name": "refit", "chosen": True, "layers": ["features.37", "classifier.0"]},
        "measures": measures(accuracies, deleted),
        "verdict": verdict(reference),
        "curves": {
            "confusion": sides,
            "per_class_accuracy": accuracies,
            "membership_roc": roc(),
            "few_shot": shots,
            "layers": [
                {"layer": f"features.{place}.weight", "relative_change": 0.0 if place < 20 else 0.004 * place}
                for place in range(0, 40, 3)
            ]
            + [{"layer": "classifier.weight", "relative_change": 0.412}],
        },
        "cost": {
            "seconds": 3.21,
            "samples": 4500,
            "verification_seconds": {"deciding": 24.3, "all": 61.2},
            "verification_samples": {"train": 9000, "test": 10_000},
            "retrain_seconds": 1830.5,
        },
        "environment": {"torch": "2.12.1", "device": "cpu", "threads": 2},
        **({"reference": {"number": 4, "sha256": "ef" * 32, "seed": 7}} if reference else {}),
    }


def confusion(rng: random.Random, num_classes: int, deleted: tuple[int, ...]) -> list[list[int]]:
    """Counts of 100 images per class; those of deleted classes go to their neighbours."""
    rows = []
    for truth in range(num_classes):
        row = [0] * num_classes
        for _ in range(100):
            near = (truth + rng.choice([-2, -1, 1, 2, 2])) % num_classes
            right = truth not in deleted and rng.random() < 0.9
            guess = truth if right else near
            row[guess if guess not in deleted else (truth + 3) % num_classes] += 1
        rows.append(row)
    return rows


def roc() -> dict[str, list[float]]:
    """An attack slightly better than chance, on 1,000 images of each side."""
    fpr = [0.0] + [10 ** (-3 + place / 10) for place in range(31)]
    tpr = [min(1.0, rate**0.93) if rate else 0.0 for rate in fpr]
    low = [max(0.0, rate - 2 * (rate * (1 - rate) / 1000) ** 0.5) for rate in tpr]
    high = [min(1.0, rate + 2 * (rate * (1 - rate) / 1000) ** 0.5) for rate in tpr]
    return {"fpr": fpr, "tpr": tpr, "low": low, "high": high}


def number(value: float, half: float = 0.02, **members: Any) -> dict[str, Any]:
    """One measure as the worker writes it."""
    common = {"n": 1000, "seed": None, "direction": "lower"}
    return {"value": value, "low": value - half, "high": value + half, **common, **members}


def measures(accuracies: dict[str, list[float]], deleted: tuple[int, ...]) -> dict[str, Any]:
    """Some measures of every side."""
    found: dict[str, Any] = {}
    for place, (side, values) in enumerate(accuracies.items()):
        kept = [value for index, value in enumerate(values) if index not in deleted]
        found[side] = {
            "forget_accuracy_test": number(sum(values[index] for index in deleted) / len(deleted)),
            "retain_accuracy_test": number(sum(kept) / len(kept), direction="higher"),
            "membership_auc": number(0.6 - 0.04 * place, seed=7, direction="two-sided"),
            "svc_score": number(0.1 + 0.4 * place, direction="higher"),
            "probe_forget_accuracy": number(0.93 - 0.06 * place),
            "few_shot_5_forget_accuracy": number(0.66 - 0.1 * place),
            "relearn_all_20_forget_accuracy": number(0.9 - 0.1 * place),
        }
    found["unlearned"]["restored_head_forget_accuracy"] = number(0.08)
    return found


def verdict(reference: bool) -> dict[str, Any]:
    """A verdict in which something failed and something is inconclusive."""
    evidence = [_evidence(name, reference) for name in TestName]
    return judge(evidence, COMPARING if reference else ALONE).as_json()


def _evidence(name: TestName, reference: bool) -> Evidence:
    tier, value = TESTS[name].tier, {"membership_auc": 0.52, "tow": 0.93, "head_outlier": 2.9}.get(name, 0.03)
    if tier is Tier.AUDIT or (tier is Tier.REFERENCE and not reference):
        return Evidence(name=name, value=None, low=None, high=None, n=0, problem="It was not measured.")
    if name is TestName.WORST_CLASS_DROP:
        value = 0.31
    half = 0.02 if name is not TestName.HEAD_OUTLIER else 1.4
    return Evidence(name=name, value=value, low=value - half, high=value + half, n=1000, seed=7)


def account_of(result: dict[str, Any], deleted: tuple[int, ...], purges: Sequence[dict[str, Any]] = ()) -> Accounted:
    """Three versions, of which the first was put into quarantine and its copies acknowledged."""
    began, rows = datetime(2026, 1, 31, 12, tzinfo=UTC), measure_rows(result)
    versions = [
        LineageVersion(
            number=number,
            parent=parent,
            sha256=f"{number:x}" * 64,
            state=state,
            created_at=began,
            request=UUID(int=5) if parent else None,
            forgotten=list(forgotten),
            still_holds=sorted(set(deleted) - set(forgotten)),
        )
        for number, parent, state, forgotten in ((1, None, "quarantined", ()), (2, 1, "ready", deleted))
    ]
    successor = {"model": "cifar10-vgg11", "version": 2, "sha256": "2" * 64}
    first = {"entry": 9, "model": "cifar10-vgg11", "version": 1, "sha256": "1" * 64, "relation": "ancestor"}
    quarantined = {**first, "effect": "quarantined", "state": "quarantined", "at": "2026-01-31T12:00:09.000000Z"}
    told = {"recall": 9, "entry": 11, "holder": "edge team", "num_copies": 3, "at": "2026-02-01T08:00:00.000000Z"}
    return Accounted(
        generated_at=began,
        legal_ground_in_words=ground_in_words("art17_1_b"),
        outcome="A version without the classes was verified and published.",
        deadline=DeadlineOut(
            due_on=date(2026, 3, 31),
            overdue=False,
            in_time=True,
            further_months=1,
            paused_on=None,
            days_paused=0,
            closed_on=date(2026, 1, 31),
            closed_by="published",
            steps=[
                DeadlineStepOut(
                    kind="extended", at=began, actor="key:3", reason="Many requests at once.", due_on=date(2026, 3, 31)
                )
            ],
        ),
        versions=versions,
        consequences={
            "quarantined": [{**quarantined, "successor": successor, "is_recalled": True}],
            "marked": [],
            "recalls": [9],
            "acknowledgements": [told],
            "accesses": [],
            "purges": list(purges),
        },
        anonymity=anonymity_of(rows, coverage_of(result, rows, None)),
        record=[RecordLine(point="(d)", what="Recipients told", value="one")],
        uncertain=["An acknowledgement is the holder's word."],
        checkpoint="unlearn.example.com/audit\n8\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n\n\u2014 line\n",
    )


def report_of(result: dict[str, Any], labels: list[str], deleted: tuple[int, ...] = (3,), **members: Any) -> ReportOut:
    """The report as `compile_report` puts it together, without a database."""
    began = datetime(2026, 1, 31, 12, tzinfo=UTC)
    rows = measure_rows(result)
    coverage = coverage_of(result, rows, None)
    version = VersionOut(number=1, sha256="ab" * 32, size_bytes=37_000_000, created_at=began)
    entry = ReportEntry(
        seq=7,
        at="2026-01-31T12:00:00.000000Z",
        type="request.submitted",
        actor="key:12",
        origin=None,
        to="queued",
        attempt=None,
        hash="cd" * 32,
    )
    told = {
        "request": UUID(int=5),
        "state": JobState.REJECTED,
        "tenant": "default",
        "asked_by": "key:12",
        "asked_at": began,
        "received_on": date(2026, 1, 30),
        "legal_ground": "art17_1_b",
        "subject_reference": "case 17",
        "external_reference": None,
        "note": None,
        "started_at": began,
        "finished_at": began + timedelta(minutes=1),
        "attempt": 1,
        "fence": 3,
        "model": "cifar10-vgg11",
        "dataset": "cifar10",
        "classes": [ClassOut(index=index, label=labels[index]) for index in deleted],
        "base_version": version,
        "new_version": None,
        "method": {"name": "auto", "num_samples": 900},
        "seed": 7,
        "verdict": verdict_out(result.get("verdict")),
        "overridden_by": None,
        "override_reason": None,
        "measures": rows,
        "coverage": coverage,
        "curves": read_curves(result),
        "class_labels": labels,
        "erased_before": [],
        "cost": cost_lines(result.get("cost")),
        "steps": [StepOut(name="verify", seconds=41.7)],
        "environment": result.get("environment") or {},
        "problem": None,
        "ledger": [entry],
        "accounted": account_of(result, deleted),
        "statement": statement_of(coverage),
    }
    return ReportOut.model_validate({**told, **members})
