"""A request sent twice under one key is done once."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from sqlalchemy import func, select

from core.ledger.tables import LedgerEntry
from core.requests.tables import IdempotencyRecord, Job
from tests.integration.app.api import Api, body

QUOTED = {"Idempotency-Key": '"8e03978e-40d5-43e8-bc93-6894a57f9324"'}
BARE = {"Idempotency-Key": "8e03978e-40d5-43e8-bc93-6894a57f9324"}


def jobs(api: Api) -> int:
    """How many jobs there are."""
    with api.database.reading() as session:
        return int(session.execute(select(func.count()).select_from(Job)).scalar_one())


def test_the_first_answer_is_replayed_whatever_happened_since(api: Api) -> None:
    first = api.local.post("/unlearn", json=body("ant"), headers=QUOTED)
    api.local.delete(first.headers["location"])
    second = api.local.post("/unlearn", json=body("ant"), headers=BARE)
    assert (second.status_code, second.content) == (202, first.content)
    assert second.headers["location"] == first.headers["location"]
    assert second.headers["retry-after"] == first.headers["retry-after"]
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert jobs(api) == 1


def test_a_key_with_another_body_is_refused(api: Api) -> None:
    first = api.local.post("/unlearn", json=body("ant"), headers=QUOTED)
    other = api.local.post("/unlearn", json=body("bee"), headers=QUOTED)
    assert (other.status_code, other.json()["type"]) == (422, "urn:expunge:problem:idempotency-key-reused")
    assert other.json()["request"] == first.headers["location"]
    assert jobs(api) == 1


def test_a_refused_request_does_not_use_up_its_key(api: Api) -> None:
    assert api.local.post("/unlearn", json=body("eel"), headers=QUOTED).status_code == 422
    assert api.local.post("/unlearn", json=body("ant"), headers=QUOTED).status_code == 202


def test_tenants_do_not_share_keys(api: Api) -> None:
    api.register("other")
    mine = api.local.post("/unlearn", json=body("ant"), headers=QUOTED)
    theirs = api.with_key("requests:submit", tenant="other").post("/unlearn", json=body("ant"), headers=QUOTED)
    assert theirs.status_code == 202
    assert theirs.headers["location"] != mine.headers["location"]
    assert "idempotency-replayed" not in theirs.headers


@pytest.mark.parametrize("key", ["", '""', '"unclosed', '"a"b"', "x" * 256, "with space", '"' + "x" * 256 + '"', "ü"])
def test_a_malformed_key_is_refused_before_anything_is_done(small_api: Api, key: str) -> None:
    answer = small_api.local.post("/unlearn", json=body("ant"), headers={"Idempotency-Key": key.encode("latin-1")})
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:expunge:problem:malformed-header")
    assert jobs(small_api) == 0


def test_twenty_at_once_make_one_job(api: Api) -> None:
    headers = {"Idempotency-Key": f'"{uuid4()}"'}
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: api.local.post("/unlearn", json=body("ant"), headers=headers), range(20)))
    assert [answer.status_code for answer in answers] == [202] * 20
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    with api.database.reading() as session:
        for table in (Job, IdempotencyRecord):
            assert session.execute(select(func.count()).select_from(table)).scalar_one() == 1
        accepted = select(func.count()).where(LedgerEntry.type == "request.accepted")
        assert session.execute(accepted).scalar_one() == 1


def test_twenty_at_once_without_a_key_make_one_job_too_because_the_class_is_taken(api: Api) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: api.local.post("/unlearn", json=body("ant")), range(20)))
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 19
    assert jobs(api) == 1


def test_one_key_for_two_bodies_at_once_accepts_exactly_one(api: Api) -> None:
    names = ["ant", "bee"] * 5
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda name: api.local.post("/unlearn", json=body(name), headers=QUOTED), names))
    assert sorted(answer.status_code for answer in answers) == [202] * 5 + [422] * 5
    assert jobs(api) == 1
