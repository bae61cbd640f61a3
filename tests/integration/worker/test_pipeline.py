"""The pipeline on a classifier that has learned: what is published, what is not, and what a second attempt repeats."""

import errno
import secrets
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from core.db.session import Database
from core.ledger.tables import LedgerEntry
from core.policy.policies import STANDARD, Margin, Policy, TestName
from core.requests import claims
from core.requests.claims import Lease
from core.requests.repository import enqueue
from core.requests.spec import Method, UnlearnSpec
from core.requests.tables import Job, JobStep, UnlearnRequest
from core.states import JobKind, JobState, Step
from models_store.registry import forgotten_classes
from models_store.storage import BlobWriter
from models_store.tables import DatasetSource, Model, ModelVersion
from tests.integration.worker.conftest import LABELS, Desk
from tests.integration.worker.support import job_of, on_both
from tests.processes import Processes, Started, expunge_env
from worker import jobs
from worker.pipeline import materials, publish, runner
from worker.supervisor import Supervisor

LENIENT = Policy(name="lenient", version=1, deciding={TestName.FORGET_ACCURACY_TEST: Margin(at_most=0.5)})
"""Decides by one wide margin, so that tests of publishing do not depend on how well a small network forgets."""
STRICT = Policy(name="strict", version=1, deciding={TestName.FORGET_ACCURACY_TEST: Margin(at_most=0.0)})
"""No finite number of images can meet it."""
GIVEN = Method(alpha_r=100.0, alpha_f=30.0, num_samples=300, max_rows=2000)


def submit(
    desk: Desk, classes: list[int], *, policy: Policy = LENIENT, method: Method = GIVEN, seed: int = 0, **more: Any
) -> UUID:
    spec = UnlearnSpec(
        model="digits",
        version=None,
        alias=None,
        class_indices=classes,
        dataset="digits",
        method=method,
        seed=seed,
        policy=policy,
    ).model_copy(update=more)
    request = UnlearnRequest(
        tenant="t",
        actor="key:test",
        model_name="digits",
        dataset_name="digits",
        class_indices=classes,
        class_labels=[LABELS[index] for index in classes],
        policy_name=policy.name,
        received_on=date(2026, 1, 2),
        commitment_key=secrets.token_bytes(32),
    )
    with desk.database.writing() as session:
        return enqueue(
            session,
            JobKind.UNLEARN,
            tenant="t",
            actor="key:test",
            spec=spec.model_dump(mode="json"),
            max_attempts=3,
            model_id=desk.model_id,
            request=request,
        ).id


def claim(desk: Desk) -> Lease:
    lease = claims.claim(desk.database, owner="w", ttl=timedelta(minutes=5))
    assert lease is not None
    return lease


def work(desk: Desk, lease: Lease | None = None, *, must_stop: Callable[[], bool] = lambda: False) -> int:
    """Run one job in this process."""
    return jobs.run(lease or claim(desk), desk.settings, must_stop)


def versions_of(database: Database) -> list[ModelVersion]:
    with database.reading() as session:
        return list(session.execute(select(ModelVersion).order_by(ModelVersion.number)).unique().scalars())


def gone(desk: Desk) -> dict[int, UUID]:
    with desk.database.reading() as session:
        return forgotten_classes(session, session.get_one(Model, desk.model_id))


@on_both
def test_a_passed_verdict_publishes_one_version_with_everything_that_belongs_to_it(desk: Desk) -> None:
    job_id = submit(desk, [3])
    assert work(desk) == jobs.DONE
    job, (base, version) = job_of(desk.database, job_id), versions_of(desk.database)
    assert (job.state, job.percent, job.problem) == (JobState.PUBLISHED, 100, None)
    assert (version.number, version.parent_version_id, version.job_id) == (2, base.id, job_id)
    assert (version.forgotten, version.fence, version.state) == ([3], 1, "ready")
    assert gone(desk) == {3: job_id}
    assert job.result is not None
    assert job.result["new_version"] == 2
    assert job.result["artifact_sha256"] == version.artifact_sha256 != base.artifact_sha256
    desk.storage.verify(version.artifact_sha256)
    assert version.manifest is not None
    assert version.manifest["parent_sha256"] == base.artifact_sha256
    assert all("digit" not in text for text in version.manifest["classes"])
    with desk.database.reading() as session:
        request = session.get_one(UnlearnRequest, job_id)
        assert (request.base_version_id, request.new_version_id) == (base.id, version.id)
        assert {row.step for row in session.execute(select(JobStep)).scalars()} == {step.value for step in Step}
        leaves = [bytes(leaf) for leaf in session.execute(select(LedgerEntry.leaf).order_by(LedgerEntry.seq)).scalars()]
    assert not any(b"digit 3" in leaf for leaf in leaves)
    assert any(version.artifact_sha256.encode() in leaf and b'"published"' in leaf for leaf in leaves)


