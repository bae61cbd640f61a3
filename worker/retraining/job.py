"""A job of kind `retrain`: read the images, train without the classes, check the result, register it as a reference.

The check is the one that uploads go through: a training that never learned, or saw what it should not have, ends
`rejected` and leaves no reference.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sqlalchemy import select
from torch import nn

from core import log
from core.db.session import Database
from core.requests import claims
from core.requests.claims import Lease
from core.requests.tables import Job
from core.settings import Settings
from core.states import JobState
from models_store.recipes import RetrainSpec
from models_store.references import add_reference, original_of
from models_store.registry import find_dataset, find_model, refuse_unready
from models_store.storage import LocalStorage, StoredBlob
from models_store.tables import Dataset, Model, ModelVersion, ReferenceState
from models_store.weights import iterate_state
from worker.environment import describe, prepare
from worker.files import check_unchanged, checked_files, limits_of
from worker.patience import patiently
from worker.pipeline.data import Images
from worker.pipeline.materials import Blueprint
from worker.pipeline.outputs import digest
from worker.progress import reporter
from worker.retraining.checks import Found, NotAReference, measure, refuse_unfit
from worker.retraining.progress import CHECKED_PERCENT, TRAINED_PERCENT, Stages
from worker.retraining.shelf import Shelf
from worker.retraining.training import fresh_network, train

_log = log.get_logger("retraining")


@dataclass(frozen=True)
class Assignment:
    """One attempt at one job: what it was asked, and the rows it is about as they were when it began."""

    lease: Lease
    tenant: str
    spec: RetrainSpec
    database: Database
    storage: LocalStorage
    settings: Settings
    model: Model
    dataset: Dataset
    original: ModelVersion

    @property
    def blueprint(self) -> Blueprint:
        return Blueprint.of(self.model)


@dataclass(frozen=True)
class Sides:
    """What is learned from, and what is checked with; and the digests of their files."""

    train: Images
    test: Images
    files: dict[str, str]


def run(
    lease: Lease, database: Database, storage: LocalStorage, settings: Settings, must_stop: Callable[[], bool]
) -> None:
    """Do the whole job and end it."""
    began = time.monotonic()
    device = prepare(settings)
    work = patiently(lambda: _assignment(lease, database, storage, settings), at_most=settings.lease_ttl)
    stages = Stages(reporter(work.database, work.lease), must_stop)
    stages.enter("load", 0)
    sides = _read(work)
    shelf = Shelf(lease, work.tenant, database, settings, digest([work.spec.model_dump(mode="json"), sides.files]))
    shelf.sweep()
    network, losses = _trained(work, sides, shelf, stages, device)
    stages.enter("check", TRAINED_PERCENT)
    original = work.blueprint.network(storage, work.original.artifact_sha256, device)
    found = measure(network, original, sides.test, work.spec.absent_classes)
    stages.enter("register", CHECKED_PERCENT)
    result = {
        "measures": found.as_json(),
        "losses": losses,
        "samples": {"train": len(sides.train), "test": len(sides.test)},
        "compared_with_version": work.original.number,
        "environment": describe(device, seed=work.spec.seed),
        "seconds": round(time.monotonic() - began, 3),
    }
    _end(work, network, found, result)
    shelf.clear()


def _assignment(lease: Lease, database: Database, storage: LocalStorage, settings: Settings) -> Assignment:
    with database.reading() as session:
        job = session.execute(select(Job).where(Job.id == lease.job_id)).scalar_one()
        spec = RetrainSpec.model_validate(job.spec)
        model = find_model(session, job.tenant, spec.model)
        dataset = find_dataset(session, job.tenant, spec.dataset)
        refuse_unready(dataset)
        original = original_of(session, model)
    return Assignment(lease, job.tenant, spec, database, storage, settings, model, dataset, original)


def _read(work: Assignment) -> Sides:
    files = checked_files(work.dataset, work.storage, work.settings)
    sources, limits = [file.source for file in files], limits_of(work.settings)
    train_split = work.blueprint.images(sources, "train", limits)
    test = work.blueprint.images(sources, "test", limits)
    check_unchanged(files, work.dataset.sources)
    seen = np.flatnonzero(~np.isin(train_split.labels, work.spec.absent_classes)).astype(np.int64)
    return Sides(train_split.subset(seen), test, {file.split: file.sha256 for file in files})


def _trained(
    work: Assignment, sides: Sides, shelf: Shelf, stages: Stages, device: torch.device
) -> tuple[nn.Module, list[float]]:
    recipe, seed = work.spec.recipe, work.spec.seed
    network = fresh_network(work.blueprint, seed, device)
    resume = shelf.latest()
    if resume is not None:
        _log.info("training.resumed", epoch=len(resume.losses))

    def watch(epoch: int, share: float) -> None:
        stages.trained(epoch, recipe.epochs, share)

    losses = train(network, sides.train, recipe, seed, watch, resume=resume, keep=shelf.keep)
    return network, losses


def _end(work: Assignment, network: nn.Module, found: Found, result: dict[str, Any]) -> None:
    try:
        refuse_unfit(found)
    except NotAReference as error:
        problem = error.as_problem()
        patiently(lambda: _reject(work, problem, result), at_most=work.settings.lease_ttl)
        return
    blob = work.storage.put(iterate_state(network), max_bytes=work.settings.max_weights_bytes)
    patiently(lambda: _register(work, blob, found, result), at_most=work.settings.lease_ttl)


def _reject(work: Assignment, problem: dict[str, Any], result: dict[str, Any]) -> None:
    with work.database.writing() as session:
        facts = {"problem": problem["slug"]}
        claims.finish(session, work.lease, JobState.REJECTED, result=result, problem=problem, data=facts)


def _register(work: Assignment, blob: StoredBlob, found: Found, result: dict[str, Any]) -> None:
    """One transaction: fence checked, reference and its ledger entry, final state. Locks: job, model, ledger."""
    with work.database.writing() as session:
        claims.hold(session, work.lease)
        model = find_model(session, work.tenant, work.spec.model, lock=True)
        reference = add_reference(
            session,
            model,
            actor=work.lease.actor,
            event="reference.trained",
            state=ReferenceState.READY,
            absent_classes=work.spec.absent_classes,
            dataset_id=work.dataset.id,
            **_columns(work, blob, found),
        )
        facts = {"model": model.name, "reference": reference.number, "sha256": blob.sha256}
        told = result | {"reference": reference.number, "artifact_sha256": blob.sha256}
        recipe = {"recipe_sha256": work.spec.recipe.sha256}
        claims.finish(session, work.lease, JobState.COMPLETED, result=told, data=facts | recipe)


def _columns(work: Assignment, blob: StoredBlob, found: Found) -> dict[str, Any]:
    return {
        "artifact_sha256": blob.sha256,
        "size_bytes": blob.size_bytes,
        "job_id": work.lease.job_id,
        "fence": work.lease.fence,
        "recipe": work.spec.recipe.model_dump(mode="json"),
        "recipe_version": work.spec.recipe_version,
        "seed": work.spec.seed,
        "measures": found.as_json(),
        "note": work.spec.note,
    }
