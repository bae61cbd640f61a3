"""Erasable and append-only at once: the attack on the commitments succeeds, the key is destroyed, the attack fails."""

import io
import json
import sqlite3
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import make_url, select, update
from sqlalchemy.exc import OperationalError

from core.clock import database_now
from core.db.session import Database
from core.ledger.verifying import Trust, check
from core.requests import claims
from core.requests.erasure import erase_expired, scrub
from core.requests.repository import enqueue
from core.requests.tables import IdempotencyRecord, Job, UnlearnRequest
from core.settings import Settings
from core.states import JobKind, JobState
from core.upkeep import Upkeep
from models_store.lineage.tables import BrokenGlass, Purge, Quarantine
from models_store.registry import find_dataset, find_model, find_version
from tests.integration.app.api import Api, add_ready_version, body, enough
from tests.integration.app.audit import test_evidence as evidence
from tests.integration.app.audit.test_checkpoints import make_keys, pinned
from tests.integration.app.publishing import publish
from tests.integration.app.subjects.attacker import confirmed, files_with, leaf_bytes, linked, tables_with

REFERENCE = "crm/jane.roe@example.org"
LABEL = "Jane Roe (1968)"
NOTE = "asked by telephone, Tuesday"
TICKET = "CASE-77-roe"
REASON = "Roe's lawyer insists on it, whatever the numbers say."
GLASS = "Roe's lawyer asks for the old weights."
DELAY = "Roe has sent no proof of identity yet."
GUESSES = {REFERENCE: "subject", LABEL: "class"}
LABEL_LISTS = {"models", "datasets"}
"""What a model can tell apart belongs to the model; it is retired with the class, not with the subject."""
HOUR = timedelta(hours=1)


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    made = Api(database_url, tmp_path, checkpoint_interval=timedelta(hours=1))
    made.register(labels=[LABEL, "bee", "cat", "dog"])
    make_keys(made)
    yield made
    made.resources.close()


def asked(**members: Any) -> bytes:
    given = {"subject_reference": REFERENCE, "external_reference": TICKET, "note": NOTE} | members
    return json.dumps(body(LABEL, **given)).encode()


def submit(api: Api, content: bytes, key: str = '"a-key"') -> UUID:
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    answer = api.local.post("/unlearn", content=content, headers=headers)
    assert answer.status_code == 202, answer.text
    return UUID(answer.json()["id"])


def end(api: Api, state: JobState = JobState.PUBLISHED, **outcome: Any) -> None:
    """See the only waiting request through, as a worker does; an override leaves its reason with the version."""
    lease = claims.claim(api.database, owner="w", ttl=HOUR)
    assert lease is not None
    with api.database.writing() as session:
        marked = {"overridden_by": "key:chief", "override_reason": REASON, "verdict": {}}
        add_ready_version(session, find_model(session, "default", "m"), job_id=lease.job_id, **marked)
        claims.finish(session, lease, state, result={}, **outcome)


def look_behind_glass(api: Api, job_id: UUID) -> None:
    """What a quarantine by the request and a download in spite of it leave behind."""
    with api.database.writing() as session:
        version = find_version(session, find_model(session, "default", "m"), 1)
        common = {"tenant": "default", "actor": "key:chief", "version_id": version.id, "at": version.created_at}
        about = {"relation": "ancestor", "effect": "quarantined", "class_indices": [0]}
        session.add(Quarantine(entry=1, job_id=job_id, **about, **common))
        session.add(BrokenGlass(entry=2, reason=GLASS, **common))


def fail_a_replay(api: Api, job_id: UUID, problem: dict[str, str]) -> UUID:
    """A job that belongs to the request, and names a folder of its data set in what went wrong."""
    spec = {"request": str(job_id)}
    common: dict[str, Any] = {"tenant": "default", "actor": "test", "spec": spec, "max_attempts": 1}
    with api.database.writing() as session:
        replay = enqueue(session, JobKind.REPLAY, parent=job_id, **common)
        replay.state, replay.problem = JobState.FAILED, problem
        return replay.id