def test_the_original_knows_the_class_and_the_published_version_does_not(desk: Desk) -> None:
    job_id = submit(desk, [3])
    work(desk)
    result = job_of(desk.database, job_id).result
    assert result is not None
    before, after = result["measures"]["original"], result["measures"]["unlearned"]
    assert before["forget_accuracy_test"]["value"] > 0.85
    assert after["forget_accuracy_test"]["value"] < 0.2
    assert after["retain_accuracy_test"]["value"] > before["retain_accuracy_test"]["value"] - 0.2
    assert set(before) <= set(after)
    assert after["per_class_accuracy_test"][3] == after["forget_accuracy_test"]["value"]
    for name, measure in after.items():
        if isinstance(measure, dict):
            assert "problem" not in measure, name
            assert measure["low"] is None or measure["low"] <= measure["value"] <= measure["high"], name


def test_alphas_are_chosen_when_none_are_given(desk: Desk) -> None:
    job_id = submit(desk, [3], method=Method(num_samples=300, max_rows=2000))
    work(desk)
    result = job_of(desk.database, job_id).result
    assert result is not None
    assert result["method"]["chosen"] is True
    assert len(result["method"]["table"]) > 1
    assert result["samples"]["validation"] > 0


@pytest.mark.parametrize("policy", [STRICT, STANDARD.tightened({TestName.RETAIN_ACCURACY_DROP: Margin(at_most=-0.9)})])
def test_a_verdict_that_does_not_pass_ends_rejected_with_all_measures_and_no_version(
    desk: Desk, policy: Policy
) -> None:
    job_id = submit(desk, [3], policy=policy)
    assert work(desk) == jobs.DONE
    job = job_of(desk.database, job_id)
    assert job.state == JobState.REJECTED
    assert job.result is not None
    assert job.result["verdict"]["outcome"] in {"fail", "inconclusive"}
    assert "new_version" not in job.result
    assert "membership_auc" in job.result["measures"]["unlearned"]
    assert len(versions_of(desk.database)) == 1
    assert gone(desk) == {}


@on_both
def test_two_queued_requests_for_two_classes_end_with_both_gone(desk: Desk) -> None:
    first, second = submit(desk, [3]), submit(desk, [7])
    work(desk)
    work(desk)
    versions = versions_of(desk.database)
    assert [version.forgotten for version in versions] == [[], [3], [3, 7]]
    assert versions[2].parent_version_id == versions[1].id
    assert gone(desk) == {3: first, 7: second}
    result = job_of(desk.database, second).result
    assert result is not None
    per_class = result["measures"]["unlearned"]["per_class_accuracy_test"]
    assert max(per_class[3], per_class[7]) < 0.2


def test_a_fresh_upload_that_still_knows_a_deleted_class_loses_it_too(desk: Desk) -> None:
    submit(desk, [3])
    work(desk)
    with desk.database.writing() as session:
        session.execute(update(ModelVersion).where(ModelVersion.number == 2).values(forgotten=[]))
        session.execute(update(ModelVersion).where(ModelVersion.number == 2).values(artifact_sha256=_base(desk)))
    job_id = submit(desk, [7])
    work(desk)
    result = job_of(desk.database, job_id).result
    assert result is not None
    assert result["forgotten"] == [3, 7]
    per_class = result["measures"]["unlearned"]["per_class_accuracy_test"]
    assert max(per_class[3], per_class[7]) < 0.3


def _base(desk: Desk) -> str:
    return versions_of(desk.database)[0].artifact_sha256


def test_a_class_that_left_the_model_while_the_request_waited_is_refused_once_and_for_all(desk: Desk) -> None:
    first, second = submit(desk, [3]), submit(desk, [3])
    work(desk)
    work(desk)
    assert job_of(desk.database, first).state == JobState.PUBLISHED
    job = job_of(desk.database, second)
    assert (job.state, job.attempt) == (JobState.FAILED, 1)
    assert job.problem is not None
    assert job.problem["slug"] == "already-deleted"


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(desk: Desk) -> None:
    chosen = Method(num_samples=200, max_rows=500)
    ids = [submit(desk, [3], policy=STRICT, method=chosen, seed=seed) for seed in (5, 5, 6)]
    for _ in ids:
        work(desk)
    results = [job_of(desk.database, job_id).result for job_id in ids]
    digests = [result and result["artifact_sha256"] for result in results]
    assert digests[0] == digests[1] != digests[2]


