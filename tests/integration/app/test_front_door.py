"""What holds for every route: who is let in, what is refused at the edge, how failures are told."""

import itertools
import json
import logging
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app import middleware
from app.keys.tables import ApiKey
from tests.integration.app.api import LOOPBACK, Api, TestClient, body


def test_a_caller_from_afar_needs_a_key(small_api: Api) -> None:
    answer = small_api.from_afar().get("/unlearn")
    assert (answer.status_code, answer.json()["type"]) == (401, "urn:expunge:problem:unauthenticated")
    assert answer.headers["www-authenticate"] == 'Bearer realm="expunge"'


@pytest.mark.parametrize("value", ["Bearer", "Bearer nonsense", "Basic dXNlcjpwYXNz", "exp_live_x", ""])
def test_a_bad_key_is_refused_even_on_loopback(small_api: Api, value: str) -> None:
    answer = small_api.local.get("/unlearn", headers={"Authorization": value})
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_a_key_opens_what_its_scopes_say(small_api: Api) -> None:
    reader = small_api.with_key("requests:read")
    assert reader.get("/unlearn").status_code == 200
    refused = reader.post("/unlearn", json=body("ant"))
    assert (refused.status_code, refused.json()["scope"]) == (403, "requests:submit")
    assert small_api.with_key("admin").post("/unlearn", json=body("ant")).status_code == 202


def test_loopback_needs_a_key_unless_the_operator_says_otherwise(sqlite_url: str, tmp_path: Path) -> None:
    closed = Api(sqlite_url, tmp_path, allow_anonymous_loopback=False)
    assert closed.local.get("/unlearn").status_code == 401
    assert closed.local.get("/livez").status_code == 200


@pytest.mark.parametrize(
    ("base_url", "client", "headers"),
    [
        ("http://127.0.0.1:8080", ("192.0.2.1", 1), {}),
        ("http://192.0.2.7:8080", LOOPBACK, {}),
        ("http://127.0.0.1:8080", LOOPBACK, {"X-Forwarded-For": "127.0.0.1"}),
        ("http://127.0.0.1:8080", LOOPBACK, {"Forwarded": "for=127.0.0.1"}),
        ("http://127.0.0.1:8080", LOOPBACK, {"Host": "rebound.example"}),
        ("http://127.0.0.1:8080", LOOPBACK, {"Origin": "http://evil.example"}),
        ("http://127.0.0.1:8080", LOOPBACK, {"Origin": "null"}),
        ("http://127.0.0.1:8080", LOOPBACK, {"Sec-Fetch-Site": "cross-site"}),
        ("http://127.0.0.1:8080", LOOPBACK, {"Sec-Fetch-Site": "same-site"}),
    ],
)
def test_nobody_is_anonymous_who_may_come_from_elsewhere(
    small_api: Api, base_url: str, client: tuple[str, int], headers: dict[str, str]
) -> None:
    visitor = TestClient(small_api.app, base_url=base_url, client=client, headers=headers)
    assert visitor.get("/unlearn").status_code == 401


@pytest.mark.parametrize(
    ("base_url", "client", "headers"),
    [
        ("http://127.0.0.1:8080", LOOPBACK, {"Origin": "http://127.0.0.1:8080", "Sec-Fetch-Site": "same-origin"}),
        ("http://127.0.0.1:8080", ("127.0.0.2", 1), {"Host": "localhost:8080"}),
        ("http://[::1]:8080", ("::1", 1), {}),
    ],
)
def test_the_local_operator_is_let_in(
    small_api: Api, base_url: str, client: tuple[str, int], headers: dict[str, str]
) -> None:
    visitor = TestClient(small_api.app, base_url=base_url, client=client, headers=headers)
    assert visitor.get("/unlearn").status_code == 200


def test_a_body_announced_too_large_is_refused_unread(small_api: Api) -> None:
    for method, path in (("POST", "/unlearn"), ("PUT", "/models/m/weights"), ("GET", "/nowhere")):
        answer = small_api.call(method, path, content=[b"x"], content_length=str(10**12))
        assert (answer.status, answer.slug, answer.num_read) == (413, "content-too-large", 0)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["connection"] == "close"