def key_of(api: Api, job_id: UUID) -> bytes:
    with api.database.reading() as session:
        key: bytes | None = session.get_one(UnlearnRequest, job_id).commitment_key
    assert key is not None
    return key


def erase(api: Api, reference: str = REFERENCE, client: Any = None) -> Any:
    return (client or api.local).delete(f"/subjects/{reference}")


def test_without_the_key_nobody_can_link_the_ledger_and_every_proof_still_verifies(api: Api) -> None:
    content = asked()
    job_id = submit(api, content)
    api.local.post(f"/unlearn/{job_id}/deadline/extend", json={"reason": DELAY})
    problem = {"slug": "unknown-dataset-label", "title": "Unknown label", "detail": f"Expected a label, got {LABEL!r}."}
    end(api, problem=problem)
    look_behind_glass(api, job_id)
    fail_a_replay(api, job_id, problem)
    checkpoint, leaves, key = api.local.get("/audit/checkpoint").text, leaf_bytes(api), key_of(api, job_id)
    personal = {text.encode() for text in (REFERENCE, LABEL, NOTE, TICKET, REASON, GLASS, DELAY)}

    # The attack succeeds: with the database in hand, guesses are confirmed in three ways.
    for guess, kind in GUESSES.items():
        assert linked(api, kind, [guess, "John Doe"]) == {guess}
    assert confirmed(api, {REFERENCE: content, "John Doe": asked(subject_reference="John Doe")}) == {REFERENCE}
    assert all(tables_with(api, text, without=LABEL_LISTS) for text in personal | {key})

    assert erase(api).json() == {"requests": [str(job_id)], "labels": 0}

    for guess, kind in GUESSES.items():
        assert linked(api, kind, [guess, "John Doe"]) == set()
    assert confirmed(api, {REFERENCE: content}) == set()
    for needle in personal | {key, key.hex().encode()}:
        assert tables_with(api, needle, without=LABEL_LISTS) == set(), needle
    for needle in personal - {LABEL.encode()} | {key, key.hex().encode()}:
        assert files_with(api, needle) == set(), needle

    # What was in the ledger is there to the byte, and proved.
    assert leaf_bytes(api)[: len(leaves)] == leaves
    trust = Trust(keys=pinned(api), checkpoints=[checkpoint])
    findings = check(api.local.get("/audit/export").content, trust)
    for entry in api.local.get("/audit/entries").json()["entries"]:
        findings += check(api.local.get(f"/audit/proof/inclusion?index={entry['seq']}").content, trust)
    findings += check(api.local.get(f"/audit/proof/consistency?from={len(leaves)}").content, trust)
    assert all(finding.holds for finding in findings), findings


def test_whoever_polls_a_job_of_the_request_is_told_that_it_was_erased(api: Api) -> None:
    problem = {"slug": "unknown-dataset-label", "title": "Unknown label", "detail": f"Expected a label, got {LABEL!r}."}
    job_id = submit(api, asked())
    end(api, problem=problem)
    url = f"/unlearn/{job_id}/replays/{fail_a_replay(api, job_id, problem)}"
    told = api.local.get(url)
    assert LABEL in told.text
    known = {"If-None-Match": told.headers["ETag"]}
    assert api.local.get(url, headers=known).status_code == 304
    erase(api)
    answer = api.local.get(url, headers=known)
    assert answer.status_code == 200
    assert LABEL not in answer.text


