"""Uploads on trial: what fits becomes ready, what does not says why, and neither counts as a failure of the service."""

import io
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import select

from core.clock import database_now
from core.ledger.tables import LedgerEntry
from core.requests import claims
from core.requests.repository import enqueue
from core.states import DatasetState, JobKind, JobState, VersionState
from models_store.architectures import build, initialise
from models_store.registry import add_version
from models_store.tables import Dataset, DatasetSource, Model, ModelVersion
from models_store.weights import save_state
from tests.integration.worker.conftest import ARCHITECTURE, NUM_CLASSES, Desk, Learned
from tests.integration.worker.support import job_of, on_both
from worker import jobs
from worker.aftermath import refuse_unvalidated


def work(desk: Desk) -> None:
    lease = claims.claim(desk.database, owner="w", ttl=timedelta(minutes=5))
    assert lease is not None
    assert jobs.run(lease, desk.settings, lambda: False) == jobs.DONE


def upload(desk: Desk, content: bytes) -> tuple[UUID, int]:
    blob = desk.storage.put([content], 1 << 30)
    with desk.database.writing() as session:
        version = add_version(
            session,
            session.get_one(Model, desk.model_id),
            actor="key:test",
            state=VersionState.VALIDATING,
            artifact_sha256=blob.sha256,
            size_bytes=blob.size_bytes,
        )
        kind = JobKind.VALIDATE_VERSION
        job = enqueue(session, kind, tenant="t", actor="key:test", spec={}, max_attempts=3, subject_id=version.id)
        return job.id, version.id


def version_of(desk: Desk, version_id: int) -> ModelVersion:
    with desk.database.reading() as session:
        return session.get_one(ModelVersion, version_id)


@on_both
def test_weights_that_fit_become_ready(desk: Desk, learned: Learned) -> None:
    job_id, version_id = upload(desk, learned.weights)
    work(desk)
    version = version_of(desk, version_id)
    assert (version.state, version.problem) == (VersionState.READY, None)
    assert job_of(desk.database, job_id).state == JobState.COMPLETED
    with desk.database.reading() as session:
        types = session.execute(select(LedgerEntry.type).where(LedgerEntry.request_id == job_id)).scalars().all()
    assert "version.validated" in types


def test_weights_of_another_width_are_refused_naming_the_tensors(desk: Desk) -> None:
    import torch

    other = build(ARCHITECTURE, {"width": 4}, NUM_CLASSES, 1)
    initialise(other, torch.Generator().manual_seed(0))
    job_id, version_id = upload(desk, save_state(other))
    work(desk)
    version = version_of(desk, version_id)
    assert version.state == VersionState.REFUSED
    assert version.problem is not None
    assert version.problem["slug"] == "weights-do-not-fit"
    assert "features.conv1.weight" in {item["name"] for item in version.problem["mismatched"]}
    job = job_of(desk.database, job_id)
    assert (job.state, job.attempt, job.problem) == (JobState.REJECTED, 1, version.problem)


def test_weights_that_are_not_finite_are_refused(desk: Desk, learned: Learned) -> None:
    _job_id, version_id = upload(desk, learned.weights[:-4] + np.float32(np.nan).tobytes())
    work(desk)
    problem = version_of(desk, version_id).problem
    assert problem is not None
    assert problem["slug"] == "non-finite-weights"


def test_bytes_that_changed_in_the_store_are_refused(desk: Desk, learned: Learned) -> None:
    other = learned.weights + b""
    _job_id, version_id = upload(desk, other)
    path = desk.storage.path(version_of(desk, version_id).artifact_sha256)
    path.write_bytes(other[:-1] + b"!")
    work(desk)
    problem = version_of(desk, version_id).problem
    assert problem is not None
    assert problem["slug"] == "stored-digest-mismatch"


def register(desk: Desk, content: bytes | None, *, path: str | None = None, labels: list[str] | None = None) -> UUID:
    blob = desk.storage.put([content], 1 << 30) if content is not None else None
    with desk.database.writing() as session:
        now = database_now(session)
        source = DatasetSource(
            tenant="t",
            actor="key:test",
            split="all",
            sha256=blob and blob.sha256,
            size_bytes=blob and blob.size_bytes,
            path=path,
            created_at=now,
        )
        dataset = Dataset(
            tenant="t",
            actor="key:test",
            name="new",
            state=DatasetState.VALIDATING,
            labels=labels,
            created_at=now,
            sources=[source],
        )
        session.add(dataset)
        session.flush()
        kind = JobKind.VALIDATE_DATASET
        return enqueue(session, kind, tenant="t", actor="key:test", spec={}, max_attempts=3, subject_id=dataset.id).id