@on_both
def test_an_old_fence_publishes_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = submit(desk, [3])
    lease = claim(desk)
    publish_now = publish.publish

    def paused(*args: Any) -> None:
        """As if the process had slept through its lease just before publishing."""
        with desk.database.writing() as session:
            session.execute(update(Job).where(Job.id == job_id).values(fence=Job.fence + 1))
        publish_now(*args)

    monkeypatch.setattr(publish, "publish", paused)
    assert work(desk, lease) == jobs.DONE
    assert len(versions_of(desk.database)) == 1
    assert gone(desk) == {}
    job = job_of(desk.database, job_id)
    assert (job.state, job.result) == (JobState.RUNNING, None)


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (Step.VERIFY, ["load", "unlearn", "verify", "load", "verify", "package"]),
        (Step.PACKAGE, ["load", "unlearn", "verify", "package", "load", "package"]),
    ],
)
def test_a_second_attempt_goes_on_after_the_last_finished_step(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, broken: Step, expected: list[str]
) -> None:
    job_id = submit(desk, [3])
    ran = _count_steps(monkeypatch)
    _fail_once(monkeypatch, broken)
    assert work(desk) == jobs.BROKEN
    job = job_of(desk.database, job_id)
    assert (job.state, job.problem and job.problem["slug"]) == (JobState.QUEUED, "unexpected-error")
    assert "secret" not in str(job.problem)
    assert work(desk) == jobs.DONE
    assert job_of(desk.database, job_id).state == JobState.PUBLISHED
    assert ran == expected


