"""A purge after a real deletion: what is gone from the store, what stays and why, and what a killed one leaves."""

import hashlib
import io
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import select, update

from core.clock import database_now
from core.ledger.tables import LedgerEntry
from core.requests import claims
from core.requests.repository import enqueue
from core.requests.tables import Job, UnlearnRequest
from core.states import JobKind, JobState, VersionState
from models_store.lineage.consequences import consequences_of
from models_store.registry import add_version
from models_store.storage import LocalStorage
from models_store.tables import Dataset, Model
from tests.integration.app.api import Api
from tests.integration.worker.conftest import ARCHITECTURE, LABELS, OPTIONS, SPEC, Desk, Learned
from tests.integration.worker.support import job_of, on_both, quick_settings
from tests.integration.worker.test_pipeline import STRICT, claim, submit, versions_of, work

FORGOTTEN = 3


class Killed(BaseException):
    """What no handler catches, as SIGKILL."""


def desk_with(desk: Desk, **options: Any) -> Desk:
    return replace(desk, settings=quick_settings(desk.settings.database_url, desk.settings.data_dir, **options))


def api_of(desk: Desk, **options: Any) -> Api:
    return Api(desk.settings.database_url, desk.settings.data_dir, purge_after=timedelta(0), **options)


def deleted(desk: Desk, *, after_a_rejection: bool = False) -> UUID:
    """A published deletion with prototypes, and a rejected attempt before it if asked for."""
    allowed = desk_with(desk, guard_prototypes=True)
    if after_a_rejection:
        submit(desk, [FORGOTTEN], policy=STRICT)
        work(allowed)
    job_id = submit(desk, [FORGOTTEN], seed=1)
    work(allowed)
    assert job_of(desk.database, job_id).state == JobState.PUBLISHED
    return job_id


def ask(api: Api, request: UUID) -> UUID:
    answer = api.with_key("purge", "requests:read", tenant="t").post(f"/unlearn/{request}/purge")
    assert answer.status_code == 202, answer.text
    return UUID(answer.json()["id"])


def stored(desk: Desk) -> dict[str, int]:
    files = (desk.settings.artifacts_dir / "sha256").glob("*/*")
    return {file.name: file.stat().st_size for file in files}


def listing_of(blobs: dict[str, int]) -> str:
    """The listing's digest, computed here once more."""
    return hashlib.sha256("".join(f"{name} {size}\n" for name, size in sorted(blobs.items())).encode()).hexdigest()


