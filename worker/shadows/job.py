"""A job of kind `shadow`: train a model as the request's might have been, unlearn it or not, keep its answers.

The population "unlearned" is trained on all classes that the request's base held, and the request's own method erases
what the request erased; "retrained" never sees any class that must be gone. The model itself is forgotten at the end:
only its record stays.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from sqlalchemy import select
from torch import nn

from core import log
from core.db.session import Database
from core.requests import claims
from core.requests.claims import Lease
from core.requests.tables import Job
from core.settings import Settings
from core.states import JobState, Step
from models_store.shadows import ShadowSpec
from models_store.storage import LocalStorage
from unlearning.evaluation.audit import ShadowRecord
from worker.environment import prepare
from worker.patience import patiently
from worker.pipeline.context import Context
from worker.pipeline.materials import Materials
from worker.pipeline.methods import method_of, sides_of
from worker.pipeline.outputs import digest
from worker.progress import Progress, reporter
from worker.retraining.progress import CHECKED_PERCENT, TRAINED_PERCENT, Stages
from worker.retraining.shelf import Shelf
from worker.retraining.training import fresh_network, train
from worker.shadows.courtesy import REASON, Courtesy, GiveWay
from worker.shadows.shown import Shown, to_bytes
from worker.shadows.subject import Splits, Subject, read_splits

MAX_RECORD_BYTES = 1 << 30

_log = log.get_logger("shadows")


@dataclass(frozen=True)
class Assignment:
    """One attempt at one shadow."""

    lease: Lease
    spec: ShadowSpec
    subject: Subject
    database: Database
    storage: LocalStorage
    settings: Settings
    must_stop: Callable[[], bool]
    device: torch.device


def run(
    lease: Lease, database: Database, storage: LocalStorage, settings: Settings, must_stop: Callable[[], bool]
) -> None:
    """Do the whole job and end it, or give it back to make room for a deletion."""
    began, device = time.monotonic(), prepare(settings)

    def read() -> tuple[ShadowSpec, Subject]:
        with database.reading() as session:
            row = session.execute(select(Job).where(Job.id == lease.job_id)).scalar_one()
            spec = ShadowSpec.model_validate(row.spec)
            return spec, Subject.find(session, lease, spec.request)

    spec, subject = patiently(read, at_most=settings.lease_ttl)
    work = Assignment(lease, spec, subject, database, storage, settings, must_stop, device)
    try:
        record = _record(work, began)
    except GiveWay:
        _log.info("shadow.gave_way")
        claims.release(database, lease, reason=REASON)
        return
    _finish(work, record, round(time.monotonic() - began, 3))


def _record(work: Assignment, began: float) -> ShadowRecord:
    stages = Stages(reporter(work.database, work.lease), work.must_stop)
    stages.enter("load", 0)
    splits = read_splits(work.subject, work.storage, work.settings)
    network = _trained(work, splits, stages)
    if work.spec.population == "unlearned":
        stages.enter("unlearn", TRAINED_PERCENT)
        _unlearn(work, network, splits, stages)
    stages.enter("record", CHECKED_PERCENT)
    shown = Shown.of(work.subject, splits, seed=work.spec.audit_seed)
    _log.info("shadow.made", seconds=round(time.monotonic() - began, 3))
    return shown.to(network, work.spec.population, work.spec.index, work.spec.seed)


def _trained(work: Assignment, splits: Splits, stages: Stages) -> nn.Module:
    recipe, seed, loaded = work.spec.recipe, work.spec.seed, work.subject.loaded
    images = splits.trained_on(loaded.erased_before if work.spec.population == "unlearned" else loaded.forget)
    inputs = digest([work.spec.model_dump(mode="json"), loaded.files, loaded.forget, loaded.erase])
    shelf = Shelf(work.lease, work.subject.tenant, work.database, work.settings, inputs)
    shelf.sweep()
    courtesy = Courtesy(work.database, work.lease)

    def watch(epoch: int, share: float) -> None:
        stages.trained(epoch, recipe.epochs, share)
        courtesy.look()

    network = fresh_network(work.subject.blueprint, seed, work.device)
    train(network, images, recipe, seed, watch, resume=shelf.latest(), keep=shelf.keep)
    shelf.clear()
    return network


def _unlearn(work: Assignment, network: nn.Module, splits: Splits, stages: Stages) -> None:
    """Erase in place what the request erased, by its method; every draw by the shadow's own seed."""
    subject = work.subject
    progress = Progress(lambda _step, _percent: stages.reach("unlearn", TRAINED_PERCENT), work.must_stop)
    context = Context(
        lease=work.lease,
        tenant=subject.tenant,
        spec=subject.spec.model_copy(update={"seed": work.spec.seed}),
        database=work.database,
        storage=work.storage,
        settings=work.settings,
        device=work.device,
        progress=progress,
        read=Materials(subject.blueprint, network, splits.train, splits.test, splits.validation),
        outputs={Step.LOAD: subject.loaded},
    )
    made = method_of(context)(context, sides_of(context), (0.0, 1.0))
    made.erasure.apply_to(network)


def _finish(work: Assignment, record: ShadowRecord, seconds: float) -> None:
    blob = work.storage.put([to_bytes(record)], max_bytes=MAX_RECORD_BYTES)
    result: dict[str, Any] = {
        "record_sha256": blob.sha256,
        "size_bytes": blob.size_bytes,
        "retain_accuracy": record.retain_accuracy,
        "test_accuracy": record.test_accuracy,
        "seconds": seconds,
    }
    facts = {"population": record.population, "index": record.index, "record_sha256": blob.sha256}

    def write() -> None:
        with work.database.writing() as session:
            claims.finish(session, work.lease, JobState.COMPLETED, result=result, data=facts)

    patiently(write, at_most=work.settings.lease_ttl)
