"""Replays over HTTP: what is taken, what is refused in words, what is shown; and that they are the tenant's own."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, update

from core.requests import claims
from core.requests.claims import Lease
from core.requests.tables import Job
from core.states import DatasetState, JobKind, JobState
from models_store.tables import Dataset, DatasetSource, ModelVersion
from tests.integration.app.api import Api, TestClient, body, safetensors
from tests.integration.app.unlearn.test_override import REASON, reject

MINUTE = timedelta(minutes=1)


@dataclass
class Replayable:
    """A request that is published, with its parent's weights in the store."""

    api: Api
    id: UUID
    parent: str

    @property
    def path(self) -> str:
        return f"/unlearn/{self.id}"

    @property
    def client(self) -> TestClient:
        return self.api.local

    def ask(self, **headers: str) -> Any:
        return self.client.post(f"{self.path}/replay", headers=headers)

    def claim(self) -> Lease:
        lease = claims.claim(self.api.database, owner="w", ttl=MINUTE)
        assert lease is not None
        return lease

    def replays(self) -> Any:
        return self.client.get(f"{self.path}/replays").json()["items"]


def made(api: Api) -> Replayable:
    parent = api.resources.storage.put([safetensors(3.0)], 1 << 20)
    with api.database.writing() as session:
        session.execute(update(ModelVersion).values(artifact_sha256=parent.sha256))
    job_id, _ = reject(api, "ant", forgotten=[0])
    chief = api.with_key("override")
    assert chief.post(f"/unlearn/{job_id}/override", json={"reason": REASON}).status_code == 200
    return Replayable(api, job_id, parent.sha256)


@pytest.fixture
def replayable(api: Api) -> Replayable:
    return made(api)


@pytest.fixture
def small(small_api: Api) -> Replayable:
    return made(small_api)


def slug(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("urn:expunge:problem:")


def test_a_replay_is_accepted_listed_polled_and_told(replayable: Replayable) -> None:
    shown = replayable.client.get(replayable.path).json()
    assert shown["links"]["replay"] == f"{replayable.path}/replay"
    assert shown["links"]["purge"] == f"{replayable.path}/purge"
    assert replayable.replays() == []
    answer = replayable.ask()
    assert answer.status_code == 202, answer.text
    own = answer.headers["location"]
    assert own == f"{replayable.path}/replays/{answer.json()['id']}"
    assert "retry-after" in answer.headers
    queued = replayable.client.get(own)
    assert (queued.json()["state"], queued.json()["outcome"]) == ("queued", None)
    assert replayable.client.get(own, headers={"If-None-Match": queued.headers["etag"]}).status_code == 304
    lease = replayable.claim()
    assert lease.kind is JobKind.REPLAY
    with replayable.api.database.writing() as session:
        claims.finish(session, lease, JobState.COMPLETED, result={"outcome": "identical", "sentence": "s"})
    final = replayable.client.get(own)
    assert (final.json()["state"], final.json()["outcome"]) == ("completed", "identical")
    assert "retry-after" not in final.headers
    assert final.headers["etag"] != queued.headers["etag"]
    assert [one["id"] for one in replayable.replays()] == [answer.json()["id"]]
    started = [leaf for leaf in replayable.api.ledger() if leaf["type"] == "request.replay_started"]
    assert [(leaf["request"], leaf["data"]["replay"]) for leaf in started] == [
        (str(replayable.id), answer.json()["id"])
    ]


def test_the_same_key_asks_once(replayable: Replayable) -> None:
    first, again = (replayable.ask(**{"Idempotency-Key": '"k"'}) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert (again.headers["idempotency-replayed"], again.headers["location"]) == ("true", first.headers["location"])
    assert len(replayable.replays()) == 1


def test_a_second_replay_waits_for_the_first_to_end(small: Replayable) -> None:
    first = small.ask().headers["location"]
    second = small.ask()
    assert slug(second) == (409, "replay-running")
    assert second.json()["replay"] == first
    assert small.client.delete(first).status_code == 200
    assert small.client.get(first).json()["state"] == "cancelled"
    assert slug(small.client.delete(first)) == (409, "invalid-transition")
    assert small.ask().status_code == 202


def test_a_running_replay_is_asked_to_stop(small: Replayable) -> None:
    own = small.ask().headers["location"]
    small.claim()
    answer = small.client.delete(own)
    assert (answer.status_code, answer.json()["cancel_requested"]) == (202, True)


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.FAILED, JobState.REJECTED, JobState.CANCELLED])
def test_only_a_published_request_can_be_replayed(small: Replayable, state: JobState) -> None:
    with small.api.database.writing() as session:
        session.execute(update(Job).where(Job.id == small.id).values(state=state))
    answer = small.ask()
    assert slug(answer) == (409, "invalid-transition")
    assert f"published, got one that is {state}" in answer.json()["detail"]
    links = small.client.get(small.path).json()["links"]
    assert (links["replay"], links["purge"]) == (None, None)