def test_where_a_class_is_a_person_her_name_leaves_the_label_list_too(api: Api) -> None:
    """The request goes on naming the class by its index: with the list in hand, that would be her name."""
    with api.database.writing() as session:
        find_dataset(session, "default", "d").labels = [LABEL, "bee", "cat", "dog"]
        find_dataset(session, "default", "d").summary = {
            "splits": enough(["0", "1", "2", "3"]),
            "labels_are_indices": True,
        }
    published = publish(api, LABEL, subject_reference=REFERENCE)
    before = evidence.fetch(api, published.id)
    assert tables_with(api, LABEL.encode()) >= LABEL_LISTS
    answer = api.local.delete(f"/subjects/{REFERENCE}?labels=true")
    assert answer.json() == {"requests": [published.id], "labels": 1}
    for needle in (LABEL, REFERENCE):
        assert tables_with(api, needle.encode()) == set()
        assert files_with(api, needle.encode()) == set()
    assert api.local.get("/models/m").json()["labels"] == [None, "bee", "cat", "dog"]
    assert linked(api, "class", [LABEL]) == set()
    # The bundle of before holds, and so does one of after, which no longer says who it was.
    after = evidence.fetch(api, published.id)
    for bundle in (before, after):
        assert evidence.wrongs(bundle, evidence.pinned(api)) == []
    assert unzipped(before, LABEL)
    assert not unzipped(after, LABEL)
    assert not unzipped(after, REFERENCE)
    # Model and data set go on as before.
    submit(api, json.dumps(body("bee")).encode(), '"next"')


def unzipped(bundle: bytes, text: str) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(bundle)) as opened:
        return [name for name in opened.namelist() if text.encode() in opened.read(name)]


def test_a_class_that_its_model_still_knows_keeps_its_name(api: Api) -> None:
    submit(api, asked())
    end(api, JobState.CANCELLED)
    assert api.local.delete(f"/subjects/{REFERENCE}?labels=true").json()["labels"] == 0
    assert api.local.get("/models/m").json()["labels"][0] == LABEL


def test_what_a_purge_wrote_down_loses_the_name_and_a_purge_under_way_keeps_it(api: Api) -> None:
    with api.database.writing() as session:
        find_dataset(session, "default", "d").labels = [LABEL, "bee", "cat", "dog"]
    published = publish(api, LABEL, subject_reference=REFERENCE)
    with api.database.writing() as session:
        purge = enqueue(
            session,
            JobKind.PURGE,
            tenant="default",
            actor="test",
            spec={},
            max_attempts=1,
            parent=UUID(published.id),
        )
        target = {"kind": "images", "what": "images in data set 'd', train", "sha256": None, "classes": [LABEL]}
        row = {"tenant": "default", "actor": "test", "before": {}, "began_at": purge.created_at}
        session.add(Purge(job_id=purge.id, request_id=UUID(published.id), targets=[target], **row))
        # What a purge leaves of the class in the data set: a row at zero.
        counts = find_dataset(session, "default", "d").summary or {}
        find_dataset(session, "default", "d").summary = {
            "splits": {split: one | {LABEL: 0} for split, one in counts["splits"].items()}
        }
    assert erase(api).json()["type"].endswith("subject-has-open-requests")
    assert erase_expired(api.database, retention=timedelta(0)) == []
    lease = claims.claim(api.database, owner="w", ttl=HOUR, only=purge.id)
    assert lease is not None
    with api.database.writing() as session:
        claims.finish(session, lease, JobState.COMPLETED)
    assert tables_with(api, LABEL.encode()) > LABEL_LISTS
    assert api.local.delete(f"/subjects/{REFERENCE}?labels=true").json()["labels"] == 1
    assert tables_with(api, LABEL.encode()) == set()
    submit(api, json.dumps(body("bee")).encode(), '"next"')


def test_bytes_that_stay_in_a_sqlite_file_after_their_row_is_gone_are_scrubbed(small_api: Api) -> None:
    """SQLite forgets where a deleted cell was, not what stood in it; nor does `secure_delete` find every copy."""
    references = {f"{number:04}-jane.roe@example.org" for number in range(20)}
    for reference in references:
        submit(small_api, json.dumps(body("bee", subject_reference=reference)).encode(), f'"{reference[:4]}"')
        end(small_api, JobState.CANCELLED)
    with sqlite3.connect(make_url(small_api.resources.settings.database_url).database or "") as careless:
        careless.execute("PRAGMA secure_delete=OFF")
        careless.execute("DELETE FROM submissions")
        careless.execute(
            "UPDATE unlearn_requests SET subject_reference = NULL, erased_at = '2026-01-31 12:00:00.000000'"
        )
    careless.close()
    assert tables_with(small_api, b"jane.roe") == set()
    assert files_with(small_api, b"jane.roe") != set()
    assert scrub(small_api.database)
    assert files_with(small_api, b"jane.roe") == set()