@pytest.mark.parametrize("damage", ["record", "blob"])
def test_a_damaged_record_or_blob_is_made_again(desk: Desk, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    submit(desk, [3])
    ran = _count_steps(monkeypatch)
    _fail_once(monkeypatch, Step.VERIFY)
    work(desk)
    with desk.database.writing() as session:
        row = session.execute(select(JobStep).where(JobStep.step == "unlearn")).scalar_one()
        path = desk.storage.path(row.output["output"]["sha256"])
        if damage == "record":
            row.output = {**row.output, "output": {**row.output["output"], "size_bytes": 1}}
    if damage == "blob":
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert work(desk) == jobs.DONE
    assert ran == ["load", "unlearn", "verify", "load", "unlearn", "verify", "package"]
    desk.storage.verify(versions_of(desk.database)[1].artifact_sha256)


def test_a_step_is_not_skipped_when_the_base_has_changed_between_attempts(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = submit(desk, [7])
    ran = _count_steps(monkeypatch)
    _fail_once(monkeypatch, Step.VERIFY)
    work(desk)
    created = job_of(desk.database, waiting).created_at
    _put_off(desk, waiting, until=created + timedelta(hours=1))
    other = submit(desk, [3])
    work(desk)
    assert gone(desk) == {3: other}
    _put_off(desk, waiting, until=created)
    ran.clear()
    work(desk)
    assert ran == ["load", "unlearn", "verify", "package"]
    assert versions_of(desk.database)[-1].forgotten == [3, 7]


def _put_off(desk: Desk, job_id: UUID, *, until: datetime) -> None:
    with desk.database.writing() as session:
        session.execute(update(Job).where(Job.id == job_id).values(not_before=until))


def test_a_measure_that_breaks_is_inconclusive_and_not_a_crash(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from worker.pipeline.verification import outputs

    def broken(*_args: object, **_more: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(outputs, "membership_auc", broken)
    job_id = submit(desk, [3], policy=STANDARD)
    work(desk)
    job = job_of(desk.database, job_id)
    assert job.state == JobState.REJECTED
    assert job.result is not None
    tests = {test["name"]: test for test in job.result["verdict"]["tests"]}
    assert tests["membership_auc"]["outcome"] == "inconclusive"
    assert "ZeroDivisionError" in tests["membership_auc"]["problem"]
    assert tests["forget_accuracy_test"]["value"] is not None


def test_a_job_asked_to_stop_stops_between_batches_and_leaves_no_final_state(desk: Desk) -> None:
    job_id = submit(desk, [3])
    calls = iter(range(1000))
    assert work(desk, must_stop=lambda: next(calls) > 5) == jobs.STOPPED
    assert job_of(desk.database, job_id).state == JobState.RUNNING
    assert len(versions_of(desk.database)) == 1


def test_a_full_disk_fails_the_attempt_in_words_and_the_next_one_publishes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit(desk, [3])
    with monkeypatch.context() as patch:

        def full(*_args: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(BlobWriter, "write", full)
        assert work(desk) == jobs.BROKEN
    job = job_of(desk.database, job_id)
    assert (job.state, job.problem and job.problem["slug"]) == (JobState.QUEUED, "disk-full")
    assert len(versions_of(desk.database)) == 1
    assert not list(desk.settings.artifacts_dir.glob("tmp/*"))
    work(desk)
    assert job_of(desk.database, job_id).state == JobState.PUBLISHED


def test_a_missing_gpu_is_refused_once_and_in_words(desk: Desk) -> None:
    job_id = submit(desk, [3])
    lease = claim(desk)
    assert jobs.run(lease, desk.settings.model_copy(update={"device": "cuda"}), lambda: False) == jobs.DONE
    job = job_of(desk.database, job_id)
    assert (job.state, job.attempt, job.problem and job.problem["slug"]) == (JobState.FAILED, 1, "device-missing")


def test_a_file_of_the_operator_that_changes_while_it_is_read_is_noticed(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with desk.database.writing() as session:
        for row in session.execute(select(DatasetSource)).scalars():
            (tmp_path / f"{row.split}.npz").write_bytes(desk.storage.path(str(row.sha256)).read_bytes())
            row.path = f"{row.split}.npz"
    desk = replace(desk, settings=desk.settings.model_copy(update={"dataset_root": tmp_path}))
    job_id = submit(desk, [3])
    read = materials.Blueprint.images

    def changed(*args: Any) -> Any:
        found = read(*args)
        if args[2] == "test":
            (tmp_path / "test.npz").write_bytes(b"others")
        return found

    monkeypatch.setattr(materials.Blueprint, "images", changed)
    work(desk)
    job = job_of(desk.database, job_id)
    assert (job.state, job.problem and job.problem["slug"]) == (JobState.FAILED, "stored-digest-mismatch")


def test_damaged_weights_fail_the_job_without_another_attempt(desk: Desk) -> None:
    path = desk.storage.path(_base(desk))
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    job_id = submit(desk, [3])
    work(desk)
    job = job_of(desk.database, job_id)
    assert (job.state, job.attempt) == (JobState.FAILED, 1)
    assert job.problem is not None
    assert job.problem["slug"] == "stored-digest-mismatch"


def test_the_real_process_runs_a_job_from_claim_to_publication(desk: Desk) -> None:
    job_id = submit(desk, [3])
    settings = desk.settings.model_copy(update={"keep_runner_warm": True, "lease_ttl": timedelta(seconds=30)})
    supervisor = Supervisor(desk.database, settings)
    supervisor.warm_up()
    assert supervisor.run_next()
    supervisor.close()
    job = job_of(desk.database, job_id)
    assert (job.state, job.attempt, job.problem) == (JobState.PUBLISHED, 1, None)
    again = submit(desk, [4], policy=STRICT)
    work(desk)
    assert job_of(desk.database, again).state == JobState.REJECTED


@on_both
def test_killing_the_whole_worker_in_the_middle_of_a_job_ends_in_exactly_one_version(
    desk: Desk, processes: Processes
) -> None:
    job_id = submit(desk, [3], method=Method(num_samples=300, max_rows=2000))
    first = start_worker(desk, processes)
    first.wait_for(lambda: job_of(desk.database, job_id).step == "unlearn", seconds=60, what="the job to be at work")
    first.kill_group()
    second = start_worker(desk, processes)
    second.wait_for(
        lambda: job_of(desk.database, job_id).finished_at is not None, seconds=120, what="the job to be finished"
    )
    job = job_of(desk.database, job_id)
    assert (job.state, job.attempt, job.fence) == (JobState.PUBLISHED, 2, 3)
    assert [version.job_id for version in versions_of(desk.database)] == [None, job_id]
    assert second.stop() == 0


def start_worker(desk: Desk, processes: Processes) -> Started:
    env = expunge_env(
        database_url=desk.settings.database_url,
        data_dir=desk.settings.data_dir,
        EXPUNGE_LEASE_TTL="6",
        EXPUNGE_HEARTBEAT_INTERVAL="0.5",
        EXPUNGE_REAP_INTERVAL="0.5",
    )
    program = "from core.settings import get_settings; from worker.embedded import run; run(get_settings())"
    return processes.start("worker", [sys.executable, "-c", program], env)


def _count_steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    ran: list[str] = []

    def counted(step: Step, action: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def run(context: Any) -> Any:
            ran.append(step.value)
            return action(context)

        return run

    steps = tuple((step, counted(step, action), kind) for step, action, kind in runner.STEPS)
    monkeypatch.setattr(runner, "STEPS", steps)
    return ran


def _fail_once(monkeypatch: pytest.MonkeyPatch, which: Step) -> None:
    failures = iter([KeyError("secret internals")])

    def failing(action: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def run(context: Any) -> Any:
            output = action(context)
            for failure in failures:
                raise failure
            return output

        return run

    steps = tuple((step, failing(action) if step is which else action, kind) for step, action, kind in runner.STEPS)
    monkeypatch.setattr(runner, "STEPS", steps)