def test_a_purged_parent_is_gone(small: Replayable) -> None:
    small.api.resources.storage.path(small.parent).unlink()
    answer = small.ask()
    assert slug(answer) == (410, "parent-purged")
    assert (answer.json()["version"], answer.json()["sha256"]) == (1, small.parent)
    assert small.replays() == []


def remove_data_set(api: Api) -> None:
    with api.database.writing() as session:
        session.execute(delete(Dataset))


def lose_file(api: Api) -> None:
    with api.database.writing() as session:
        dataset_id = session.query(Dataset.id).scalar()
        row = DatasetSource(
            dataset_id=dataset_id,
            tenant="default",
            actor="test",
            split="train",
            sha256="cd" * 32,
            size_bytes=1,
            created_at=session.query(Dataset.created_at).scalar(),
        )
        session.add(row)


def refuse_data_set(api: Api) -> None:
    with api.database.writing() as session:
        session.execute(update(Dataset).values(state=DatasetState.REFUSED))


@pytest.mark.parametrize(
    ("change", "expected", "word"),
    [
        (remove_data_set, (410, "dataset-gone"), "'d'"),
        (lose_file, (410, "dataset-gone"), "train"),
        (refuse_data_set, (409, "dataset-not-ready"), "'d'"),
    ],
)
def test_a_data_set_that_is_gone_is_named(
    small: Replayable, change: Callable[[Api], None], expected: tuple[int, str], word: str
) -> None:
    change(small.api)
    answer = small.ask()
    assert slug(answer) == expected
    assert word in answer.json()["detail"]


def test_unknown_requests_and_replays_are_told_apart(small: Replayable) -> None:
    assert slug(small.client.post(f"/unlearn/{uuid4()}/replay")) == (404, "unknown-request")
    assert slug(small.client.get(f"/unlearn/{uuid4()}/replays")) == (404, "unknown-request")
    assert slug(small.client.get(f"{small.path}/replays/{uuid4()}")) == (404, "unknown-replay")
    assert small.client.post("/unlearn", json=body("bee")).status_code == 202
    other = small.client.get("/unlearn").json()["items"][0]["id"]
    own = small.ask().json()["id"]
    assert slug(small.client.get(f"/unlearn/{other}/replays/{own}")) == (404, "unknown-replay")


def test_scopes_and_tenants_hold_here_too(small: Replayable) -> None:
    own = small.ask().headers["location"]
    reader, submitter = small.api.with_key("requests:read"), small.api.with_key("requests:submit")
    assert reader.get(own).status_code == 200
    assert slug(reader.post(f"{small.path}/replay")) == (403, "forbidden")
    assert slug(reader.delete(own)) == (403, "forbidden")
    assert slug(submitter.get(own)) == (403, "forbidden")
    stranger = small.api.with_key("admin", tenant="other")
    assert slug(stranger.post(f"{small.path}/replay")) == (404, "unknown-request")
    assert slug(stranger.get(own)) == (404, "unknown-request")
    assert slug(stranger.delete(own)) == (404, "unknown-request")
