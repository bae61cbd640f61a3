"""Audits with shadow models: made by any worker, gathered once, never in a deletion's way, reused by later audits."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from app.dependencies import Caller
from app.unlearn import auditing
from app.unlearn.auditing_schemas import AuditIn
from core.clock import database_now
from core.ledger.tables import LedgerEntry
from core.requests import claims
from core.requests.claims import Lease
from core.requests.families import NEVER, release_complete
from core.requests.tables import Job
from core.states import JobKind, JobState
from models_store.recipes import Recipe, put_recipe
from models_store.registry import find_dataset
from models_store.shadows import KINDS, audits_of
from models_store.tables import Model
from tests.integration.worker.conftest import Desk
from tests.integration.worker.support import job_of, on_both
from tests.integration.worker.test_pipeline import STRICT, submit
from unlearning.evaluation.audit import ShadowRecord
from worker import jobs
from worker.retraining import shelf
from worker.retraining.training import train
from worker.shadows import courtesy, subject
from worker.shadows import job as shadow_job

RECIPE = Recipe.model_validate({
    "optimiser": {"name": "adamw"},
    "learning_rate": 5e-3,
    "weight_decay": 1e-2,
    "epochs": 8,
    "batch_size": 64,
    "schedule": {"name": "one-cycle"},
})
WHO = Caller("t", "key:test", frozenset({"admin"}))
MINUTES = timedelta(minutes=5)
AUDIT_TESTS = {"u_lira_auc", "rmia_auc", "klom", "klom_excess", "challenge_epsilon", "challenge_score"}
PROBLEM = {"slug": "runner-died", "title": "t", "detail": "d"}


@pytest.fixture
def finished(desk: Desk) -> UUID:
    """A request that was worked on to its end, of a model with a recipe."""
    with desk.database.writing() as session:
        put_recipe(session, session.get_one(Model, desk.model_id, with_for_update=True), RECIPE, actor="key:test")
    job_id = submit(desk, [3])
    assert work(desk) == jobs.DONE
    return job_id


def ask(desk: Desk, request_id: UUID, pairs: int, **body: Any) -> UUID:
    """An audit as the API would queue it."""
    with desk.database.writing() as session:
        made = auditing.start(
            session, WHO, request_id, AuditIn(pairs=pairs, **body), max_attempts=3, is_stored=desk.storage.exists
        )
        return made.job.id


def claim(desk: Desk) -> Lease:
    lease = claims.claim(desk.database, owner="w", ttl=MINUTES)
    assert lease is not None
    return lease


def work(desk: Desk, lease: Lease | None = None, *, must_stop: Callable[[], bool] = lambda: False) -> int:
    return jobs.run(lease or claim(desk), desk.settings, must_stop)


def work_off(desk: Desk) -> int:
    """Run whatever can be run; how many jobs that were."""
    done = 0
    while (lease := claims.claim(desk.database, owner="w", ttl=MINUTES)) is not None:
        assert jobs.run(lease, desk.settings, lambda: False) == jobs.DONE
        done += 1
    return done


def children(desk: Desk, audit_id: UUID) -> list[Job]:
    with desk.database.reading() as session:
        return list(session.execute(select(Job).where(Job.parent_job_id == audit_id).order_by(Job.seq)).scalars())


def finish_empty(desk: Desk, lease: Lease) -> None:
    """A shadow that ends without having trained anything: for tests of who waits for whom."""
    blob = desk.storage.put([b"no record"], 1 << 20)
    with desk.database.writing() as session:
        claims.finish(session, lease, JobState.COMPLETED, result={"record_sha256": blob.sha256})


def num_runnable(desk: Desk) -> int:
    with desk.database.reading() as session:
        return len(claims.runnable_jobs(session))


# ---------------------------------------------------------------------------------------------------------- whole audit


def test_an_audit_ends_with_every_measure_and_a_ledger_entry_of_the_request(desk: Desk, finished: UUID) -> None:
    audit_id = ask(desk, finished, 5, seed=7)
    assert work_off(desk) == 11
    audit = job_of(desk.database, audit_id)
    assert (audit.state, audit.percent, audit.problem) == (JobState.COMPLETED, 100, None)
    result = audit.result
    assert result is not None
    assert set(result["measures"]) >= AUDIT_TESTS | {"u_lira_released_auc", "rmia_released_auc"}
    assert (result["models"], result["missing"]) == ({"unlearned": 5, "retrained": 5}, {})
    for name in AUDIT_TESTS:
        measure = result["measures"][name]
        assert measure["low"] <= measure["value"] <= measure["high"]
        assert measure["n"] >= 80
        assert measure["seed"] == 7
    # Unlearned or never trained: both kinds still tell the other classes apart, or there would be nothing to compare.
    assert all(result["accuracies"][kind]["retain_accuracy"] > 0.8 for kind in KINDS)
    with desk.database.reading() as session:
        leaves = session.execute(select(LedgerEntry.leaf).where(LedgerEntry.request_id == finished)).scalars()
        told = [leaf for leaf in map(json.loads, leaves) if leaf["type"] == "request.audited"]
    (leaf,) = told
    assert leaf["data"]["audit"] == str(audit_id)
    assert set(leaf["data"]["measures"]) == AUDIT_TESTS
    assert leaf["data"]["recipe_sha256"] == RECIPE.sha256
    assert "digit 3" not in str(leaf)


def test_retrained_shadows_do_not_know_the_class_and_neither_do_the_unlearned(desk: Desk, finished: UUID) -> None:
    audit_id = ask(desk, finished, 2)
    for _ in range(4):
        work(desk)
    records = {}
    for job in children(desk, audit_id):
        assert job.result is not None
        record = ShadowRecord.load(desk.storage.path(job.result["record_sha256"]))
        records[record.population, record.index] = record
        hits = float((record.logits.argmax(axis=1) == 3).mean())
        assert hits < 0.3, (record.population, hits)
        assert set(record.labels) == set(record.z_labels) == {3}
    assert set(records) == {(kind, index) for kind in KINDS for index in range(2)}
    assert len({record.seed for record in records.values()}) == 4


def test_the_same_shadow_made_again_leaves_the_same_bytes(desk: Desk, finished: UUID) -> None:
    first = ask(desk, finished, 2)
    work_off(desk)
    digests = [job.result["record_sha256"] for job in children(desk, first) if job.result]
    for sha256 in digests:
        desk.storage.path(sha256).unlink()
    second = ask(desk, finished, 2)
    work_off(desk)
    again = [job.result["record_sha256"] for job in children(desk, second) if job.result]
    assert len(digests) == 4
    assert again == digests


def test_the_attack_succeeds_on_a_method_that_erases_nothing_and_fails_on_one_that_retrains(
    desk: Desk, finished: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_job, "_unlearn", lambda *_arguments: None)
    idle = _measures(desk, ask(desk, finished, 4, seed=1))
    trained_on = subject.Splits.trained_on
    monkeypatch.setattr(subject.Splits, "trained_on", lambda splits, _absent: trained_on(splits, [3]))
    equal = _measures(desk, ask(desk, finished, 4, seed=2))
    assert idle["u_lira_auc"]["low"] > 0.9
    assert equal["u_lira_auc"]["low"] <= 0.5 <= equal["u_lira_auc"]["high"]
    assert equal["rmia_auc"]["low"] <= 0.5 <= equal["rmia_auc"]["high"]
    assert equal["u_lira_auc"]["high"] < idle["u_lira_auc"]["low"]
    assert equal["challenge_epsilon"]["value"] < idle["challenge_epsilon"]["value"]
    assert equal["klom"]["value"] < idle["klom"]["value"]


def _measures(desk: Desk, audit_id: UUID) -> dict[str, Any]:
    work_off(desk)
    result = job_of(desk.database, audit_id).result
    assert result is not None
    measures: dict[str, Any] = result["measures"]
    return measures


# ----------------------------------------------------------------------------------------------------------- who waits


@on_both
def test_shadows_of_one_model_run_beside_each_other_and_the_audit_after_the_last(desk: Desk, finished: UUID) -> None:
    audit_id = ask(desk, finished, 2)
    assert job_of(desk.database, audit_id).not_before == NEVER
    leases = [claim(desk) for _ in range(4)]
    assert {lease.kind for lease in leases} == {JobKind.SHADOW}
    for lease in leases:
        assert num_runnable(desk) == 0
        finish_empty(desk, lease)
    assert claim(desk).job_id == audit_id


@on_both
def test_the_last_two_ending_at_once_release_the_audit(desk: Desk, finished: UUID) -> None:
    audit_id = ask(desk, finished, 2)
    leases = [claim(desk) for _ in range(4)]
    threads = [threading.Thread(target=finish_empty, args=(desk, lease)) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert job_of(desk.database, audit_id).not_before < NEVER


@on_both
def test_the_reaper_releases_an_audit_that_nobody_released(desk: Desk, finished: UUID) -> None:
    audit_id = ask(desk, finished, 2)
    assert release_complete(desk.database) == []
    for _ in range(4):
        finish_empty(desk, claim(desk))
    with desk.database.writing() as session:
        session.execute(update(Job).where(Job.id == audit_id).values(not_before=NEVER))
    assert num_runnable(desk) == 0
    claims.reap(desk.database, backoff=timedelta(0))
    assert num_runnable(desk) == 1
    assert release_complete(desk.database) == []


@on_both
def test_a_deletion_is_claimed_before_every_shadow(desk: Desk, finished: UUID) -> None:
    ask(desk, finished, 2)
    deletion = submit(desk, [5])
    assert claim(desk).job_id == deletion
    assert claim(desk).kind is JobKind.SHADOW


def test_a_running_shadow_makes_room_for_a_deletion_and_goes_on_where_it_stopped(
    desk: Desk, finished: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courtesy, "LOOK_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(courtesy, "WAITING_FOR", timedelta(0))
    ask(desk, finished, 2)
    lease = claim(desk)
    keep = shelf.Shelf.keep
    submitted: list[UUID] = []

    def submit_in_epoch_six(self: shelf.Shelf, epoch: int, take: Any) -> None:
        keep(self, epoch, take)
        if epoch == 6 and not submitted:
            submitted.append(submit(desk, [5]))

    monkeypatch.setattr(shelf.Shelf, "keep", submit_in_epoch_six)
    assert work(desk, lease) == jobs.DONE
    job = job_of(desk.database, lease.job_id)
    assert (job.state, job.attempt, job.problem) == (JobState.QUEUED, 0, None)
    assert claim(desk).job_id == submitted[0]
    resumed: list[int] = []

    def watched(*arguments: Any, **named: Any) -> Any:
        resumed.append(len(named["resume"].losses))
        return train(*arguments, **named)

    monkeypatch.setattr(shadow_job, "train", watched)
    assert work(desk) == jobs.DONE
    assert job_of(desk.database, lease.job_id).state == JobState.COMPLETED
    assert resumed == [shelf.KEEP_EVERY_EPOCHS]


def test_only_the_youngest_shadow_makes_room_for_one_deletion(
    desk: Desk, finished: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courtesy, "WAITING_FOR", timedelta(0))
    ask(desk, finished, 2)
    older, younger = claim(desk), claim(desk)
    looks = [courtesy.Courtesy(desk.database, lease) for lease in (older, younger)]
    assert [look.is_due() for look in looks] == [False, False]
    submit(desk, [5])
    assert [look.is_due() for look in looks] == [False, True]
    claim(desk)
    assert [look.is_due() for look in looks] == [False, False]


# --------------------------------------------------------------------------------------------------- failed and missing


def test_too_few_shadows_leave_the_measures_inconclusive_with_the_reason(desk: Desk, finished: UUID) -> None:
    audit_id = ask(desk, finished, 2)
    for _ in range(3):  # the first shadow dies in each of its attempts
        lease = claims.claim(desk.database, owner="w", ttl=MINUTES, only=children(desk, audit_id)[0].id)
        assert lease is not None
        claims.attempt_failed(desk.database, lease, PROBLEM, backoff=timedelta(0))
    assert children(desk, audit_id)[0].state == JobState.FAILED
    work_off(desk)
    audit = job_of(desk.database, audit_id)
    assert (audit.state, audit.problem) == (JobState.COMPLETED, None)
    assert audit.result is not None
    assert (audit.result["models"], audit.result["missing"]) == (
        {"unlearned": 1, "retrained": 2},
        {"unlearned 0": "runner-died"},
    )
    assert set(audit.result["measures"]) & AUDIT_TESTS == set()
    assert set(audit.result["inconclusive"]) >= AUDIT_TESTS
    assert "at least 4" in audit.result["inconclusive"]["klom"]


def test_an_audit_without_a_single_shadow_is_inconclusive_too(desk: Desk, finished: UUID) -> None:
    audit_id = ask(desk, finished, 2)
    for _ in range(4):
        finish_empty(desk, claim(desk))  # what they leave is no record
    assert work(desk) == jobs.DONE
    result = job_of(desk.database, audit_id).result
    assert result is not None
    assert set(result["inconclusive"]) == AUDIT_TESTS
    assert set(result["missing"].values()) == {"its record is gone or damaged"}


def test_a_dead_workers_shadow_comes_back_under_a_new_fence_and_the_old_one_writes_nothing(
    desk: Desk, finished: UUID
) -> None:
    ask(desk, finished, 2)
    lost = claim(desk)
    with desk.database.writing() as session:
        past = database_now(session) - timedelta(seconds=1)
        session.execute(update(Job).where(Job.id == lost.job_id).values(lease_until=past))
    assert claims.reap(desk.database, backoff=timedelta(0)) == [lost.job_id]
    before = job_of(desk.database, lost.job_id).revision
    assert work(desk, lost) == jobs.DONE  # it notices that the job is no longer its own
    job = job_of(desk.database, lost.job_id)
    assert (job.state, job.result, job.revision) == (JobState.QUEUED, None, before)
    again = claim(desk)
    assert (again.job_id, again.fence) == (lost.job_id, lost.fence + 2)


def test_a_shadow_refuses_other_images_than_the_request_worked_on(desk: Desk, finished: UUID) -> None:
    audit_id = ask(desk, finished, 2)
    path = desk.storage.path(_train_file(desk))
    path.chmod(0o600)
    path.write_bytes(path.read_bytes() + b"!")
    work(desk)
    (failed,) = [job for job in children(desk, audit_id) if job.state == JobState.FAILED]
    assert failed.problem is not None
    assert failed.problem["slug"] == "stored-digest-mismatch"


def _train_file(desk: Desk) -> str:
    with desk.database.reading() as session:
        sources = find_dataset(session, "t", "digits").sources
        return next(str(source.sha256) for source in sources if source.split == "train")


# -------------------------------------------------------------------------------------------- again, and not at all


def test_a_second_audit_with_more_pairs_trains_only_the_missing_ones(desk: Desk, finished: UUID) -> None:
    ask(desk, finished, 2, seed=3)
    assert work_off(desk) == 5
    second = ask(desk, finished, 4)  # the seed is that of the first
    assert len(children(desk, second)) == 4
    assert work_off(desk) == 5
    audit = job_of(desk.database, second)
    assert audit.result is not None
    assert audit.result["models"] == {"unlearned": 4, "retrained": 4}
    assert set(audit.result["measures"]) >= AUDIT_TESTS
    third = ask(desk, finished, 3)
    assert children(desk, third) == []
    assert work_off(desk) == 1
    fourth = ask(desk, finished, 2, seed=4)
    assert len(children(desk, fourth)) == 4


def test_another_recipe_makes_other_shadows(desk: Desk, finished: UUID) -> None:
    ask(desk, finished, 2)
    for _ in range(4):
        finish_empty(desk, claim(desk))
    work(desk)
    changed = RECIPE.model_copy(update={"epochs": 9})
    with desk.database.writing() as session:
        put_recipe(session, session.get_one(Model, desk.model_id, with_for_update=True), changed, actor="key:test")
    assert len(children(desk, ask(desk, finished, 2))) == 4


@on_both
def test_cancelling_withdraws_the_waiting_at_once_and_the_running_soon(desk: Desk, finished: UUID) -> None:
    audit_id = ask(desk, finished, 2)
    finish_empty(desk, claim(desk))
    running = claim(desk)
    with desk.database.writing() as session:
        auditing.cancel(session, WHO, finished)
    assert job_of(desk.database, audit_id).state == JobState.CANCELLED
    assert claims.heartbeat(desk.database, running, ttl=MINUTES)
    states = [job.state for job in children(desk, audit_id)]
    assert states == [JobState.COMPLETED, JobState.RUNNING, JobState.CANCELLED, JobState.CANCELLED]
    with desk.database.writing() as session:
        claims.finish(session, running, JobState.CANCELLED)
    assert num_runnable(desk) == 0
    again = ask(desk, finished, 2)
    assert len(children(desk, again)) == 3  # what was finished stays


@on_both
def test_cancelling_while_shadows_end_locks_nobody_out(desk: Desk, finished: UUID) -> None:
    audit_id = ask(desk, finished, 6)
    leases = [claim(desk) for _ in range(6)]
    broken: list[BaseException] = []

    def finish_all() -> None:
        try:
            for lease in leases:
                finish_empty(desk, lease)
        except BaseException as error:  # noqa: BLE001 reported by the test's own thread
            broken.append(error)

    thread = threading.Thread(target=finish_all)
    thread.start()
    with desk.database.writing() as session:
        auditing.cancel(session, WHO, finished)
    thread.join()
    assert broken == []
    assert job_of(desk.database, audit_id).state == JobState.CANCELLED
    with desk.database.reading() as session:
        live = select(func.count()).where(Job.parent_job_id == audit_id, Job.state.in_(["queued", "running"]))
        assert session.execute(live).scalar_one() == 0


def test_a_rejected_request_can_be_audited_as_well(desk: Desk) -> None:
    with desk.database.writing() as session:
        put_recipe(session, session.get_one(Model, desk.model_id, with_for_update=True), RECIPE, actor="key:test")
    job_id = submit(desk, [3], policy=STRICT)
    work(desk)
    assert job_of(desk.database, job_id).state == JobState.REJECTED
    ask(desk, job_id, 2)
    assert work(desk) == jobs.DONE
    with desk.database.reading() as session:
        assert len(audits_of(session, job_id)) == 1


def test_a_shadow_that_is_told_to_stop_stops(desk: Desk, finished: UUID) -> None:
    ask(desk, finished, 2)
    lease = claim(desk)
    assert work(desk, replace(lease), must_stop=lambda: True) == jobs.STOPPED
    assert job_of(desk.database, lease.job_id).state == JobState.RUNNING