def test_an_erased_request_is_shown_without_what_was_personal(api: Api) -> None:
    job_id = submit(api, asked())
    end(api)
    before = api.local.get(f"/unlearn/{job_id}")
    erase(api)
    shown = api.local.get(f"/unlearn/{job_id}", headers={"If-None-Match": before.headers["etag"]}).json()
    assert shown["classes"] == [{"index": 0, "label": None}]
    assert (shown["note"], shown["external_reference"], shown["state"]) == (None, None, "published")
    assert shown["erased_at"] is not None
    assert before.json()["erased_at"] is None
    assert api.local.get("/unlearn").json()["items"][0]["classes"] == [{"index": 0, "label": None}]
    report = api.local.get(f"/audit/report?request={job_id}").json()
    assert (report["subject_reference"], report["erased_at"]) == (None, shown["erased_at"])
    page = api.local.get(f"/audit/report?request={job_id}&format=html").text
    assert "erased on" in page
    assert REFERENCE not in page


def test_the_ledger_says_that_a_key_was_destroyed_and_not_whose(api: Api) -> None:
    job_id = submit(api, asked())
    end(api)
    erase(api)
    entry = api.ledger()[-1]
    assert (entry["type"], entry["request"], entry["actor"]) == ("request.key_destroyed", str(job_id), "local:loopback")
    assert entry["data"]["reason"] == "asked"
    assert "subject" not in entry
    assert "classes" not in entry["data"]


def test_erasing_again_or_an_unknown_subject_or_anothers_looks_the_same(api: Api) -> None:
    submit(api, asked())
    end(api)
    other = api.with_key("subjects:erase", "subjects:read", tenant="other")
    foreign = erase(api, client=other)
    assert api.local.get(f"/subjects/{REFERENCE}").json()["items"] != []
    erase(api)
    size = len(api.ledger())
    again, unknown = erase(api), erase(api, "nobody")
    for answer in (foreign, again, unknown):
        assert (answer.status_code, answer.json()) == (200, {"requests": [], "labels": 0})
    for client, reference in ((api.local, REFERENCE), (api.local, "nobody"), (other, REFERENCE)):
        assert client.get(f"/subjects/{reference}").json() == {"items": []}
    assert len(api.ledger()) == size


def test_a_subject_with_an_open_request_is_not_erased(api: Api) -> None:
    job_id = submit(api, asked())
    end(api)
    api.local.post("/unlearn", json=body("bee", subject_reference=REFERENCE))
    answer = erase(api)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:expunge:problem:subject-has-open-requests")
    assert len(answer.json()["requests"]) == 1
    assert api.local.get(f"/unlearn/{job_id}").json()["erased_at"] is None


def test_erasing_needs_its_own_scope(api: Api) -> None:
    for scopes in (("subjects:read", "audit:read"), ("requests:cancel",)):
        assert erase(api, client=api.with_key(*scopes)).status_code == 403
    assert api.with_key("subjects:erase").get(f"/subjects/{REFERENCE}").status_code == 403


def test_the_same_key_begins_a_new_request_once_the_first_is_erased(api: Api) -> None:
    first = submit(api, asked())
    end(api, JobState.CANCELLED)
    assert submit(api, asked()) == first
    erase(api)
    with api.database.reading() as session:
        assert session.execute(select(IdempotencyRecord)).scalars().all() == []
    assert submit(api, asked()) != first


