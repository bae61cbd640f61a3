"""References: trained by the service or uploaded. What lacks the class becomes ready, what still holds it says so."""

import json
import secrets
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import torch
from sqlalchemy import select, update

from core.errors import LeaseLost
from core.ledger.tables import LedgerEntry
from core.requests import claims
from core.requests.claims import Lease
from core.requests.repository import enqueue
from core.requests.tables import Job, JobStep
from core.states import JobKind, JobState
from models_store.architectures import build, initialise
from models_store.datasets import Source, load_split
from models_store.recipes import Recipe, RetrainSpec
from models_store.references import add_reference, fitting_references
from models_store.registry import find_dataset
from models_store.tables import ForgottenClass, Model, ModelVersion, Reference, ReferenceState
from models_store.weights import save_state
from tests.integration.worker.conftest import ARCHITECTURE, LABELS, NUM_CLASSES, OPTIONS, SPEC, Desk, Learned
from tests.integration.worker.support import job_of, on_both
from tests.processes import Processes, expunge_env
from worker import jobs
from worker.aftermath import refuse_unvalidated
from worker.pipeline.data import Images
from worker.pipeline.materials import Blueprint
from worker.retraining import checks, shelf
from worker.retraining.progress import Stages
from worker.retraining.training import fresh_network, train

QUICK: dict[str, Any] = {
    "optimiser": {"name": "adamw"},
    "learning_rate": 5e-3,
    "weight_decay": 1e-2,
    "epochs": 12,
    "batch_size": 64,
    "schedule": {"name": "one-cycle"},
    "augmentation": {"crop_padding": 1},
}
BLUEPRINT = Blueprint(ARCHITECTURE, {**OPTIONS}, tuple(LABELS), SPEC)


def ask(desk: Desk, absent: list[int], *, seed: int = 1, **changes: Any) -> UUID:
    """A retraining as the API would queue it."""
    spec = RetrainSpec(
        model="digits",
        absent_classes=absent,
        dataset="digits",
        seed=seed,
        recipe=Recipe.model_validate(QUICK | changes),
        recipe_version=None,
        note="Ada's request",
    )
    with desk.database.writing() as session:
        return enqueue(
            session,
            JobKind.RETRAIN,
            tenant="t",
            actor="key:test",
            spec=spec.model_dump(mode="json"),
            max_attempts=3,
            model_id=desk.model_id,
        ).id


def upload(desk: Desk, absent: list[int], content: bytes) -> tuple[UUID, int]:
    """A reference with its weights as the API would leave it; its job and its number."""
    blob = desk.storage.put([content], 1 << 30)
    with desk.database.writing() as session:
        kind = JobKind.VALIDATE_VERSION
        job = enqueue(session, kind, tenant="t", actor="key:test", spec={}, max_attempts=3)
        reference = add_reference(
            session,
            session.get_one(Model, desk.model_id, with_for_update=True),
            actor="key:test",
            event="reference.registered",
            state=ReferenceState.VALIDATING,
            absent_classes=absent,
            dataset_id=find_dataset(session, "t", "digits").id,
            artifact_sha256=blob.sha256,
            size_bytes=blob.size_bytes,
            job_id=job.id,
        )
        return job.id, reference.number


def claim(desk: Desk) -> Lease:
    lease = claims.claim(desk.database, owner="w", ttl=timedelta(minutes=5))
    assert lease is not None
    return lease


def work(desk: Desk, lease: Lease | None = None, *, must_stop: Callable[[], bool] = lambda: False) -> int:
    return jobs.run(lease or claim(desk), desk.settings, must_stop)


def references_of(desk: Desk) -> list[Reference]:
    with desk.database.reading() as session:
        return list(session.execute(select(Reference).order_by(Reference.number)).unique().scalars())


def leaves_of(desk: Desk) -> list[dict[str, Any]]:
    with desk.database.reading() as session:
        leaves = session.execute(select(LedgerEntry.leaf).order_by(LedgerEntry.seq)).scalars()
        return [json.loads(leaf) for leaf in leaves]


