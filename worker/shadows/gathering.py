"""A job of kind `audit`: turn the records of a request's shadows into measures, and end with them.

It becomes runnable when the last shadow is final. Shadows that failed are missing, and so are records that cannot be
read; with too few of them a measure is inconclusive and says so. The job itself does not fail for it.
"""

import math
import time
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from sqlalchemy import select

from core import log
from core.db.session import Database
from core.errors import ServiceError
from core.ledger.entries import Record, append, decimal
from core.policy.catalogue import TESTS, Tier
from core.requests import claims
from core.requests.claims import Lease
from core.requests.tables import Job
from core.settings import Settings
from core.states import JobState
from models_store.shadows import KINDS, AuditSpec, Place, shadows_of
from models_store.storage import LocalStorage
from unlearning.errors import UnlearningError
from unlearning.evaluation.audit import Findings, ShadowRecord, gather
from worker.environment import describe, prepare
from worker.patience import patiently
from worker.shadows.shown import Shown
from worker.shadows.subject import Subject, read_splits

RELEASED: Final = "released"
AUDIT_TESTS = tuple(name.value for name, facts in TESTS.items() if facts.tier is Tier.AUDIT)

_log = log.get_logger("shadows")


@dataclass
class Gathered:
    """The records that are there, and for what is missing the reason."""

    records: list[ShadowRecord] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def of(self, population: str) -> list[ShadowRecord]:
        return [record for record in self.records if record.population == population]


def run(lease: Lease, database: Database, storage: LocalStorage, settings: Settings) -> None:
    """Do the whole job and end it."""
    began, device = time.monotonic(), prepare(settings)

    def read() -> tuple[AuditSpec, Subject, dict[Place, Job]]:
        with database.reading() as session:
            row = session.execute(select(Job).where(Job.id == lease.job_id)).scalar_one()
            spec = AuditSpec.model_validate(row.spec)
            return spec, Subject.find(session, lease, spec.request), shadows_of(session, spec, lease.job_id)

    spec, subject, shadows = patiently(read, at_most=settings.lease_ttl)
    gathered = _gathered(spec, shadows, storage)
    released, reason = _released(subject, spec, storage, settings, device)
    found = _measured(gathered, released, spec.seed)
    result = {
        "pairs": spec.pairs,
        "seed": spec.seed,
        "measures": {one.name: _number(one.as_dict()) for one in found.measures},
        "inconclusive": dict(found.absent) | ({RELEASED: reason} if reason else {}),
        "models": {name: len(gathered.of(name)) for name in KINDS},
        "missing": gathered.missing,
        "accuracies": {name: _accuracies(gathered.of(name)) for name in KINDS},
        "samples": _samples(gathered),
        "environment": describe(device, seed=spec.seed),
        "seconds": round(time.monotonic() - began, 3),
    }
    patiently(lambda: _end(lease, database, spec, result), at_most=settings.lease_ttl)


def _gathered(spec: AuditSpec, shadows: dict[Place, Job], storage: LocalStorage) -> Gathered:
    gathered = Gathered()
    for place in spec.places():
        name, job = f"{place.population} {place.index}", shadows.get(place)
        if job is None or job.state != JobState.COMPLETED or job.result is None:
            gathered.missing[name] = _why(job)
            continue
        sha256 = str(job.result["record_sha256"])
        try:
            storage.verify(sha256)
            gathered.records.append(ShadowRecord.load(storage.path(sha256)))
        except (ServiceError, UnlearningError, OSError) as error:
            _log.warning("record.refused", error=type(error).__name__)
            gathered.missing[name] = "its record is gone or damaged"
    return gathered


def _why(job: Job | None) -> str:
    if job is None:
        return "it was never made"
    return str((job.problem or {}).get("slug", f"it is {job.state}"))


def _released(
    subject: Subject, spec: AuditSpec, storage: LocalStorage, settings: Settings, device: torch.device
) -> tuple[ShadowRecord | None, str | None]:
    """The answers of the very weights that the request made, or why there are none."""
    try:
        shown = Shown.of(subject, read_splits(subject, storage, settings), seed=spec.seed)
        network = subject.blueprint.network(storage, subject.candidate_sha256, device)
        return shown.to(network, RELEASED, 0, subject.spec.seed), None
    except (ServiceError, UnlearningError) as error:
        return None, str(error)


def _measured(gathered: Gathered, released: ShadowRecord | None, seed: int) -> Findings:
    if not gathered.records:
        return Findings((), dict.fromkeys(AUDIT_TESTS, "Expected shadow models that were made, got none."))
    found = gather([*gathered.records, *([released] if released else [])], seed=seed)
    finite = tuple(one for one in found.measures if math.isfinite(one.value))
    odd = {one.name: f"Expected a finite value, got {one.value}." for one in found.measures if one not in finite}
    return Findings(finite, {**found.absent, **odd})


def _number(measure: dict[str, Any]) -> dict[str, Any]:
    """A measure as JSON: an interval that is open on one side has no end there."""
    kept = {name: value for name, value in measure.items() if name != "name"}
    open_ends = [name for name in ("low", "high") if kept[name] is not None and not math.isfinite(kept[name])]
    return kept | dict.fromkeys(open_ends)


def _accuracies(records: list[ShadowRecord]) -> dict[str, float] | None:
    if not records:
        return None
    names = ("retain_accuracy", "test_accuracy")
    return {name: float(np.mean([getattr(record, name) for record in records])) for name in names}


def _samples(gathered: Gathered) -> dict[str, int]:
    if not gathered.records:
        return {}
    first = gathered.records[0]
    return {"forgotten": len(first.logits), "population": len(first.z_logits)}


def _end(lease: Lease, database: Database, spec: AuditSpec, result: dict[str, Any]) -> None:
    """One transaction: fence checked, final state, and what was found as an event of the request."""
    measures = {name: _in_ledger(result["measures"][name]) for name in AUDIT_TESTS if name in result["measures"]}
    facts = {
        "audit": str(lease.job_id),
        "pairs": spec.pairs,
        "seed": spec.seed,
        "models": result["models"],
        "measures": measures,
        "inconclusive": sorted(set(result["inconclusive"]) & set(AUDIT_TESTS)),
        "recipe_sha256": spec.recipe.sha256,
    }
    with database.writing() as session:
        job = claims.finish(session, lease, JobState.COMPLETED, result=result, data={"audited": str(spec.request)})
        entry = Record(type="request.audited", tenant=job.tenant, actor=lease.actor, request=spec.request, data=facts)
        append(session, entry)


def _in_ledger(measure: dict[str, Any]) -> dict[str, Any]:
    ends = {name: decimal(measure[name]) for name in ("value", "low", "high") if measure[name] is not None}
    return ends | {"n": measure["n"]}
