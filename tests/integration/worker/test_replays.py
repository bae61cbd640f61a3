"""Replays on a classifier that has learned: what comes out again, what does not, and what is found out by it."""

import io
import json
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import torch
from PIL import Image
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from app.dependencies import Caller
from app.unlearn import replaying
from core.ledger.tables import LedgerEntry
from core.requests import claims
from core.requests.erasure import erase_requests
from core.requests.spec import Method
from core.requests.tables import Job, JobStep, UnlearnRequest
from core.settings import Settings
from core.states import JobKind, JobState
from models_store.naming import erase_labels
from models_store.replays import ReplaySpec
from models_store.tables import Dataset, DatasetSource
from tests.integration.worker.conftest import LABELS, Desk, Learned
from tests.integration.worker.support import job_of, on_both
from tests.integration.worker.test_pipeline import GIVEN, STRICT, claim, submit, versions_of, work
from unlearning import Erasure
from worker import jobs
from worker.environment import describe, prepare
from worker.pipeline.methods import again
from worker.replays import job as replay_job
from worker.replays.comparing import BOUND, changes_of_environment, digest_of, distances

WHO = Caller("t", "key:test", frozenset({"admin"}))
METHODS = {
    "strength given": GIVEN,
    "strength chosen": Method(name="paper", num_samples=200, max_rows=500),
    "refit": Method(name="refit", num_samples=100, max_rows=500),
}


def ask(desk: Desk, request_id: UUID) -> UUID:
    """A replay as the API would queue it."""
    with desk.database.writing() as session:
        return replaying.start(session, WHO, request_id, max_attempts=3, is_stored=desk.storage.exists).id


def replayed(desk: Desk, request_id: UUID) -> dict[str, Any]:
    replay_id = ask(desk, request_id)
    assert work(desk) == jobs.DONE
    job = job_of(desk.database, replay_id)
    assert (job.state, job.percent, job.problem) == (JobState.COMPLETED, 100, None)
    assert job.result is not None
    return job.result


def failed(desk: Desk, replay_id: UUID) -> dict[str, Any]:
    assert work(desk) == jobs.DONE
    job = job_of(desk.database, replay_id)
    assert (job.state, job.attempt) == (JobState.FAILED, 1), "no further attempt would find more"
    assert job.problem is not None
    return job.problem


def told(desk: Desk, request_id: UUID) -> list[dict[str, Any]]:
    """What the ledger says about replays of the request."""
    with desk.database.reading() as session:
        query = select(LedgerEntry.leaf).where(LedgerEntry.request_id == request_id).order_by(LedgerEntry.seq)
        leaves = [json.loads(leaf) for leaf in session.execute(query).scalars()]
    return [leaf for leaf in leaves if leaf["type"].startswith("request.replay")]


def blobs(desk: Desk) -> set[Path]:
    return set(desk.settings.artifacts_dir.rglob("*"))


@dataclass
class Snapshot:
    """A published request in SQLite and its store, made once: verifying takes ten times as long as a replay."""

    folder: Path
    job_id: UUID | None = None

    def keep(self, desk: Desk, job_id: UUID) -> None:
        copy_database(database_of(desk), self.folder / "snapshot.db")
        shutil.copytree(desk.settings.artifacts_dir, self.folder / "artifacts")
        self.job_id = job_id

    def put_back(self, desk: Desk) -> None:
        copy_database(self.folder / "snapshot.db", database_of(desk))
        shutil.copytree(self.folder / "artifacts", desk.settings.artifacts_dir, dirs_exist_ok=True)


def database_of(desk: Desk) -> Path:
    return Path(desk.settings.database_url.removeprefix("sqlite:///"))