def checkpoints_of(desk: Desk) -> list[str]:
    folder = desk.settings.data_dir / shelf.FOLDER / "sha256"
    return [path.name for path in folder.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def without_three(learned: Learned, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Weights trained by the service's own trainer, elsewhere, on images without class 3."""
    path = tmp_path_factory.mktemp("elsewhere") / "train.npz"
    path.write_bytes(learned.train)
    images = Images.whole(load_split([Source(path, "train")], "train", LABELS, SPEC), SPEC)
    network = fresh_network(BLUEPRINT, 9, torch.device("cpu"))
    train(network, images.subset(np.flatnonzero(images.labels != 3)), Recipe.model_validate(QUICK), 9)
    return save_state(network)


# ------------------------------------------------------------------------------------------------------------ retrained


@on_both
def test_a_retraining_ends_with_a_reference_that_is_ready_and_fits(desk: Desk) -> None:
    job_id = ask(desk, [3])
    assert work(desk) == jobs.DONE
    job, (reference,) = job_of(desk.database, job_id), references_of(desk)
    assert (job.state, job.percent, job.problem) == (JobState.COMPLETED, 100, None)
    assert (reference.state, reference.absent_classes, reference.number) == (ReferenceState.READY, [3], 1)
    assert (reference.job_id, reference.fence, reference.seed) == (job_id, 1, 1)
    assert job.result is not None
    assert job.result["reference"] == 1
    assert job.result["artifact_sha256"] == reference.artifact_sha256
    assert job.result["measures"] == reference.measures
    assert job.result["measures"]["forget_accuracy"][0]["value"] == 0.0
    assert len(job.result["losses"]) == QUICK["epochs"]
    assert reference.artifact_sha256 is not None
    desk.storage.verify(reference.artifact_sha256)
    assert checkpoints_of(desk) == []
    with desk.database.reading() as session:
        model = session.get_one(Model, desk.model_id)
        assert [found.number for found in fitting_references(session, model, [3])] == [1]
        assert fitting_references(session, model, [3, 4]) == []
        assert fitting_references(session, model, []) == []


def test_the_ledger_tells_of_the_reference_and_names_no_class(desk: Desk) -> None:
    job_id = ask(desk, [3])
    work(desk)
    leaves = [leaf for leaf in leaves_of(desk) if leaf.get("request") == str(job_id)]
    assert [leaf["type"] for leaf in leaves] == [
        "request.accepted",
        "request.transition",
        "reference.trained",
        "request.transition",
    ]
    (reference,) = references_of(desk)
    facts = {"model": "digits", "reference": 1, "state": "ready", "num_absent": 1, "sha256": reference.artifact_sha256}
    assert leaves[2]["data"] == facts
    assert leaves[3]["data"]["recipe_sha256"] == Recipe.model_validate(QUICK).sha256
    assert leaves[3]["to"] == "completed"
    assert not any(word in str(leaves) for word in ("digit 3", "Ada", "absent_classes"))


def test_the_same_seed_makes_the_same_reference_and_another_seed_another(desk: Desk) -> None:
    for seed in (1, 1, 2):
        ask(desk, [3, 7], seed=seed)
        work(desk)
    first, second, third = (reference.artifact_sha256 for reference in references_of(desk))
    assert first == second != third


@pytest.mark.parametrize("damage", ["nothing", "bytes", "file", "row"])
def test_a_later_attempt_goes_on_from_the_checkpoint_and_ends_as_if_nothing_had_happened(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    ask(desk, [3])
    work(desk)
    job_id = ask(desk, [3])
    epochs = _count_epochs(monkeypatch, break_after=7)
    assert work(desk) == jobs.BROKEN
    assert job_of(desk.database, job_id).state == JobState.QUEUED
    (kept,) = checkpoints_of(desk)
    path = next((desk.settings.data_dir / shelf.FOLDER).rglob(kept))
    if damage == "bytes":
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    if damage == "file":
        path.unlink()
    if damage == "row":
        with desk.database.writing() as session:
            row = session.get_one(JobStep, (job_id, shelf.STEP))
            row.output = {**row.output, "epoch": 6}
    epochs.clear()
    assert work(desk) == jobs.DONE
    assert epochs[0] == (6 if damage == "nothing" else 1)
    assert epochs[-1] == 12
    first, second = references_of(desk)
    assert second.artifact_sha256 == first.artifact_sha256
    results = [job_of(desk.database, one.job_id).result for one in (first, second) if one.job_id]
    assert results[0] is not None
    assert results[1] is not None
    assert results[0]["losses"] == results[1]["losses"]


def test_a_retraining_asked_to_stop_stops_between_batches_and_goes_on_later(desk: Desk) -> None:
    job_id = ask(desk, [3], epochs=40)
    calls = iter(range(10_000))
    lease = claim(desk)
    assert work(desk, lease, must_stop=lambda: next(calls) > 150) == jobs.STOPPED
    assert job_of(desk.database, job_id).state == JobState.RUNNING
    assert references_of(desk) == []
    assert len(checkpoints_of(desk)) == 1
    claims.release(desk.database, lease, reason="worker-stopping")
    assert work(desk) == jobs.DONE
    assert job_of(desk.database, job_id).state == JobState.COMPLETED


def test_what_a_cancelled_retraining_left_is_swept_by_the_next_one(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(desk, [3], epochs=40)
    calls = iter(range(10_000))
    lease = claim(desk)
    work(desk, lease, must_stop=lambda: next(calls) > 150)
    (left,) = checkpoints_of(desk)
    with desk.database.writing() as session:
        claims.finish(session, lease, JobState.CANCELLED)
    ask(desk, [4])
    young = desk.settings.model_copy(update={"lease_ttl": timedelta(0)})
    assert jobs.run(claim(desk), young, lambda: False) == jobs.DONE
    assert left not in checkpoints_of(desk)


@on_both
def test_an_old_fence_registers_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = ask(desk, [3])

    def paused(*args: Any) -> Any:
        """As if the process had slept through its lease while it checked."""
        with desk.database.writing() as session:
            session.execute(update(Job).where(Job.id == job_id).values(fence=Job.fence + 1))
        return checks.measure(*args)

    monkeypatch.setattr("worker.retraining.job.measure", paused)
    assert work(desk) == jobs.DONE
    assert references_of(desk) == []
    job = job_of(desk.database, job_id)
    assert (job.state, job.result) == (JobState.RUNNING, None)


def test_an_old_fence_keeps_no_checkpoint(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = ask(desk, [3])
    lost: list[BaseException] = []
    keep = shelf.Shelf.keep

    def late(self: shelf.Shelf, epoch: int, take: Any) -> None:
        if epoch == 5:
            with desk.database.writing() as session:
                session.execute(update(Job).where(Job.id == job_id).values(fence=Job.fence + 1))
        try:
            keep(self, epoch, take)
        except LeaseLost as error:
            lost.append(error)
            raise

    monkeypatch.setattr(shelf.Shelf, "keep", late)
    monkeypatch.setattr(Stages, "reach", lambda *_: None)
    assert work(desk) == jobs.DONE
    assert len(lost) == 1
    with desk.database.reading() as session:
        assert session.get(JobStep, (job_id, shelf.STEP)) is None


def test_a_training_that_learned_nothing_is_rejected_with_its_measures_and_leaves_no_reference(desk: Desk) -> None:
    job_id = ask(desk, [3], epochs=1, learning_rate=1e-6)
    assert work(desk) == jobs.DONE
    job = job_of(desk.database, job_id)
    assert (job.state, job.attempt) == (JobState.REJECTED, 1)
    assert job.problem is not None
    assert job.problem["slug"] in {"reference-too-far", "reference-holds-class"}
    assert job.result is not None
    assert job.result["measures"]["retain_accuracy"]["value"] < 0.5
    assert references_of(desk) == []


def test_a_training_that_diverges_fails_once_and_in_words(desk: Desk) -> None:
    job_id = ask(desk, [3], optimiser={"name": "sgd"}, learning_rate=10.0, schedule={"name": "constant"})
    assert work(desk) == jobs.DONE
    job = job_of(desk.database, job_id)
    assert (job.state, job.attempt) == (JobState.FAILED, 1)
    assert job.problem is not None
    assert job.problem["slug"] == "training-diverged"
    assert "finite loss" in job.problem["detail"]


def test_cancelling_a_running_retraining_stops_the_real_process(desk: Desk, processes: Processes) -> None:
    job_id = ask(desk, [3], epochs=1000)
    env = expunge_env(
        database_url=desk.settings.database_url, data_dir=desk.settings.data_dir, EXPUNGE_HEARTBEAT_INTERVAL="0.5"
    )
    program = "from core.settings import get_settings; from worker.embedded import run; run(get_settings())"
    worker = processes.start("worker", [sys.executable, "-c", program], env)
    worker.wait_for(
        lambda: (job_of(desk.database, job_id).step or "").startswith("train "), seconds=60, what="the training"
    )
    seen = job_of(desk.database, job_id).step
    assert seen is not None
    assert seen.endswith("/1000")
    with desk.database.writing() as session:
        claims.cancel(session, session.execute(select(Job).where(Job.id == job_id)).scalar_one(), actor="key:test")
    worker.wait_for(
        lambda: job_of(desk.database, job_id).finished_at is not None, seconds=60, what="the job to be cancelled"
    )
    assert job_of(desk.database, job_id).state == JobState.CANCELLED
    assert references_of(desk) == []
    assert worker.stop() == 0


# ------------------------------------------------------------------------------------------------------------- uploaded


@on_both
def test_an_uploaded_network_that_never_saw_the_class_becomes_ready(desk: Desk, without_three: bytes) -> None:
    job_id, number = upload(desk, [3], without_three)
    work(desk)
    (reference,) = references_of(desk)
    assert (reference.number, reference.state, reference.problem) == (number, ReferenceState.READY, None)
    assert reference.measures is not None
    assert reference.measures["forget_accuracy"][0]["high"] < 0.05
    job = job_of(desk.database, job_id)
    assert (job.state, job.attempt) == (JobState.COMPLETED, 1)
    told = [leaf for leaf in leaves_of(desk) if leaf["type"] == "reference.validated"]
    assert [leaf["data"]["state"] for leaf in told] == ["ready"]


def test_the_original_as_a_reference_is_refused_by_the_class_that_it_recognises(desk: Desk, learned: Learned) -> None:
    job_id, _ = upload(desk, [3], learned.weights)
    work(desk)
    (reference,) = references_of(desk)
    assert reference.state == ReferenceState.REFUSED
    assert reference.problem is not None
    assert reference.problem["slug"] == "reference-holds-class"
    assert reference.problem["class_indices"] == [3]
    assert "still recognises class 3 (" in reference.problem["detail"]
    assert reference.measures is not None
    assert reference.measures["forget_accuracy"][0]["value"] > 0.85
    job = job_of(desk.database, job_id)
    assert (job.state, job.attempt, job.problem) == (JobState.REJECTED, 1, reference.problem)
    with desk.database.reading() as session:
        assert fitting_references(session, session.get_one(Model, desk.model_id), [3]) == []


def test_a_reference_for_other_classes_than_it_lacks_is_refused(desk: Desk, without_three: bytes) -> None:
    upload(desk, [3, 8], without_three)
    work(desk)
    (reference,) = references_of(desk)
    assert reference.problem is not None
    assert reference.problem["class_indices"] == [8]


def _of_another_width(_content: bytes) -> bytes:
    other = build(ARCHITECTURE, {"width": 4}, NUM_CLASSES, 1)
    initialise(other, torch.Generator().manual_seed(0))
    return save_state(other)


def _untrained(_content: bytes) -> bytes:
    return save_state(fresh_network(BLUEPRINT, 0, torch.device("cpu")))


@pytest.mark.parametrize(
    ("change", "slug"),
    [
        (_of_another_width, "weights-do-not-fit"),
        (lambda content: content[:-4] + np.float32(np.nan).tobytes(), "non-finite-weights"),
        (lambda content: content[:-40] + np.full(10, 3e38, np.float32).tobytes(), None),
        (_untrained, None),
    ],
)
def test_weights_that_are_no_reference_are_refused_in_words(
    desk: Desk, without_three: bytes, change: Callable[[bytes], bytes], slug: str | None
) -> None:
    job_id, _ = upload(desk, [3], change(without_three))
    work(desk)
    (reference,) = references_of(desk)
    assert reference.state == ReferenceState.REFUSED
    assert reference.problem is not None
    expected = {slug} if slug else {"reference-holds-class", "reference-too-far", "unlearning-refused"}
    assert reference.problem["slug"] in expected
    assert job_of(desk.database, job_id).state == JobState.REJECTED


def test_outputs_that_are_not_finite_are_a_refusal_and_not_a_crash(desk: Desk, without_three: bytes) -> None:
    network = fresh_network(BLUEPRINT, 0, torch.device("cpu"))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(3e38)
    job_id, _ = upload(desk, [3], save_state(network))
    work(desk)
    (reference,) = references_of(desk)
    assert reference.problem is not None
    assert "NaN or infinity" in reference.problem["detail"]
    assert job_of(desk.database, job_id).state == JobState.REJECTED


@on_both
def test_a_reference_that_kills_every_process_that_reads_it_ends_refused(desk: Desk, without_three: bytes) -> None:
    job_id, _ = upload(desk, [3], without_three)
    problem = {"slug": "runner-died", "title": "t", "detail": "d"}
    for _ in range(3):
        assert refuse_unvalidated(desk.database) == 0
        claims.attempt_failed(desk.database, claim(desk), problem, backoff=timedelta(0))
    assert job_of(desk.database, job_id).state == JobState.FAILED
    assert refuse_unvalidated(desk.database) == 1
    assert refuse_unvalidated(desk.database) == 0
    (reference,) = references_of(desk)
    assert (reference.state, reference.problem) == (ReferenceState.REFUSED, problem)


# -------------------------------------------------------------------------------------------------------------- fitting


@on_both
def test_a_reference_fits_the_union_of_what_is_gone_and_what_is_asked_for(desk: Desk) -> None:
    with desk.database.writing() as session:
        model = session.get_one(Model, desk.model_id, with_for_update=True)
        dataset_id = find_dataset(session, "t", "digits").id
        for absent, state in (
            ([3], ReferenceState.READY),
            ([7, 3], ReferenceState.READY),
            ([3, 7], ReferenceState.REFUSED),
            ([3, 7], ReferenceState.READY),
            ([3, 7, 8], ReferenceState.READY),
        ):
            _add(session, model, dataset_id, absent, state)

    def fitting(*classes: int) -> list[int]:
        with desk.database.reading() as session:
            found = fitting_references(session, session.get_one(Model, desk.model_id), classes)
            return [reference.number for reference in found]

    assert fitting(3) == [1]
    assert fitting(3, 7) == fitting(7, 3) == fitting(7, 3, 3) == [4, 2]
    assert fitting(7) == []
    _forget(desk, 3)
    assert fitting(7) == fitting(3, 7) == [4, 2]
    assert fitting(8, 7) == [5]
    assert fitting(8) == []


def _add(session: Any, model: Model, dataset_id: int, absent: list[int], state: ReferenceState) -> None:
    add_reference(
        session,
        model,
        actor="key:test",
        event="reference.registered",
        state=state,
        absent_classes=absent,
        dataset_id=dataset_id,
    )


def _forget(desk: Desk, index: int) -> None:
    with desk.database.writing() as session:
        model = session.get_one(Model, desk.model_id)
        job = enqueue(session, JobKind.VALIDATE_VERSION, tenant="t", actor="key:test", spec={}, max_attempts=1)
        version = session.execute(select(ModelVersion)).scalars().first()
        assert version is not None
        session.add(
            ForgottenClass(
                model_id=model.id,
                class_index=index,
                tenant="t",
                actor="key:test",
                job_id=job.id,
                version_id=version.id,
                forgotten_at=version.created_at,
            )
        )


def _count_epochs(monkeypatch: pytest.MonkeyPatch, *, break_after: int) -> list[int]:
    """The epochs as they finish; the first time that `break_after` does, the process breaks."""
    finished: list[int] = []
    breaks = iter([break_after])
    keep = shelf.Shelf.keep

    def counted(self: shelf.Shelf, epoch: int, take: Any) -> None:
        keep(self, epoch, take)
        finished.append(epoch)
        if epoch == break_after:
            for _ in breaks:
                raise KeyError(secrets.token_hex(4))

    monkeypatch.setattr(shelf.Shelf, "keep", counted)
    return finished