def test_a_caller_who_goes_on_sending_is_listened_to_for_a_moment_only(
    small_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = itertools.count(1)
    monkeypatch.setattr(middleware, "LINGER_BYTES", 5_000)
    answer = small_api.call("PUT", "/models/nobody/weights", content=(b"x" * 1_000 for _ in sizes))
    assert (answer.status, answer.slug) == (404, "unknown-model")
    assert next(sizes) == 6  # five pieces were taken
    monkeypatch.setattr(middleware, "LINGER_SECONDS", 0.05)
    silent = small_api.call("PUT", "/models/nobody/weights", content=[b"x"], silent=True)
    assert (silent.status, silent.slug) == (404, "unknown-model")


def test_a_body_that_was_read_leaves_the_connection_open(small_api: Api) -> None:
    assert "connection" not in small_api.call("POST", "/unlearn", body=body("eel")).headers


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml"])
def test_a_body_that_does_not_say_it_is_json_is_told_what_to_say(small_api: Api, media_type: str) -> None:
    sent = json.dumps(body("ant"))
    answer = small_api.local.post("/unlearn", content=sent, headers={"Content-Type": media_type})
    assert (answer.status_code, answer.json()["type"]) == (415, "urn:expunge:problem:unsupported-media-type")
    assert "application/json" in answer.json()["detail"]


def test_an_unannounced_body_is_cut_off_at_the_limit(small_api: Api) -> None:
    sent = b'{"note": "' + b"x" * 3_000_000
    answer = small_api.local.post("/unlearn", content=iter([sent]), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:expunge:problem:content-too-large")


def test_what_does_not_exist_is_a_problem_document(small_api: Api) -> None:
    missing = small_api.local.get("/nowhere")
    assert (missing.status_code, missing.json()["type"]) == (404, "urn:expunge:problem:no-such-resource")
    wrong = small_api.local.put("/unlearn")
    assert (wrong.status_code, wrong.json()["type"]) == (405, "urn:expunge:problem:method-not-allowed")
    assert wrong.headers["allow"] == "GET, POST"
    assert {answer.headers["content-type"] for answer in (missing, wrong)} == {"application/problem+json"}


def test_an_error_nobody_foresaw_tells_nothing_of_the_inside(
    small_api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("secret inside")

    monkeypatch.setattr("app.unlearn.service.list_requests", broken)
    answer = small_api.local.get("/unlearn")
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:expunge:problem:internal-error")
    assert "secret" not in answer.text
    assert "ZeroDivision" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"] in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert "test_front_door.py" in caplog.text
    assert "secret" not in caplog.text


def test_a_database_that_cannot_be_reached_is_503_and_says_when_to_come_back(
    small_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise OperationalError("SELECT secret", {}, sqlite3.OperationalError("unable to open database file"))

    monkeypatch.setattr("app.unlearn.service.list_requests", unreachable)
    answer = small_api.local.get("/unlearn")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:expunge:problem:database-unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert "SELECT" not in answer.text


def test_a_202_is_sent_after_the_commit_only(api: Api) -> None:
    def full_disk(_session: Session) -> None:
        raise OperationalError("COMMIT", {}, sqlite3.OperationalError("disk full"))

    event.listen(Session, "before_commit", full_disk)
    try:
        answer = api.local.post("/unlearn", json=body("ant"))
    finally:
        event.remove(Session, "before_commit", full_disk)
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:expunge:problem:database-unavailable")
    assert api.local.get("/unlearn").json()["items"] == []


def test_the_log_line_names_neither_resources_nor_search_terms(
    small_api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="expunge.access"):
        small_api.local.get("/models/erika-mustermann")
        small_api.local.get("/unlearn?external_reference=erika")
    assert len(caplog.records) == 2
    assert "erika" not in caplog.text
    assert '"route": "/models/{name}"' in caplog.text


def test_every_answer_carries_the_safety_headers(small_api: Api) -> None:
    for path in ("/livez", "/nowhere", "/unlearn", "/openapi.json"):
        headers = small_api.local.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]


def test_ready_means_that_the_database_takes_writes(api: Api) -> None:
    report = api.local.get("/readyz")
    assert (report.status_code, report.json()["status"]) == (200, "ready")
    assert report.json()["durability"]
    with api.database.reading() as session:
        assert session.query(ApiKey).count() == 0


def test_an_old_schema_is_not_ready(tmp_path: Path) -> None:
    empty = Api(f"sqlite:///{tmp_path / 'empty.db'}", tmp_path)
    report = empty.local.get("/readyz")
    assert (report.status_code, report.json()["checks"]["schema"]["status"]) == (503, "failed")
    assert empty.local.get("/livez").status_code == 200


def test_redis_down_is_degraded_but_ready(sqlite_url: str, tmp_path: Path) -> None:
    down = Api(sqlite_url, tmp_path, redis_url="redis://127.0.0.1:1/0")
    report = down.local.get("/readyz")
    assert (report.status_code, report.json()["status"]) == (200, "degraded")


def test_the_documentation_shows_every_route_without_any_script(small_api: Api) -> None:
    page = small_api.from_afar().get("/docs")
    description = small_api.from_afar().get("/openapi.json").json()
    assert page.status_code == 200
    assert "<script" not in page.text
    for path in description["paths"]:
        assert path in page.text
    assert "requests:submit" in page.text