def dataset_of(desk: Desk) -> Dataset:
    with desk.database.reading() as session:
        return session.execute(select(Dataset).where(Dataset.name == "new")).scalar_one()


def arrays() -> bytes:
    x, y = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8, 1), np.array([0, 1, 0, 1])
    buffer = io.BytesIO()
    np.savez(buffer, x_train=x, y_train=y, x_test=255 - x, y_test=y)
    return buffer.getvalue()


@on_both
def test_a_file_that_kills_every_process_that_reads_it_ends_refused(desk: Desk, learned: Learned) -> None:
    _job_id, version_id = upload(desk, learned.weights)
    dataset_job = register(desk, arrays())
    assert refuse_unvalidated(desk.database) == 0
    problem = {"slug": "runner-died", "title": "t", "detail": "d"}
    for _ in range(6):
        lease = claims.claim(desk.database, owner="w", ttl=timedelta(minutes=5))
        assert lease is not None
        claims.attempt_failed(desk.database, lease, problem, backoff=timedelta(0))
    assert job_of(desk.database, dataset_job).state == JobState.FAILED
    assert refuse_unvalidated(desk.database) == 2
    assert refuse_unvalidated(desk.database) == 0
    version = version_of(desk, version_id)
    assert (version.state, version.problem) == (VersionState.REFUSED, problem)
    assert (dataset_of(desk).state, dataset_of(desk).problem) == (DatasetState.REFUSED, problem)


@on_both
def test_a_data_set_is_counted_and_becomes_ready(desk: Desk) -> None:
    job_id = register(desk, arrays(), labels=["cat", "dog"])
    work(desk)
    dataset = dataset_of(desk)
    assert (dataset.state, dataset.labels) == (DatasetState.READY, ["cat", "dog"])
    assert dataset.summary is not None
    assert dataset.summary["counts"] == {"train": {"0": 2, "1": 2}, "test": {"0": 2, "1": 2}}
    assert job_of(desk.database, job_id).state == JobState.COMPLETED


def test_a_data_set_that_cannot_be_read_is_refused_with_the_reason(desk: Desk) -> None:
    job_id = register(desk, b"PK\x03\x04 no archive at all")
    work(desk)
    dataset = dataset_of(desk)
    assert dataset.state == DatasetState.REFUSED
    assert dataset.problem is not None
    assert job_of(desk.database, job_id).problem == dataset.problem
    assert job_of(desk.database, job_id).state == JobState.REJECTED


def test_an_index_past_the_names_is_refused(desk: Desk) -> None:
    register(desk, arrays(), labels=["cat"])
    work(desk)
    problem = dataset_of(desk).problem
    assert problem is not None
    assert problem["slug"] == "unknown-dataset-label"


def test_a_data_set_named_by_path_keeps_the_digest_it_was_read_under(desk: Desk, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "images.npz").write_bytes(arrays())
    desk = Desk(desk.database, desk.settings.model_copy(update={"dataset_root": root}), desk.storage, desk.model_id)
    register(desk, None, path="images.npz")
    work(desk)
    source = dataset_of(desk).sources[0]
    assert source.sha256 is not None
    assert source.size_bytes == len(arrays())


@pytest.mark.parametrize("path", ["../outside.npz", "missing.npz", "link.npz"])
def test_a_path_out_of_the_operators_folder_is_refused(desk: Desk, tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside.npz").write_bytes(arrays())
    (root / "link.npz").symlink_to(tmp_path / "outside.npz")
    desk = Desk(desk.database, desk.settings.model_copy(update={"dataset_root": root}), desk.storage, desk.model_id)
    register(desk, None, path=path)
    work(desk)
    dataset = dataset_of(desk)
    assert dataset.state == DatasetState.REFUSED
    assert str(tmp_path) not in str(dataset.problem)
