"""An override: only with its scope, only of what was rejected, once, marked for ever, and never against a deletion."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text

from core.ledger.entries import commitment
from core.ledger.tables import LedgerEntry
from core.policy.catalogue import TestName
from core.policy.override import Override
from core.policy.policies import STANDARD
from core.policy.verdict import Evidence, judge
from core.requests import claims
from core.requests.moves import InvalidMove, move
from core.requests.tables import Job, UnlearnRequest
from core.states import JobState
from models_store.manifests import digest
from models_store.registry import find_model, find_version
from models_store.tables import ForgottenClass, ModelVersion
from tests.integration.app.api import Api, TestClient, add_ready_version, body, forget, safetensors
from tests.integration.app.publishing import loaded_step

REASON = "Erika Mustermann's class has no images that matter; the board decided on Friday."
MINUTE = timedelta(minutes=1)


def failed_verdict(value: float = 0.9) -> dict[str, Any]:
    """All tests as they should be but one, which is clearly not."""
    values = dict.fromkeys(STANDARD.deciding, 0.0) | {
        TestName.MEMBERSHIP_AUC: 0.5,
        TestName.FORGET_ACCURACY_TEST: value,
    }
    evidence = [Evidence(name=name, value=one, low=one, high=one, n=50) for name, one in values.items()]
    return judge(evidence, STANDARD).as_json()


@dataclass
class Rejected:
    """A rejected request of the tenant `default`, its candidate in the store, and somebody who may override it."""

    api: Api
    id: UUID
    sha256: str
    chief: TestClient

    @property
    def path(self) -> str:
        return f"/unlearn/{self.id}"

    def override(self, reason: str = REASON, *, client: TestClient | None = None) -> Any:
        return (client or self.chief).post(f"{self.path}/override", json={"reason": reason})


def reject(api: Api, *classes: str, forgotten: list[int], value: float = 1.0, model: str = "m") -> tuple[UUID, str]:
    """What submission, worker and verification leave behind when a verdict fails: the request and its candidate."""
    assert api.local.post("/unlearn", json=body(*classes) | {"model": model}).status_code == 202
    lease = claims.claim(api.database, owner="w", ttl=MINUTE)
    assert lease is not None
    blob = api.resources.storage.put([safetensors(value)], 1 << 20)
    result = {
        "base_version": 1,
        "artifact_sha256": blob.sha256,
        "method": {"name": "paper", "alpha_r": 10.0, "table": [{"score": 0.5}]},
        "measures": {"original": {}, "unlearned": {}},
        "verdict": failed_verdict(),
        "environment": {"torch": "2.12.1"},
        "forgotten": forgotten,
        "samples": {"retain": 900, "forget": 900, "validation": 100},
    }
    with api.database.writing() as session:
        base = find_version(session, find_model(session, "default", model), 1)
        session.get_one(UnlearnRequest, lease.job_id).base_version_id = base.id
        session.add(loaded_step(lease, base))
        facts = {"verdict": "fail", "policy": str(STANDARD), "verdict_sha256": digest(result["verdict"])}
        claims.finish(session, lease, JobState.REJECTED, result=result, data=facts)
    return lease.job_id, blob.sha256


def made(api: Api) -> Rejected:
    job_id, sha256 = reject(api, "ant", forgotten=[0])
    chief = api.with_key("override", "requests:read", "models:read", "artifacts:read", "audit:read")
    return Rejected(api, job_id, sha256, chief)


@pytest.fixture
def rejected(api: Api) -> Rejected:
    return made(api)


@pytest.fixture
def small_rejected(small_api: Api) -> Rejected:
    return made(small_api)


def versions_of(api: Api) -> list[ModelVersion]:
    with api.database.reading() as session:
        return list(session.execute(select(ModelVersion).order_by(ModelVersion.number)).unique().scalars())


def job_of(api: Api, job_id: UUID) -> Job:
    with api.database.reading() as session:
        job: Job = session.execute(select(Job).where(Job.id == job_id)).scalar_one()
        return job


def test_an_override_publishes_the_very_weights_that_were_rejected(rejected: Rejected) -> None:
    before = rejected.chief.get(rejected.path).json()
    assert (before["state"], before["links"]["override"]) == ("rejected", f"{rejected.path}/override")
    answer = rejected.override()
    assert answer.status_code == 200, answer.text
    base, version = versions_of(rejected.api)
    assert (version.number, version.parent_version_id, version.job_id) == (2, base.id, rejected.id)
    assert (version.artifact_sha256, version.forgotten, version.state) == (rejected.sha256, [0], "ready")
    with rejected.api.database.reading() as session:
        (gone,) = session.execute(select(ForgottenClass)).scalars()
        assert (gone.class_index, gone.job_id, gone.version_id) == (0, rejected.id, version.id)
    download = rejected.chief.get("/models/m/versions/2/artifact")
    assert download.content == safetensors(1.0)
    assert rejected.api.local.post("/unlearn", json=body("ant")).json()["type"].endswith("already-deleted")


def test_the_mark_is_seen_everywhere_and_the_verdict_stays_failed(rejected: Rejected) -> None:
    shown = rejected.override().json()
    by = shown["overridden_by"]
    assert by.startswith("key:")
    assert (shown["state"], shown["new_version"], shown["override_reason"]) == ("published", 2, REASON)
    assert shown["result"]["verdict"]["outcome"] == "fail"
    assert shown["links"]["override"] is None
    for version in (
        rejected.chief.get("/models/m/versions/2").json(),
        rejected.chief.get("/models/m/versions").json()["items"][1],
    ):
        assert (version["overridden_by"], version["override_reason"]) == (by, REASON)
        assert (version["verdict"]["outcome"], version["verdict"]["policy_version"]) == ("fail", STANDARD.version)
    for answer in (
        rejected.chief.get("/models/m/versions/2/artifact"),
        rejected.chief.head("/models/m/versions/2/artifact"),
    ):
        assert (answer.headers["expunge-verdict"], answer.headers["expunge-overridden-by"]) == ("fail", by)
    report = rejected.chief.get(shown["links"]["report"]).json()
    assert (report["overridden_by"], report["override_reason"]) == (by, REASON)
    assert report["verdict"]["outcome"] == "fail"
    page = rejected.chief.get(shown["links"]["report"], headers={"Accept": "text/html"}).text
    assert "Published by an override" in page
    assert "Erika Mustermann&#39;s class" in page


def test_versions_that_nobody_overrode_carry_no_mark(small_api: Api) -> None:
    assert small_api.local.get("/models/m/versions/1").json()["overridden_by"] is None
    request = small_api.local.post("/unlearn", json=body("ant")).json()
    assert (request["overridden_by"], request["links"]["override"]) == (None, None)
    assert (
        "Published by an override"
        not in small_api.local.get(request["links"]["report"], headers={"Accept": "text/html"}).text
    )


def test_the_ledger_says_who_and_commits_to_why_without_the_words(rejected: Rejected) -> None:
    rejected.override()
    told = ("request.overridden", "version.added", "request.transition")
    overridden, added, moved = [leaf for leaf in rejected.api.ledger() if leaf["type"] in told][-3:]
    assert [leaf["type"] for leaf in (overridden, added, moved)] == list(told)
    with rejected.api.database.reading() as session:
        key = session.get_one(UnlearnRequest, rejected.id).commitment_key
        leaves = b"".join(session.execute(select(LedgerEntry.leaf)).scalars())
    assert key is not None
    assert overridden["data"]["reason"] == commitment(key, "reason", REASON)
    assert (overridden["data"]["verdict"], overridden["data"]["policy"]) == ("fail", str(STANDARD))
    assert {leaf["actor"] for leaf in (overridden, added, moved)} == {versions_of(rejected.api)[1].overridden_by}
    assert (moved["from"], moved["to"], moved["data"]["overridden"]) == ("rejected", "published", True)
    assert moved["data"]["sha256"] == rejected.sha256
    assert moved["data"]["manifest_sha256"] == digest(versions_of(rejected.api)[1].manifest)
    for word in ("Erika", "Mustermann", "Friday"):
        assert word.encode() not in leaves


def test_the_manifest_is_that_of_any_version_and_says_that_it_was_overridden(rejected: Rejected) -> None:
    rejected.override()
    base, version = versions_of(rejected.api)
    manifest = version.manifest
    assert manifest is not None
    assert (manifest["format"], manifest["job"]) == ("expunge-manifest/1", str(rejected.id))
    assert (manifest["parent_sha256"], manifest["sha256"]) == (base.artifact_sha256, rejected.sha256)
    assert manifest["dataset_files"] == {"train": "aa" * 32, "test": "bb" * 32}
    assert manifest["verdict_sha256"] == digest(version.verdict)
    assert "table" not in manifest["method"]
    assert manifest["override"]["by"] == version.overridden_by
    assert manifest["override"]["reason"].startswith("hmac-sha256:")
    assert "Erika" not in json.dumps(manifest)


@pytest.mark.parametrize("scopes", [("admin",), ("requests:submit", "models:write", "policies:write"), ("audit:read",)])
def test_no_other_scope_will_do_not_even_admin(small_rejected: Rejected, scopes: tuple[str, ...]) -> None:
    answer = small_rejected.override(client=small_rejected.api.with_key(*scopes))
    assert (answer.status_code, answer.json()["scope"]) == (403, "override")
    assert job_of(small_rejected.api, small_rejected.id).state == JobState.REJECTED


def test_the_local_operator_needs_a_key_as_well(small_rejected: Rejected) -> None:
    assert small_rejected.override(client=small_rejected.api.local).status_code == 403
    both = small_rejected.api.with_key("admin", "override")
    assert small_rejected.override(client=both).status_code == 200


@pytest.mark.parametrize(
    "reason", ["", "too short", " " * 40, "  padded  ", "x" * 2001, "a\x00" * 10, None, 1234567890]
)
def test_without_a_proper_reason_nothing_happens(small_rejected: Rejected, reason: Any) -> None:
    before = len(small_rejected.api.ledger())
    answer = small_rejected.override(reason)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/reason")
    assert job_of(small_rejected.api, small_rejected.id).state == JobState.REJECTED
    assert len(small_rejected.api.ledger()) == before


def test_sending_the_same_override_again_changes_nothing(rejected: Rejected) -> None:
    first = rejected.override().json()
    entries = len(rejected.api.ledger())
    assert rejected.override().json() == first
    assert len(rejected.api.ledger()) == entries
    assert len(versions_of(rejected.api)) == 2


def test_another_reason_or_another_person_comes_too_late(rejected: Rejected) -> None:
    rejected.override()
    for answer in (
        rejected.override("Another reason, thought of later."),
        rejected.override(client=rejected.api.with_key("override")),
    ):
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:expunge:problem:invalid-transition")
    assert versions_of(rejected.api)[1].override_reason == REASON


def test_of_many_who_override_at_once_one_version_comes(rejected: Rejected) -> None:
    with ThreadPoolExecutor(max_workers=6) as pool:
        answers = list(pool.map(lambda _: rejected.override(), range(6)))
    assert [answer.status_code for answer in answers] == [200] * 6
    assert len(versions_of(rejected.api)) == 2
    assert rejected.api.ledger_types().count("request.overridden") == 1


def test_only_what_was_rejected_can_be_overridden(api: Api) -> None:
    chief = api.with_key("override")
    path = api.local.post("/unlearn", json=body("ant")).headers["location"]

    def is_refused(state: JobState) -> bool:
        answer = chief.post(f"{path}/override", json={"reason": REASON})
        return (answer.status_code, answer.json()["state"]) == (409, state)

    assert is_refused(JobState.QUEUED)
    lease = claims.claim(api.database, owner="w", ttl=MINUTE)
    assert lease is not None
    assert is_refused(JobState.RUNNING)
    with api.database.writing() as session:
        claims.finish(session, lease, JobState.FAILED, problem={"slug": "x", "title": "X", "detail": "X."})
    assert is_refused(JobState.FAILED)
    assert len(versions_of(api)) == 1


def test_no_other_way_leads_out_of_a_rejection(rejected: Rejected) -> None:
    job, grounds = job_of(rejected.api, rejected.id), Override("key:1", REASON, frozenset({"override"}))
    with rejected.api.database.writing() as session:
        with pytest.raises(InvalidMove):
            move(session, job, JobState.PUBLISHED, actor="worker:w")
        with pytest.raises(InvalidMove):
            move(session, job, JobState.QUEUED, actor="key:1", override=grounds)
    client = rejected.api.local
    assert client.post(f"{rejected.path}/retry").status_code == 409
    assert client.delete(rejected.path).status_code == 409


def test_a_candidate_that_would_bring_a_deleted_class_back_stays_rejected(rejected: Rejected) -> None:
    forget(rejected.api, 1)
    answer = rejected.override()
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:expunge:problem:holds-forgotten-class")
    assert answer.json()["class_indices"] == [1]
    assert job_of(rejected.api, rejected.id).state == JobState.REJECTED
    assert "request.overridden" not in rejected.api.ledger_types()


def test_a_candidate_without_the_classes_deleted_since_may_pass(small_api: Api) -> None:
    forget(small_api, 1)
    job_id, _ = reject(small_api, "ant", forgotten=[0, 1])
    answer = small_api.with_key("override").post(f"/unlearn/{job_id}/override", json={"reason": REASON})
    assert (answer.status_code, versions_of(small_api)[-1].forgotten) == (200, [0, 1])


def test_a_class_that_another_request_has_deleted_meanwhile_needs_no_override(rejected: Rejected) -> None:
    forget(rejected.api, 0)
    answer = rejected.override()
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:expunge:problem:already-deleted")


def test_an_open_request_for_the_class_goes_first(small_rejected: Rejected) -> None:
    other = small_rejected.api.local.post("/unlearn", json=body("ant")).json()
    answer = small_rejected.override()
    assert (answer.status_code, answer.json()["request"]) == (409, other["links"]["self"])
    small_rejected.api.local.delete(other["links"]["cancel"])
    assert small_rejected.override().status_code == 200


def test_a_candidate_that_is_gone_or_damaged_is_not_published(small_rejected: Rejected) -> None:
    path = small_rejected.api.resources.storage.path(small_rejected.sha256)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"!")
    damaged = small_rejected.override()
    assert (damaged.status_code, damaged.json()["type"]) == (500, "urn:expunge:problem:stored-digest-mismatch")
    path.unlink()
    gone = small_rejected.override()
    assert (gone.status_code, gone.json()["type"]) == (410, "urn:expunge:problem:candidate-gone")
    assert small_rejected.sha256 in gone.json()["detail"]
    assert job_of(small_rejected.api, small_rejected.id).state == JobState.REJECTED
    path.write_bytes(content)
    assert small_rejected.override().status_code == 200


def test_a_rejection_that_left_nothing_behind_cannot_be_overridden(small_api: Api) -> None:
    path = small_api.local.post("/unlearn", json=body("ant")).headers["location"]
    lease = claims.claim(small_api.database, owner="w", ttl=MINUTE)
    assert lease is not None
    with small_api.database.writing() as session:
        claims.finish(session, lease, JobState.REJECTED)
    answer = small_api.with_key("override").post(f"{path}/override", json={"reason": REASON})
    assert (answer.status_code, answer.json()["type"]) == (410, "urn:expunge:problem:candidate-gone")


def test_a_request_of_another_tenant_does_not_exist(small_rejected: Rejected) -> None:
    stranger = small_rejected.api.with_key("override", tenant="other")
    assert small_rejected.override(client=stranger).status_code == 404


def test_when_the_work_ended_is_not_when_it_was_overridden(rejected: Rejected) -> None:
    before = job_of(rejected.api, rejected.id)
    tag = rejected.chief.get(rejected.path).headers["etag"]
    rejected.override()
    after = job_of(rejected.api, rejected.id)
    assert (after.finished_at, after.fence, after.attempt) == (before.finished_at, before.fence, before.attempt)
    assert rejected.chief.get(rejected.path, headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE model_versions SET overridden_by = NULL WHERE number = 2",
        "UPDATE model_versions SET overridden_by = 'key:other' WHERE number = 2",
        "UPDATE model_versions SET verdict = NULL WHERE number = 2",
        "DELETE FROM model_versions WHERE number = 2",
    ],
)
def test_the_database_keeps_the_mark_for_ever(rejected: Rejected, statement: str) -> None:
    rejected.override()
    with pytest.raises(Exception, match="mark of an override stays"), rejected.api.database.writing() as session:
        session.execute(text(statement))
    assert versions_of(rejected.api)[1].overridden_by is not None


def test_other_changes_of_a_version_are_not_hindered(rejected: Rejected) -> None:
    rejected.override()
    with rejected.api.database.writing() as session:
        # Words about people can be taken out again; the ledger's commitment to them stays.
        session.execute(text("UPDATE model_versions SET override_reason = 'withdrawn' WHERE number = 2"))
        session.execute(text("UPDATE model_versions SET verdict = NULL WHERE number = 1"))
        add_ready_version(session, find_model(session, "default", "m"), artifact_sha256="ef" * 32)
    assert versions_of(rejected.api)[1].override_reason == "withdrawn"
