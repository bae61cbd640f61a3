"""Audits over HTTP: what is taken, what is refused in words, and what is shown while shadow models are made."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, select, update

from core.requests import claims
from core.requests.claims import Lease
from core.requests.families import NEVER
from core.requests.tables import Job
from core.states import DatasetState, JobKind, JobState
from models_store.tables import Dataset
from tests.integration.app.api import Api, TestClient, body
from tests.integration.app.unlearn.test_override import reject

MINUTE = timedelta(minutes=1)
RECIPE = {"optimiser": {"name": "adamw"}, "learning_rate": 0.005, "epochs": 8, "batch_size": 64}


@dataclass
class Auditable:
    """A rejected request of a model with a recipe."""

    api: Api
    id: UUID

    @property
    def path(self) -> str:
        return f"/unlearn/{self.id}/audit"

    @property
    def client(self) -> TestClient:
        return self.api.local

    def ask(self, pairs: Any = 2, **members: Any) -> Any:
        return self.client.post(self.path, json={"pairs": pairs, **members})

    def show(self, **headers: str) -> Any:
        return self.client.get(self.path, headers=headers)

    def claim(self) -> Lease:
        lease = claims.claim(self.api.database, owner="w", ttl=MINUTE)
        assert lease is not None
        return lease

    def finish(self, lease: Lease, **result: Any) -> None:
        with self.api.database.writing() as session:
            claims.finish(session, lease, JobState.COMPLETED, result=result)

    def make_shadow(self) -> str:
        """One shadow as a worker leaves it: the digest of its record."""
        lease = self.claim()
        assert lease.kind is JobKind.SHADOW
        blob = self.api.resources.storage.put([str(lease.job_id).encode()], 1 << 20)
        self.finish(lease, record_sha256=blob.sha256)
        return str(blob.sha256)


def made(api: Api) -> Auditable:
    job_id, _ = reject(api, "ant", forgotten=[0])
    assert api.local.put("/models/m/recipe", json=RECIPE).status_code == 201
    return Auditable(api, job_id)


@pytest.fixture
def auditable(api: Api) -> Auditable:
    return made(api)


@pytest.fixture
def small(small_api: Api) -> Auditable:
    return made(small_api)


def slug(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("urn:expunge:problem:")


def jobs_of(api: Api, kind: JobKind) -> list[Job]:
    with api.database.reading() as session:
        return list(session.execute(select(Job).where(Job.kind == kind).order_by(Job.seq)).scalars())


def test_an_audit_is_one_job_that_waits_and_two_children_for_each_pair(auditable: Auditable) -> None:
    answer = auditable.ask(3, seed=5)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == auditable.path
    assert answer.headers["Retry-After"] == "1"
    shown = answer.json()
    assert (shown["state"], shown["step"], shown["percent"]) == ("queued", "shadows", 0)
    assert (shown["pairs"], shown["seed"], shown["recipe_version"]) == (3, 5, 1)
    assert shown["shadows"] == {"unlearned": {"queued": 3}, "retrained": {"queued": 3}, "reused": 0}
    assert shown["links"] == {
        "self": auditable.path,
        "request": f"/unlearn/{auditable.id}",
        "cancel": auditable.path,
    }
    (audit,), shadows = jobs_of(auditable.api, JobKind.AUDIT), jobs_of(auditable.api, JobKind.SHADOW)
    assert (str(audit.id), audit.parent_job_id, audit.not_before) == (shown["id"], auditable.id, NEVER)
    assert [shadow.parent_job_id for shadow in shadows] == [audit.id] * 6
    assert all(shadow.priority < audit.priority < 0 for shadow in shadows)
    accepted = [leaf for leaf in auditable.api.ledger() if leaf["type"] == "request.accepted"]
    assert len(accepted) == 1 + 1 + 6
    assert auditable.show().json() == shown


def test_progress_counts_shadows_by_state_and_every_change_has_its_own_tag(auditable: Auditable) -> None:
    tags = [auditable.ask().headers["ETag"]]
    lease = auditable.claim()
    shown = auditable.show()
    tags.append(shown.headers["ETag"])
    assert shown.json()["shadows"]["unlearned"] == {"running": 1, "queued": 1}
    assert auditable.show(**{"If-None-Match": tags[-1]}).status_code == 304
    auditable.finish(lease, record_sha256="ab" * 32)
    shown = auditable.show(**{"If-None-Match": tags[-1]})
    tags.append(shown.headers["ETag"])
    assert (shown.status_code, shown.json()["percent"]) == (200, 23)
    for _ in range(3):
        auditable.finish(auditable.claim(), record_sha256="cd" * 32)
    lease = auditable.claim()
    assert lease.kind is JobKind.AUDIT
    shown = auditable.show()
    tags.append(shown.headers["ETag"])
    assert (shown.json()["state"], shown.json()["step"], shown.json()["percent"]) == ("running", "gather", 95)
    auditable.finish(lease, measures={"klom": {"value": 0.1}})
    shown = auditable.show()
    tags.append(shown.headers["ETag"])
    assert (shown.json()["state"], shown.json()["percent"]) == ("completed", 100)
    assert shown.json()["result"]["measures"] == {"klom": {"value": 0.1}}
    assert "Retry-After" not in shown.headers
    assert "cancel" not in shown.json()["links"]
    assert len(set(tags)) == len(tags)


def test_a_second_audit_reuses_what_is_there_and_makes_anew_what_is_gone(small: Auditable) -> None:
    small.ask(2, seed=9)
    digests = [small.make_shadow() for _ in range(4)]
    small.finish(small.claim())
    again = small.ask(3).json()
    assert again["seed"] == 9
    assert again["shadows"] == {
        "unlearned": {"completed": 2, "queued": 1},
        "retrained": {"completed": 2, "queued": 1},
        "reused": 4,
    }
    assert again["percent"] == 95 * 4 // 6
    for _ in range(2):
        small.make_shadow()
    small.finish(small.claim())
    small.api.resources.storage.path(digests[0]).unlink()
    assert small.ask(2).json()["shadows"]["unlearned"] == {"queued": 1, "completed": 1}
    queued = [job for job in jobs_of(small.api, JobKind.SHADOW) if job.state == JobState.QUEUED]
    assert [(job.spec["population"], job.spec["index"]) for job in queued] == [("unlearned", 0)]


def test_with_every_shadow_there_the_audit_can_run_at_once(small: Auditable) -> None:
    small.ask(2)
    for _ in range(4):
        small.make_shadow()
    small.finish(small.claim())
    small.ask(2)
    assert small.claim().kind is JobKind.AUDIT


def test_cancelling_withdraws_audit_and_shadows_and_keeps_what_is_finished(auditable: Auditable) -> None:
    auditable.ask()
    auditable.make_shadow()
    answer = auditable.client.delete(auditable.path)
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert answer.json()["shadows"] == {
        "unlearned": {"completed": 1, "cancelled": 1},
        "retrained": {"cancelled": 2},
        "reused": 0,
    }
    assert slug(auditable.client.delete(auditable.path)) == (409, "invalid-transition")
    assert claims.claim(auditable.api.database, owner="w", ttl=MINUTE) is None
    assert auditable.ask().json()["shadows"]["reused"] == 1


# -------------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize("pairs", [1, 0, 513, -2, 2.5, "4", None, True])
def test_a_number_of_pairs_out_of_range_is_refused(small: Auditable, pairs: Any) -> None:
    assert slug(small.ask(pairs)) == (422, "validation-error")
    assert jobs_of(small.api, JobKind.AUDIT) == []


@pytest.mark.parametrize("members", [{"seed": -1}, {"seed": 2**53}, {"seed": "1"}, {"resamples": 5}])
def test_other_members_are_refused_too(small: Auditable, members: dict[str, Any]) -> None:
    assert slug(small.ask(2, **members)) == (422, "validation-error")


def test_the_bounds_themselves_are_taken(small: Auditable) -> None:
    assert small.ask(2).status_code == 202
    small.client.delete(small.path)
    assert small.ask(512).json()["shadows"]["unlearned"] == {"queued": 512}
    assert sum(job.state == JobState.QUEUED for job in jobs_of(small.api, JobKind.SHADOW)) == 1024


def test_an_unfinished_request_is_refused(small_api: Api) -> None:
    small_api.local.put("/models/m/recipe", json=RECIPE)
    request = small_api.local.post("/unlearn", json=body("ant")).json()["id"]
    for _ in range(2):  # queued, then running
        assert slug(small_api.local.post(f"/unlearn/{request}/audit", json={"pairs": 2})) == (409, "invalid-transition")
        claims.claim(small_api.database, owner="w", ttl=MINUTE)


def test_a_finished_request_links_its_audit_and_an_open_one_does_not(small: Auditable) -> None:
    links = small.client.get(small.path.removesuffix("/audit")).json()["links"]
    assert links["audit"] == small.path
    opened = small.api.local.post("/unlearn", json=body("bee")).json()
    assert "audit" not in opened["links"] or opened["links"]["audit"] is None


def test_a_model_without_a_recipe_is_refused(small_api: Api) -> None:
    job_id, _ = reject(small_api, "ant", forgotten=[0])
    answer = small_api.local.post(f"/unlearn/{job_id}/audit", json={"pairs": 2})
    assert slug(answer) == (404, "unknown-recipe")
    assert "PUT /models/m/recipe" in answer.json()["detail"]


def test_an_audit_under_way_is_the_only_one(auditable: Auditable) -> None:
    assert auditable.ask().status_code == 202
    answer = auditable.ask(4)
    assert slug(answer) == (409, "audit-running")
    assert answer.json()["audit"] == auditable.path
    assert len(jobs_of(auditable.api, JobKind.AUDIT)) == 1


def test_a_data_set_that_is_gone_or_not_ready_is_refused(small: Auditable) -> None:
    with small.api.database.writing() as session:
        session.execute(update(Dataset).values(state=DatasetState.REFUSED))
    assert slug(small.ask()) == (409, "dataset-not-ready")
    with small.api.database.writing() as session:
        session.execute(delete(Dataset))
    assert slug(small.ask()) == (404, "unknown-dataset")


def test_unknown_requests_and_audits_are_told_apart(small: Auditable) -> None:
    assert slug(small.show()) == (404, "unknown-audit")
    assert slug(small.client.delete(small.path)) == (404, "unknown-audit")
    other = f"/unlearn/{uuid4()}/audit"
    assert slug(small.client.get(other)) == (404, "unknown-request")
    assert slug(small.client.post(other, json={"pairs": 2})) == (404, "unknown-request")


def test_scopes_and_tenants_hold_here_too(small: Auditable) -> None:
    reader = small.api.with_key("requests:read")
    assert slug(reader.post(small.path, json={"pairs": 2})) == (403, "forbidden")
    small.ask()
    assert reader.get(small.path).status_code == 200
    assert slug(reader.delete(small.path)) == (403, "forbidden")
    stranger = small.api.with_key("admin", tenant="other")
    assert slug(stranger.get(small.path)) == (404, "unknown-request")
    assert slug(stranger.post(small.path, json={"pairs": 2})) == (404, "unknown-request")