def test_an_erased_request_cannot_be_taken_up_again(api: Api) -> None:
    failed = submit(api, asked())
    end(api, JobState.FAILED)
    api.local.post(f"/unlearn/{failed}/deadline/answer", json={"reason": "told by letter"})
    erase(api)
    answer = api.local.post(f"/unlearn/{failed}/retry")
    assert (answer.status_code, answer.json()["type"]) == (410, "urn:expunge:problem:request-erased")


def test_retention_erases_what_ended_long_ago_and_nothing_else(api: Api) -> None:
    old = submit(api, asked())
    end(api)
    recent = submit(api, json.dumps(body("bee")).encode(), '"b"')
    end(api)
    waiting = submit(api, json.dumps(body("cat")).encode(), '"c"')
    with api.database.writing() as session:
        past = database_now(session) - timedelta(days=31)
        session.execute(update(Job).where(Job.id.in_([old, waiting])).values(created_at=past))
        session.execute(update(Job).where(Job.id == old).values(finished_at=past))
    assert erase_expired(api.database, retention=timedelta(days=32)) == []
    assert erase_expired(api.database, retention=timedelta(days=30)) == [old]
    assert erase_expired(api.database, retention=timedelta(days=30)) == []
    shown = {one: api.local.get(f"/unlearn/{one}").json()["erased_at"] for one in (old, recent, waiting)}
    assert [one for one, erased_at in shown.items() if erased_at] == [old]
    assert (api.ledger()[-1]["actor"], api.ledger()[-1]["data"]["reason"]) == ("system:retention", "retention")


def test_however_many_erase_at_once_each_key_is_destroyed_once(api: Api) -> None:
    for key in ("a", "b", "c"):
        submit(api, asked(), f'"{key}"')
        end(api, JobState.CANCELLED)

    def sweep(number: int) -> int:
        if number % 2:
            return len(erase_expired(api.database, retention=timedelta(0)))
        return len(erase(api).json()["requests"])

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(sweep, range(12))) == 3
    destroyed = [leaf["request"] for leaf in api.ledger() if leaf["type"] == "request.key_destroyed"]
    assert len(destroyed) == len(set(destroyed)) == 3


def test_a_file_that_is_busy_is_scrubbed_later(small_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = submit(small_api, json.dumps(body("bee", subject_reference=REFERENCE)).encode())
    end(small_api, JobState.CANCELLED)

    def busy(_database: Database) -> None:
        raise OperationalError("VACUUM", {}, sqlite3.OperationalError("database is locked"))

    def scrubbed() -> bool:
        with small_api.database.reading() as session:
            return session.get_one(UnlearnRequest, job_id).scrubbed_at is not None

    with monkeypatch.context() as while_busy:
        while_busy.setattr(Database, "rebuild", busy)
        assert erase(small_api).json()["requests"] == [str(job_id)]
    assert not scrubbed()
    Upkeep(small_api.database, small_api.resources.settings).look()
    assert scrubbed()


def test_the_log_has_routes_and_no_references(small_api: Api, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="expunge"):
        small_api.local.get(f"/subjects/{REFERENCE}")
        erase(small_api)
        small_api.local.post(f"/subjects/{REFERENCE}")
    assert caplog.text.count("/subjects/{reference:path}") >= 2
    assert "jane" not in caplog.text


@pytest.mark.parametrize(("retention", "erased"), [(None, False), (timedelta(seconds=0.000001), True)])
def test_upkeep_erases_only_if_the_operator_set_a_period(
    api: Api, retention: timedelta | None, *, erased: bool
) -> None:
    job_id = submit(api, asked())
    end(api)
    settings = Settings(database_url=api.resources.settings.database_url, subject_retention=retention)
    upkeep = Upkeep(api.database, settings)
    assert upkeep.look()
    assert not upkeep.look()
    assert bool(api.local.get(f"/unlearn/{job_id}").json()["erased_at"]) is erased
    with api.database.reading() as session:
        assert bool(session.get_one(UnlearnRequest, job_id).scrubbed_at) is erased
    assert scrub(api.database)