def outcomes(result: dict[str, Any]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one in result["targets"]:
        found.setdefault(one["kind"], set()).add(one["outcome"])
    return found


def arrays(desk: Desk, split: str) -> tuple[np.ndarray, np.ndarray]:
    with desk.database.reading() as session:
        dataset = session.execute(select(Dataset)).scalar_one()
        (sha256,) = [one.sha256 for one in dataset.sources if one.split == split]
    with np.load(desk.storage.path(str(sha256)), allow_pickle=False) as found:  # noqa: TID251 the oracle
        return found["x"], found["y"]


@on_both
def test_everything_that_holds_the_class_is_gone_and_the_listing_proves_it(desk: Desk, learned: Learned) -> None:
    request, before = deleted(desk, after_a_rejection=True), stored(desk)
    api = api_of(desk)
    purge = ask(api, request)
    work(desk)
    job = job_of(desk.database, purge)
    assert (job.state, job.problem) == (JobState.COMPLETED, None)
    assert job.result is not None
    assert outcomes(job.result) == {
        "version": {"removed"},
        "rejected-candidate": {"removed"},
        "prototypes": {"removed"},
        "images": {"removed"},
    }
    after = stored(desk)
    gone = set(before) - set(after)
    assert gone == set(job.result["absent"])
    assert {hashlib.sha256(content).hexdigest() for content in vars(learned).values()} <= gone
    assert (job.result["listing_before"]["sha256"], job.result["listing_after"]["sha256"]) == (
        listing_of(before),
        listing_of(after),
    )
    for split, content in (("train", learned.train), ("test", learned.test)):
        with np.load(io.BytesIO(content), allow_pickle=False) as whole:  # noqa: TID251 the oracle
            x, y = whole["x"], whole["y"]
        left_x, left_y = arrays(desk, split)
        assert (y == FORGOTTEN).any()
        np.testing.assert_array_equal(left_y, y[y != FORGOTTEN])
        np.testing.assert_array_equal(left_x, x[y != FORGOTTEN])
    assert [one.state for one in versions_of(desk.database)] == [VersionState.PURGED, VersionState.READY]

    reader = api.with_key("artifacts:read", "break-glass", "models:write", "requests:submit", tenant="t")
    path = "/models/digits/versions/1"
    for answer in (
        reader.get(f"{path}/artifact"),
        reader.post(f"{path}/break-glass", json={"reason": "I need it very much."}),
        reader.put("/models/digits/weights", content=learned.weights),
    ):
        assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (410, "model-purged"), answer.text
        assert answer.json()["successor"]["version"] == 2
    assert reader.post(f"/unlearn/{request}/replay").status_code == 410
    assert stored(desk) == after  # the refused upload left nothing behind

    with desk.database.reading() as session:
        told = consequences_of(session, "t", request).as_json()
        query = select(LedgerEntry.type, LedgerEntry.leaf).where(LedgerEntry.request_id == request)
        leaves = list(session.execute(query.order_by(LedgerEntry.seq)).all())
    assert [one["id"] for one in told["purges"]] == [str(purge)]
    assert told["quarantined"][0]["state"] == "purged"
    kinds = [kind for kind, _ in leaves]
    assert kinds[-4:] == ["purge.begun", "dataset.reduced", "dataset.reduced", "purge.finished"]
    assert not any(b"digit 3" in bytes(leaf) for _, leaf in leaves)
    api.resources.close()

    # The model and its data set are still good for the next deletion.
    later = submit(desk, [7])
    work(desk)
    assert job_of(desk.database, later).state == JobState.PUBLISHED, job_of(desk.database, later).problem


def test_before_the_retention_period_is_over_the_refusal_names_the_day(desk: Desk) -> None:
    request = deleted(desk)
    api = Api(desk.settings.database_url, desk.settings.data_dir)
    answer = api.with_key("purge", tenant="t").post(f"/unlearn/{request}/purge")
    published = versions_of(desk.database)[-1].created_at
    day = (published + timedelta(days=30)).date().isoformat()
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (409, "retention-not-over")
    assert day in answer.json()["detail"]
    assert api.with_key("requests:submit", tenant="t").post(f"/unlearn/{request}/purge").status_code == 403
    assert api.with_key("purge", tenant="other").post(f"/unlearn/{request}/purge").status_code == 404
    api.resources.close()


def test_only_a_published_request_is_purged_and_one_purge_at_a_time(desk: Desk) -> None:
    waiting = submit(desk, [5])
    api = api_of(desk)
    client = api.with_key("purge", "requests:read", tenant="t")
    assert client.post(f"/unlearn/{waiting}/purge").status_code == 409
    assert client.get(f"/unlearn/{waiting}/purge").json()["type"].rpartition(":")[2] == "unknown-purge"
    work(desk)
    ask(api, waiting)
    again = client.post(f"/unlearn/{waiting}/purge")
    assert again.json()["type"].rpartition(":")[2] == "purge-running"
    assert client.get(f"/unlearn/{waiting}/purge").json()["state"] == "queued"
    api.resources.close()


@pytest.mark.parametrize("at", ["first byte", "after the new images", "before the end"])
def test_a_killed_purge_is_gone_on_with_and_ends_the_same(desk: Desk, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    request, before = deleted(desk), stored(desk)
    api = api_of(desk)
    purge = ask(api, request)
    api.resources.close()
    calls = {"first byte": 1, "after the new images": 3, "before the end": 99}[at]
    real, count = LocalStorage.remove, 0

    def remove(self: LocalStorage, sha256: str) -> bool:
        nonlocal count
        count += 1
        if count == calls:
            raise Killed
        return real(self, sha256)

    def end(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "remove", remove)
        if calls == 99:
            patch.setattr("worker.purging.job._end", end)
        with pytest.raises(Killed):
            work(desk)
    # Whatever is left, callers get none of it: the intent came first.
    assert versions_of(desk.database)[0].state == VersionState.PURGED
    with desk.database.writing() as session:
        session.execute(update(Job).where(Job.id == purge).values(lease_until=database_now(session) - timedelta(1)))
    claims.reap(desk.database, backoff=timedelta(0))
    lease = claim(desk)
    assert (lease.job_id, lease.attempt) == (purge, 2)
    work(desk, lease)
    job = job_of(desk.database, purge)
    assert job.state == JobState.COMPLETED
    assert job.result is not None
    assert outcomes(job.result)["images"] == {"removed"}
    assert set(before) - set(stored(desk)) == set(job.result["absent"])
    assert job.result["listing_before"]["sha256"] == listing_of(before)
    assert not (arrays(desk, "train")[1] == FORGOTTEN).any()
    with desk.database.reading() as session:
        kinds = list(session.execute(select(LedgerEntry.type).order_by(LedgerEntry.seq)).scalars())
    assert (kinds.count("purge.begun"), kinds.count("dataset.reduced"), kinds.count("purge.finished")) == (1, 2, 1)


def test_what_somebody_still_needs_stays_and_is_said(desk: Desk, learned: Learned) -> None:
    request = deleted(desk)
    original = hashlib.sha256(learned.weights).hexdigest()
    with desk.database.writing() as session:
        now = database_now(session)
        common = {"architecture": ARCHITECTURE, "architecture_options": OPTIONS, "labels": LABELS, "created_at": now}
        common |= {"actor": "key:test", "input_spec": SPEC.model_dump(mode="json"), "last_version": 0}
        theirs = Model(tenant="other", name="digits", **common)
        ours = Model(tenant="t", name="another", **common)
        session.add_all([theirs, ours])
        session.flush()
        for model, sha256 in ((theirs, original), (ours, "ab" * 32)):
            add_version(
                session, model, actor="key:test", state=VersionState.READY, artifact_sha256=sha256, size_bytes=1
            )
        # `another` has nothing to do with `digits`, but a request of it named the data set.
        copied = session.get_one(UnlearnRequest, request)
    submit(desk, [8], model="another")
    with desk.database.writing() as session:
        session.execute(
            update(UnlearnRequest).where(UnlearnRequest.job_id != copied.job_id, UnlearnRequest.class_indices == [8])
            .values(model_name="another")
        )  # fmt: skip
        session.execute(
            update(Job).where(Job.state == JobState.QUEUED).values(state=JobState.CANCELLED, model_id=ours.id)
        )
    api = api_of(desk)
    purge = ask(api, request)
    api.resources.close()
    work(desk)
    result = job_of(desk.database, purge).result
    assert result is not None
    reasons = {one["kind"]: one["why"] for one in result["targets"] if one["outcome"] == "stays"}
    assert reasons == {
        "version": "another tenant has the same bytes",
        "images": "model 'another' was worked on with it and still has the class",
    }
    assert original in stored(desk)
    assert original not in result["absent"]
    assert versions_of(desk.database)[0].state == VersionState.QUARANTINED


def test_an_open_job_of_the_model_keeps_what_it_may_need(desk: Desk) -> None:
    request = deleted(desk)
    api = api_of(desk)
    purge = ask(api, request)
    api.resources.close()
    lease = claim(desk)
    submit(desk, [7])
    work(desk, lease)
    result = job_of(desk.database, purge).result
    assert result is not None
    assert outcomes(result)["version"] == outcomes(result)["images"] == {"stays"}
    assert all("is not final" in one["why"] for one in result["targets"] if one["outcome"] == "stays")


@on_both
@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.FAILED])
def test_images_that_only_a_training_has_named_are_found(desk: Desk, state: JobState) -> None:
    request = deleted(desk)
    with desk.database.writing() as session:
        # No request and no reference names it any more.
        session.execute(update(Dataset).values(name="photos"))
        model_id = session.execute(select(Model.id).where(Model.name == "digits")).scalar_one()
    api = api_of(desk)
    purge = ask(api, request)
    api.resources.close()
    lease = claim(desk)
    with desk.database.writing() as session:
        spec = {"dataset": "photos"}
        job = enqueue(session, JobKind.RETRAIN, tenant="t", actor="key:test", spec=spec, max_attempts=1)
        session.flush()
        session.execute(update(Job).where(Job.id == job.id).values(model_id=model_id, state=state))
    work(desk, lease)
    result = job_of(desk.database, purge).result
    assert result is not None
    whys = {one["why"] for one in result["targets"] if one["kind"] == "images"}
    if state == JobState.QUEUED:
        assert outcomes(result)["images"] == {"stays"}
        assert whys == {f"a job of kind retrain is not final ({job.id})"}
    else:
        assert outcomes(result)["images"] == {"removed"}
        assert FORGOTTEN not in set(arrays(desk, "train")[1])