def copy_database(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return Snapshot(tmp_path_factory.mktemp("published"))


@pytest.fixture
def published(desk: Desk, snapshot: Snapshot) -> UUID:
    if desk.settings.uses_sqlite and snapshot.job_id is not None:
        snapshot.put_back(desk)
        return snapshot.job_id
    job_id = submit(desk, [3])
    assert work(desk) == jobs.DONE
    assert job_of(desk.database, job_id).state == JobState.PUBLISHED
    if desk.settings.uses_sqlite:
        snapshot.keep(desk, job_id)
    return job_id


# ------------------------------------------------------------------------------ it comes out


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_the_same_machine_makes_the_same_bytes_again_and_publishes_nothing(desk: Desk, method: Method) -> None:
    job_id = submit(desk, [3], method=method, seed=5)
    work(desk)
    before, files = versions_of(desk.database), blobs(desk)
    result = replayed(desk, job_id)
    assert result["outcome"] == "identical", result["sentence"]
    assert result["recomputed_sha256"] == result["published_sha256"] == before[-1].artifact_sha256
    assert result["largest_relative_difference"] == 0
    assert (result["exactness_expected"], result["contradictions"]) == (True, [])
    after = versions_of(desk.database)
    assert [(one.number, one.state) for one in after] == [(one.number, one.state) for one in before]
    assert blobs(desk) == files


@on_both
def test_start_and_outcome_are_entries_of_the_request_beside_the_replays_own(desk: Desk, published: UUID) -> None:
    result = replayed(desk, published)
    with desk.database.reading() as session:
        replay_id = session.execute(select(Job.id).where(Job.kind == JobKind.REPLAY)).scalar_one()
    first, last = told(desk, published)
    assert (first["type"], first["actor"], first["data"]["replay"]) == (
        "request.replay_started",
        WHO.actor,
        str(replay_id),
    )
    assert (last["type"], last["actor"], last["data"]["outcome"]) == ("request.replayed", "worker:w", "identical")
    assert last["data"]["recomputed_sha256"] == result["published_sha256"]
    assert "digit 3" not in str([first, last])
    moves = [leaf["to"] for leaf in ledger_of(desk, replay_id) if "to" in leaf]
    assert moves == ["queued", "running", "completed"]


def ledger_of(desk: Desk, job_id: UUID) -> list[dict[str, Any]]:
    with desk.database.reading() as session:
        query = select(LedgerEntry.leaf).where(LedgerEntry.request_id == job_id).order_by(LedgerEntry.seq)
        return [json.loads(leaf) for leaf in session.execute(query).scalars()]


def test_a_second_deletion_is_replayed_from_its_own_parent(desk: Desk, published: UUID) -> None:
    second = submit(desk, [7])
    work(desk)
    first, again = replayed(desk, published), replayed(desk, second)
    assert (first["outcome"], again["outcome"]) == ("identical", "identical")
    assert again["parent_sha256"] == first["published_sha256"]


# ------------------------------------------------------------------------------ another machine


def rounding(size: float) -> Callable[..., Erasure]:
    """The method on a machine that rounds otherwise: every edited weight off by about `size` of itself."""

    def moved_again(*arguments: Any) -> Erasure:
        erasure = again(*arguments)
        generator = torch.Generator().manual_seed(1)
        moved = {
            name: weight * (1 + size * torch.randn(weight.shape, generator=generator))
            for name, weight in erasure.weights.items()
        }
        return Erasure(moved, erasure.layers, erasure.untouched, erasure.method, erasure.alpha_r, erasure.alpha_f)

    return moved_again


def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def describe_another(*arguments: Any, **more: Any) -> dict[str, Any]:
        return describe(*arguments, **more) | {"processor": "another"}

    monkeypatch.setattr(replay_job, "describe", describe_another)


def test_rounding_on_another_processor_is_within_tolerance_and_says_why(
    desk: Desk, published: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(monkeypatch)
    monkeypatch.setattr(replay_job, "again", rounding(1e-6))
    result = replayed(desk, published)
    assert result["outcome"] == "within-tolerance", result["sentence"]
    assert [change["member"] for change in result["changes_of_environment"]] == ["processor"]
    assert "processor" in result["sentence"]
    assert 1e-7 < result["largest_relative_difference"] < 1e-5 < result["bound"]
    assert result["largest_in"] == result["tensors"][0]["tensor"]
    assert told(desk, published)[-1]["data"]["largest_relative_difference"] == (
        f"{result['largest_relative_difference']:.3e}"
    )


def test_more_than_rounding_is_different_on_another_processor_too(
    desk: Desk, published: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(monkeypatch)
    monkeypatch.setattr(replay_job, "again", rounding(100 * BOUND))
    result = replayed(desk, published)
    assert (result["outcome"], result["exactness_expected"]) == ("different", False)
    assert result["largest_relative_difference"] > BOUND


def test_even_a_rounding_error_is_different_where_nothing_changed(
    desk: Desk, published: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_job, "again", rounding(1e-6))
    result = replayed(desk, published)
    assert (result["outcome"], result["exactness_expected"]) == ("different", True)
    assert "same build" in result["sentence"]


def test_a_tensor_that_the_method_does_not_edit_must_be_equal_to_the_bit(
    desk: Desk, published: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(monkeypatch)
    parent = replay_job._parent

    def another_parent(*arguments: Any) -> Any:
        network = parent(*arguments)
        with torch.no_grad():
            for name, value in network.named_parameters():
                if name.endswith("bias"):  # the projection edits no bias
                    value.mul_(1 + 1e-6)
        return network

    monkeypatch.setattr(replay_job, "_parent", another_parent)
    result = replayed(desk, published)
    assert result["outcome"] == "different"
    assert "does not edit" in result["sentence"]


def test_threads_and_device_are_those_on_record_unless_the_operator_chose(
    desk: Desk, published: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[Settings]()

    def noting(settings: Settings) -> torch.device:
        seen.append(settings)
        return prepare(settings)

    monkeypatch.setattr(replay_job, "prepare", noting)
    for chosen in ({"torch_threads": 0, "device": "auto"}, {"torch_threads": 2, "device": "cpu"}):
        ask(desk, published)
        jobs.run(claim(desk), desk.settings.model_copy(update=chosen), lambda: False)
    torch.set_num_threads(1)
    assert [(one.torch_threads, one.device) for one in seen] == [(1, "cpu"), (2, "cpu")]
    changed = told(desk, published)[-1]["data"]
    assert changed["exactness_expected"] is False


def test_what_is_compared_names_tensors_and_is_zero_for_the_same(tmp_path: Path) -> None:
    from models_store.weights import save_state

    network = torch.nn.Linear(3, 2)
    path = tmp_path / "weights"
    path.write_bytes(save_state(network))
    assert distances(network, path, frozenset()).largest is None
    before = digest_of(network)
    with torch.no_grad():
        network.bias.add_(1.0)
    found = distances(network, path, frozenset({"weight"}))
    assert (set(found.by_tensor), found.unedited, found.is_within) == ({"bias"}, ("bias",), False)
    assert digest_of(network) != before
    assert changes_of_environment({"torch": "1", "seed": 1}, {"torch": "1", "seed": 2, "processor": "x"}) == [
        {"member": "processor", "recorded": None, "here": "x"}
    ]


# ------------------------------------------------------------------------------ tampered


def flip_stored(desk: Desk) -> None:
    path = desk.storage.path(versions_of(desk.database)[-1].artifact_sha256)
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def statement(sql: str, **values: Any) -> Callable[[Desk], None]:
    def change(desk: Desk) -> None:
        with desk.database.writing() as session:
            drop_guards(session)
            session.execute(text(sql), values)

    return change


def drop_guards(session: Session) -> None:
    for trigger in session.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all():
        session.execute(text(f"DROP TRIGGER {trigger}"))


TAMPERED: dict[str, tuple[Callable[[Desk], None], str]] = {
    "stored bytes": (flip_stored, "stored weights of version 2"),
    "version row": (
        statement("UPDATE model_versions SET artifact_sha256 = :other WHERE number = 2", other="0" * 64),
        "Version 2 names weights",
    ),
    "manifest": (
        statement("UPDATE model_versions SET manifest = replace(manifest, '\"seed\": 0', '\"seed\": 1')"),
        "The manifest of version 2",
    ),
    "result": (
        statement("UPDATE jobs SET result = replace(result, 'artifact_sha256\": \"', 'artifact_sha256\": \"0')"),
        "The result names weights",
    ),
    "entry": (
        statement(
            "UPDATE audit_log SET leaf = CAST(replace(leaf, 'worker:w', 'worker:x') AS BLOB) "
            "WHERE seq = (SELECT max(seq) FROM audit_log)"
        ),
        "is not the one that the ledger's tree holds",
    ),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_record_that_was_tampered_with_is_different_and_the_place_is_named(
    desk: Desk, published: UUID, name: str
) -> None:
    change, sentence = TAMPERED[name]
    change(desk)
    result = replayed(desk, published)
    assert result["outcome"] == "different"
    assert any(sentence in one for one in result["contradictions"]), result["contradictions"]
    assert result["recomputed_sha256"] == result["published_sha256"], "what the ledger names does come out again"


def test_a_load_record_that_was_tampered_with_is_different(desk: Desk, published: UUID) -> None:
    with desk.database.writing() as session:
        step = session.get_one(JobStep, (published, "load"))
        step.output = {**step.output, "seconds": 0.0}
    result = replayed(desk, published)
    assert result["outcome"] == "different"
    assert "what was loaded" in result["contradictions"][0]


# ------------------------------------------------------------------------------ what it needs is gone


def other_files(desk: Desk) -> None:
    """The operator has the train file replaced, digest and all."""
    with desk.database.writing() as session:
        blob = desk.storage.put([(desk.storage.path(digest_of_test(session))).read_bytes()], 1 << 30)
        session.execute(
            update(DatasetSource)
            .where(DatasetSource.split == "train")
            .values(sha256=blob.sha256, size_bytes=blob.size_bytes)
        )


def digest_of_test(session: Session) -> str:
    return str(session.execute(select(DatasetSource.sha256).where(DatasetSource.split == "test")).scalar_one())


def file_gone(desk: Desk) -> None:
    with desk.database.reading() as session:
        desk.storage.path(digest_of_test(session)).unlink()


def data_set_renamed(desk: Desk) -> None:
    with desk.database.writing() as session:
        session.execute(update(Dataset).values(name="another"))


def parent_gone(desk: Desk) -> None:
    desk.storage.path(versions_of(desk.database)[0].artifact_sha256).unlink()


@pytest.mark.parametrize(
    ("change", "missing", "word"),
    [
        (other_files, "dataset", "'digits'"),
        (file_gone, "dataset", "'digits'"),
        (data_set_renamed, "dataset", "no longer registered"),
        (parent_gone, "parent", "version 1"),
    ],
)
def test_what_is_gone_when_the_work_begins_is_named(
    desk: Desk, published: UUID, change: Callable[[Desk], None], missing: str, word: str
) -> None:
    replay_id = ask(desk, published)
    change(desk)
    problem = failed(desk, replay_id)
    assert (problem["slug"], problem["missing"]) == ("replay-input-gone", [missing])
    assert word in problem["detail"]
    assert [leaf["type"] for leaf in told(desk, published)] == ["request.replay_started"]


def in_folders(desk: Desk, learned: Learned) -> None:
    """The data set again, as images in folders that bear the labels; 40 of each class per split."""
    files = {"train": learned.train, "test": learned.test}
    with desk.database.writing() as session:
        dataset = session.execute(select(Dataset)).scalar_one()
        dataset.labels, dataset.summary = list(LABELS), {"labels_are_indices": False}
        for source in dataset.sources:
            with np.load(io.BytesIO(files[source.split]), allow_pickle=False) as found:  # noqa: TID251 our own
                x, y = found["x"], found["y"]
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as packed:
                for index, label in enumerate(LABELS):
                    for number in np.flatnonzero(y == index)[:40]:
                        picture = io.BytesIO()
                        Image.fromarray(x[number, ..., 0]).save(picture, "PNG")
                        packed.writestr(f"{label}/{number:04}.png", picture.getvalue())
            blob = desk.storage.put([buffer.getvalue()], 1 << 30)
            source.sha256, source.size_bytes = blob.sha256, blob.size_bytes


def test_after_the_name_of_a_class_was_erased_its_folder_is_not_found_and_nobody_names_it(
    desk: Desk, learned: Learned
) -> None:
    in_folders(desk, learned)
    job_id = submit(desk, [3])
    assert work(desk) == jobs.DONE
    assert job_of(desk.database, job_id).state == JobState.PUBLISHED, job_of(desk.database, job_id).problem
    assert replayed(desk, job_id)["outcome"] == "identical"
    with desk.database.writing() as session:
        requests = [session.get_one(UnlearnRequest, job_id)]
        assert erase_labels(session, requests) == 1
        erase_requests(session, requests, actor="key:test")
    problem = failed(desk, ask(desk, job_id))
    assert (problem["slug"], problem["missing"]) == ("replay-input-gone", ["dataset"])
    assert LABELS[3] not in json.dumps(problem)


def test_published_weights_that_are_gone_do_not_matter_as_long_as_they_come_out_again(
    desk: Desk, published: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.storage.path(versions_of(desk.database)[-1].artifact_sha256).unlink()
    assert replayed(desk, published)["outcome"] == "identical"
    monkeypatch.setattr(replay_job, "again", rounding(1e-6))
    problem = failed(desk, ask(desk, published))
    assert problem["missing"] == ["published"]


def test_a_request_that_is_not_published_cannot_be_replayed(desk: Desk) -> None:
    job_id = submit(desk, [3], policy=STRICT)
    work(desk)
    with desk.database.writing() as session:
        spec = ReplaySpec(request=job_id).model_dump(mode="json")
        replay = claims_queue(session, job_id, spec, desk.model_id)
    assert failed(desk, replay)["slug"] == "not-replayable"


def claims_queue(session: Session, job_id: UUID, spec: dict[str, Any], model_id: int) -> UUID:
    """A replay that the API would not have taken."""
    from core.requests.repository import enqueue

    return enqueue(
        session,
        JobKind.REPLAY,
        tenant="t",
        actor="key:test",
        spec=spec,
        max_attempts=3,
        model_id=model_id,
        parent=job_id,
    ).id


# ------------------------------------------------------------------------------ lease and fence


def test_a_replay_that_is_told_to_stop_stops_between_two_batches(desk: Desk, published: UUID) -> None:
    replay_id = ask(desk, published)
    calls = iter([False] * 4)
    assert work(desk, must_stop=lambda: next(calls, True)) == jobs.STOPPED
    assert job_of(desk.database, replay_id).result is None


@on_both
def test_a_replay_that_was_taken_over_writes_nothing(desk: Desk, published: UUID) -> None:
    replay_id = ask(desk, published)
    stale = claim(desk)
    with desk.database.writing() as session:
        session.execute(
            update(Job).where(Job.id == replay_id).values(lease_until=job_of(desk.database, replay_id).created_at)
        )
    claims.reap(desk.database, backoff=desk.settings.retry_backoff)
    entries = len(told(desk, published))
    assert work(desk, stale) == jobs.DONE
    assert job_of(desk.database, replay_id).result is None
    assert len(told(desk, published)) == entries
    assert work(desk) == jobs.DONE
    assert [leaf["type"] for leaf in told(desk, published)] == ["request.replay_started", "request.replayed"]


def test_a_deletion_that_waits_is_claimed_before_a_replay(desk: Desk, published: UUID) -> None:
    ask(desk, published)
    submit(desk, [7])
    assert claim(desk).kind is JobKind.UNLEARN
    assert claim(desk).kind is JobKind.REPLAY
