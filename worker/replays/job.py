"""A job of kind `replay`: make the weights of a published request again from its parent, and compare.

What was chosen then is taken from the record: nothing is tried and nothing is verified. The weights that come out are
hashed and forgotten; no version, no blob and no alias comes of a replay.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version as release_of
from typing import Any

import torch
from sqlalchemy import select
from torch import nn

from core import log
from core.db.session import Database
from core.errors import DigestMismatch, NotFound
from core.ledger.entries import Record as LedgerRecord
from core.ledger.entries import append
from core.requests import claims
from core.requests.claims import Lease
from core.requests.spec import UnlearnSpec
from core.requests.tables import Job
from core.settings import Settings
from core.states import JobState, Step
from models_store.errors import MalformedDataset, UnknownDatasetLabel
from models_store.replays import ENDED, ReplaySpec
from models_store.storage import LocalStorage
from worker.environment import describe, prepare
from worker.patience import patiently
from worker.pipeline.materials import Materials
from worker.pipeline.methods import again, sides_of
from worker.pipeline.outputs import Loaded
from worker.progress import PERCENT, Progress, reporter
from worker.replays.comparing import (
    BOUND,
    BOUND_FROM,
    Distances,
    Outcome,
    changes_of_environment,
    digest_of,
    distances,
)
from worker.replays.record import InputGone, Record, contradictions_of_bytes
from worker.retraining.progress import Stages
from worker.shadows.subject import Splits, read_splits

LOADED_PERCENT, MADE_PERCENT = 10, 95
MOST_LISTED = 50
"""Tensors that differ, in the result; the largest differences first."""

_log = log.get_logger("replays")


@dataclass(frozen=True)
class Work:
    """What the method needs to know; see `worker.pipeline.methods.Work`."""

    materials: Materials
    loaded: Loaded
    spec: UnlearnSpec
    progress: Progress


@dataclass(frozen=True)
class Made:
    """The network that came out, and what of it the method has edited."""

    network: nn.Module
    edited: frozenset[str]
    samples: dict[str, int]


@dataclass(frozen=True)
class Judged:
    """What the comparison says."""

    outcome: Outcome
    sentence: str
    distances: Distances | None


def run(
    lease: Lease, database: Database, storage: LocalStorage, settings: Settings, must_stop: Callable[[], bool]
) -> None:
    """Do the whole job and end it."""
    began = time.monotonic()

    def read() -> tuple[ReplaySpec, Record]:
        with database.reading() as session:
            row = session.execute(select(Job).where(Job.id == lease.job_id)).scalar_one()
            spec = ReplaySpec.model_validate(row.spec)
            return spec, Record.read(session, lease, spec.request)

    spec, record = patiently(read, at_most=settings.lease_ttl)
    device = prepare(_as_recorded(settings, record))
    stages = Stages(reporter(database, lease), must_stop)
    stages.enter("load", 0)
    splits = _images(record, storage, settings)
    base = _parent(record, storage, device)
    stages.enter("unlearn", LOADED_PERCENT)
    progress = Progress(_share_of(stages), must_stop)
    progress.begin(Step.UNLEARN)
    made = _made(record, splits, base, progress)
    stages.enter("compare", MADE_PERCENT)
    here = describe(device, seed=record.subject.spec.seed) | {"expunge": release_of("expunge")}
    result = _result(record, made, here, storage)
    result["seconds"] = round(time.monotonic() - began, 3)
    patiently(lambda: _end(lease, database, spec, result), at_most=settings.lease_ttl)


def _as_recorded(settings: Settings, record: Record) -> Settings:
    """The device and the number of threads it was made with, where the operator leaves that open."""
    changes: dict[str, Any] = {}
    if not settings.torch_threads and isinstance(record.environment.get("threads"), int):
        changes["torch_threads"] = record.environment["threads"]
    if settings.device == "auto" and record.environment.get("device") == "cpu":
        changes["device"] = "cpu"
    return settings.model_copy(update=changes)


def _images(record: Record, storage: LocalStorage, settings: Settings) -> Splits:
    try:
        return read_splits(record.subject, storage, settings)
    except (DigestMismatch, MalformedDataset, UnknownDatasetLabel, NotFound, OSError) as error:
        name = record.subject.dataset.name
        why = str(error)
        if isinstance(error, OSError):
            why = "a file cannot be read."
        elif error.quotes_input:
            # The names of folders and files; a class that was erased since may be one of them.
            why = f"{error.title.lower()}."
        msg = f"Data set {name!r} is no longer what the request worked on: {why}"
        raise InputGone(msg, missing=["dataset"], dataset=name) from error


def _parent(record: Record, storage: LocalStorage, device: torch.device) -> nn.Module:
    loaded = record.subject.loaded
    try:
        return record.subject.blueprint.network(storage, loaded.base_sha256, device)
    except (DigestMismatch, NotFound) as error:
        msg = f"The weights of the parent, version {loaded.base_version}, are gone or damaged: {error}"
        raise InputGone(msg, missing=["parent"], sha256=loaded.base_sha256) from error


def _made(record: Record, splits: Splits, base: nn.Module, progress: Progress) -> Made:
    subject = record.subject
    materials = Materials(subject.blueprint, base, splits.train, splits.test, splits.validation)
    work = Work(materials, subject.loaded, subject.spec, progress)
    sides = sides_of(work)
    erasure = again(work, sides, record.chosen, (0.0, 1.0))
    erasure.apply_to(base)
    retain = sides.retain if erasure.method == "paper" else sides.retain_more
    counted = {"retain": retain, "forget": sides.forget, "validation": sides.validation or ()}
    samples = {name: len(images) for name, images in counted.items()}
    return Made(base, frozenset(erasure.weights), samples)


def _share_of(stages: Stages) -> Callable[[str, int], None]:
    """The percent of a deletion's step `unlearn` as this job's."""
    first, last = PERCENT[Step.UNLEARN]

    def report(_step: str, percent: int) -> None:
        share = (percent - first) / (last - first)
        stages.reach("unlearn", int(LOADED_PERCENT + (MADE_PERCENT - LOADED_PERCENT) * share))

    return report


def _result(record: Record, made: Made, here: dict[str, Any], storage: LocalStorage) -> dict[str, Any]:
    again_sha256 = digest_of(made.network)
    of_bytes, is_sound = contradictions_of_bytes(record, storage)
    contradictions = [*record.contradictions, *of_bytes]
    if made.samples != record.samples:
        contradictions.append(f"The record counts samples {record.samples}, the draw gives {made.samples}.")
    changes = changes_of_environment(record.environment, here)
    found = None
    if again_sha256 != record.published_sha256 and is_sound:
        found = distances(made.network, storage.path(record.published_sha256), made.edited)
    judged = _judged(record, again_sha256, contradictions, changes, found)
    largest = judged.distances.largest if judged.distances is not None else None
    return {
        "outcome": judged.outcome,
        "sentence": judged.sentence,
        "version": record.version,
        "parent_sha256": record.subject.loaded.base_sha256,
        "published_sha256": record.published_sha256,
        "recomputed_sha256": again_sha256,
        "contradictions": contradictions,
        "exactness_expected": not changes,
        "changes_of_environment": changes,
        "bound": BOUND,
        "bound_from": BOUND_FROM,
        "largest_relative_difference": largest[1] if largest else (0.0 if _equal(record, again_sha256) else None),
        "largest_in": largest[0] if largest else None,
        "tensors": _listed(judged.distances),
        "method": {**vars(record.chosen), "layers": list(record.chosen.layers)},
        "samples": made.samples,
        "environment": here,
    }


def _judged(
    record: Record, sha256: str, contradictions: list[str], changes: list[dict[str, Any]], found: Distances | None
) -> Judged:
    if contradictions:
        return Judged("different", f"Not all that is on record is what was published. {contradictions[0]}", found)
    if _equal(record, sha256):
        return Judged("identical", f"The weights of version {record.version} came out again, bit by bit.", found)
    if found is None:
        msg = (
            f"Other weights came out ({sha256}) than were published ({record.published_sha256}), and the published "
            "ones are no longer in the store to tell how far they are apart."
        )
        raise InputGone(msg, missing=["published"], published_sha256=record.published_sha256, recomputed_sha256=sha256)
    tensor, value = found.largest or ("", 0.0)
    how_far = f"the largest relative difference of a tensor is {value:.1e} ({tensor}), the bound {BOUND:.0e}"
    if not changes:
        return Judged("different", f"Other weights came out on the same build, device and threads: {how_far}.", found)
    named = ", ".join(change["member"] for change in changes)
    if found.unedited:
        return Judged("different", f"Tensors differ that the method does not edit: {found.unedited[0]}.", found)
    if not found.is_within:
        return Judged("different", f"Other weights came out: {how_far}; other than then: {named}.", found)
    return Judged(
        "within-tolerance", f"Equal up to rounding: {how_far}. Not exact, as other than then: {named}.", found
    )


def _equal(record: Record, sha256: str) -> bool:
    return sha256 == record.published_sha256


def _listed(found: Distances | None) -> list[dict[str, Any]]:
    ordered = sorted(found.by_tensor.items(), key=lambda item: -item[1]) if found is not None else []
    return [{"tensor": name, "relative_difference": value} for name, value in ordered[:MOST_LISTED]]


def _end(lease: Lease, database: Database, spec: ReplaySpec, result: dict[str, Any]) -> None:
    """One transaction: fence checked, final state, and the outcome as an event of the request."""
    largest = result["largest_relative_difference"]
    facts = {
        "replay": str(lease.job_id),
        "outcome": result["outcome"],
        "version": result["version"],
        "published_sha256": result["published_sha256"],
        "recomputed_sha256": result["recomputed_sha256"],
        "exactness_expected": result["exactness_expected"],
        "contradictions": len(result["contradictions"]),
        "bound": f"{BOUND:.1e}",
        **({} if largest is None else {"largest_relative_difference": f"{largest:.3e}"}),
    }
    if result["outcome"] == "different":
        _log.warning("replay.different", request=str(spec.request), sentence=result["sentence"])
    with database.writing() as session:
        job = claims.finish(session, lease, JobState.COMPLETED, result=result, data={"replayed": str(spec.request)})
        append(
            session,
            LedgerRecord(type=ENDED, tenant=job.tenant, actor=lease.actor, request=spec.request, data=facts),
        )
