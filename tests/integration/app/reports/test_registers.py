"""Registers: the same facts in every form, whole periods without much memory, and nothing of other tenants."""

import csv
import io
import json
import re
from datetime import date, timedelta
from html import unescape
from typing import Any

import pypdf
import pytest
from sqlalchemy import select, update

from app.reports.filters import Filters
from app.reports.register import COLUMNS, register
from core.requests import claims
from core.requests.tables import UnlearnRequest
from core.states import JobState
from tests.integration.app.api import Api, TestClient, add_dataset, add_model, add_ready_version, body, enough

GROUNDS = ["art17_1_a", "art17_1_b", "art17_1_c"]
LABELS = ["ant", "bee", '=HYPERLINK("http://evil.example")', "<img src=file:///etc/passwd>"]


@pytest.fixture
def year(api: Api) -> tuple[Api, list[dict[str, Any]]]:
    """Three requests of one tenant in three months, one of another tenant; the first one failed, one is cancelled."""
    api.register("t", labels=LABELS)
    api.register("other")
    with api.database.writing() as session:
        add_ready_version(session, add_model(session, "t", LABELS, name="second"))
    client = api.with_key("requests:submit", "requests:cancel", tenant="t")
    sent = [
        body(
            LABELS[place + 1],
            received_on=f"2026-0{place + 7}-15",
            legal_ground=ground,
            subject_reference="anna" if place < 2 else "bob",
            external_reference=f"T-{place}",
            note="-2+3",
        )
        for place, ground in enumerate(GROUNDS)
    ]
    made = [client.post("/unlearn", json=one).json() for one in sent]
    lease = claims.claim(api.database, owner="w", ttl=timedelta(minutes=1))
    assert lease is not None
    problem = {"slug": "x", "title": "Something broke", "detail": "It did."}
    with api.database.writing() as session:
        claims.finish(session, lease, JobState.FAILED, problem=problem)
    client.delete(f"/unlearn/{made[1]['id']}")
    api.with_key("requests:submit", tenant="other").post("/unlearn", json=body("ant", received_on="2026-08-01"))
    return api, made


def ids(answer: Any) -> list[str]:
    return [row["request"] for row in answer.json()["requests"]]


def auditor(api: Api, tenant: str = "t") -> TestClient:
    return api.with_key("audit:read", tenant=tenant)


def test_a_period_counts_days_of_receipt_and_includes_both_ends(year: tuple[Api, list[dict[str, Any]]]) -> None:
    api, made = year
    client, wanted = auditor(api), [one["id"] for one in made]
    assert ids(client.get("/audit/report?from=2026-07-15&to=2026-09-15")) == wanted
    assert ids(client.get("/audit/report?from=2026-07-16&to=2026-09-15")) == wanted[1:]
    assert ids(client.get("/audit/report?to=2026-09-14")) == wanted[:2]
    assert ids(client.get("/audit/report?from=2026-08-15&to=2026-08-15")) == [wanted[1]]


def test_a_model_and_a_data_subject_have_registers_too(year: tuple[Api, list[dict[str, Any]]]) -> None:
    api, made = year
    client, wanted = auditor(api), [one["id"] for one in made]
    assert ids(client.get("/audit/report?model=m")) == wanted
    assert ids(client.get("/audit/report?model=second")) == []
    assert ids(client.get("/audit/report?subject=anna")) == wanted[:2]
    assert ids(client.get("/audit/report?subject=anna&from=2026-08-01")) == [wanted[1]]


def test_an_empty_period_says_so_in_every_form(year: tuple[Api, list[dict[str, Any]]]) -> None:
    api, _ = year
    client, path = auditor(api), "/audit/report.{}?from=2025-01-01&to=2025-12-31"
    assert client.get(path.format("json")).json()["totals"]["requests"] == 0
    assert "That is the whole answer" in client.get(path.format("html")).text
    assert "That is the whole answer" in text_of(client.get(path.format("pdf")).content)
    assert client.get(path.format("csv")).text == ",".join(f'"{name}"' for name in COLUMNS) + "\r\n"


@pytest.mark.parametrize(
    ("query", "status", "slug", "words"),
    [
        ("", 422, "validation-error", "Expected `request`, or one or several of"),
        ("from=2026-03-02&to=2026-03-01", 422, "validation-error", "2026-03-02 and 2026-03-01; exchange them"),
        ("from=2026-02-30", 422, "validation-error", "Expected a day of the calendar as YYYY-MM-DD, got '2026-02-30'"),
        ("from=0", 422, "validation-error", "Expected a day of the calendar"),
        ("to=2026-01-01T00:00:00", 422, "validation-error", "Expected a day of the calendar"),
        ("model=nobody", 404, "unknown-model", "'nobody'"),
        ("subject=carla", 404, "unknown-subject", "byte for byte"),
        ("subject=anna&request=00000000-0000-0000-0000-000000000000", 422, "validation-error", "got both"),
        ("model=m&after=00000000-0000-0000-0000-000000000000", 404, "unknown-request", "one of your requests"),
        ("request=00000000-0000-0000-0000-000000000000", 404, "unknown-request", "one of your requests"),
        ("model=m&limit=0", 422, "validation-error", "greater than or equal to 1"),
    ],
)
def test_a_mistake_is_a_problem_with_a_sentence(
    year: tuple[Api, list[dict[str, Any]]], query: str, status: int, slug: str, words: str
) -> None:
    answer = auditor(year[0]).get(f"/audit/report.html?{query}")
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:expunge:problem:{slug}")
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in json.dumps(answer.json(), ensure_ascii=False)
    assert "carla" not in answer.text


def test_other_tenants_and_keys_without_the_scope_see_nothing(year: tuple[Api, list[dict[str, Any]]]) -> None:
    api, made = year
    other = auditor(api, "other")
    assert len(ids(other.get("/audit/report?from=2026-01-01"))) == 1
    assert other.get("/audit/report?subject=anna").json()["type"].endswith("unknown-subject")
    assert other.get(f"/audit/report?model=m&after={made[0]['id']}").json()["type"].endswith("unknown-request")
    assert api.with_key("requests:read", tenant="t").get("/audit/report.csv?model=m").status_code == 403


def text_of(pdf: bytes) -> str:
    pages = pypdf.PdfReader(io.BytesIO(pdf)).pages
    return " ".join(" ".join(page.extract_text() for page in pages).split())


def test_the_same_facts_stand_in_every_form(year: tuple[Api, list[dict[str, Any]]]) -> None:
    api, made = year
    client, path = auditor(api), "/audit/report.{}?from=2026-07-01&to=2026-09-30"
    document = client.get(path.format("json")).json()
    html = client.get(path.format("html")).text
    shown = " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())
    printed = text_of(client.get(path.format("pdf")).content).replace(" ", "")
    table = list(csv.DictReader(io.StringIO(client.get(path.format("csv")).text, newline="")))
    states = ["failed", "cancelled", "queued"]
    for place, (one, row, cells) in enumerate(zip(made, document["requests"], table, strict=True)):
        facts = [one["id"], f"2026-0{place + 7}-15", states[place], f"T-{place}", "anna" if place < 2 else "bob"]
        assert [row[name] for name in ("request", "received_on", "state", "external_reference")] == facts[:4]
        assert [cells[name] for name in ("request", "received_on", "state", "external_reference")] == facts[:4]
        assert row["legal_ground"] == cells["legal_ground"] == GROUNDS[place]
        assert row["first_ledger_entry"] == int(cells["first_ledger_entry"])
        for fact in facts:
            assert fact in shown
            assert fact.replace(" ", "") in printed
        assert f"GDPR Article 17(1)({'abc'[place]})" in shown
        assert f"GDPRArticle17(1)({'abc'[place]})" in printed
        assert LABELS[place + 1] in shown
        assert LABELS[place + 1].replace(" ", "") in printed
    assert {count["of"].split(":")[0]: count["requests"] for count in document["totals"]["by_outcome"]} == {
        "queued": 1,
        "failed": 1,
        "cancelled": 1,
    }
    assert "<img" not in html
    assert [cells["class_labels"] for cells in table] == ["bee", "'" + LABELS[2], LABELS[3]]
    assert all(cells["note"] == "'-2+3" for cells in table)


def test_the_report_of_one_request_has_the_same_facts_in_every_form(year: tuple[Api, list[dict[str, Any]]]) -> None:
    api, made = year
    client, path = auditor(api), f"/unlearn/{made[0]['id']}/report."
    document = client.get(path + "json").json()
    shown = " ".join(unescape(re.sub(r"<[^>]*>", " ", client.get(path + "html").text)).split())
    printed = text_of(client.get(path + "pdf").content)
    (cells,) = csv.DictReader(io.StringIO(client.get(path + "csv").text, newline=""))
    assert document["accounted"]["legal_ground_in_words"] == cells["legal_ground_in_words"]
    assert document["accounted"]["outcome"] == cells["outcome"]
    headings = (
        "Time limits (Article 12(3))",
        "What was done, and when (Article 17)",
        "Which copies were retired (Article 17)",
        "Who was told (Article 19)",
        "Measurements (Article 5(2))",
        "What remains uncertain",
        "Is the model anonymous now? (EDPB Opinion 28/2024)",
        "Record of processing (Article 30)",
        "Evidence: the ledger",
    )
    facts = (made[0]["id"], "2026-07-15", "failed", "T-0", "anna", cells["legal_ground_in_words"], cells["outcome"])
    for fact in (*facts, *headings, *(str(entry["seq"]) for entry in document["ledger"]), "Article 12(4)"):
        assert fact in shown
        assert fact in printed


def test_a_part_leads_to_the_next_until_nothing_is_left(year: tuple[Api, list[dict[str, Any]]]) -> None:
    api, made = year
    client, found, path = auditor(api), [], "/audit/report.json?from=2026-01-01&limit=2"
    for _ in range(3):
        answer = client.get(path)
        found += ids(answer)
        if "link" not in answer.headers:
            break
        path = re.fullmatch(r'<(.*)>; rel="next"', answer.headers["link"])[1]  # type: ignore[index]
    assert found == [one["id"] for one in made]
    first = client.get("/audit/report.html?from=2026-01-01&limit=2").text
    assert f"<code>after={made[1]['id']}</code>" in first
    assert "1 to 2" in first


def test_more_requests_than_are_read_at_once_come_once_each_and_in_order(
    small_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.reports.register.CHUNK", 4)
    api, count = small_api, 9
    with api.database.writing() as session:
        api_model = add_model(session, "t", [f"c{place}" for place in range(count + 2)])
        add_ready_version(session, api_model)
        add_dataset(session, "t", enough(list(api_model.labels)), labels=list(api_model.labels))
    client = api.with_key("requests:submit", tenant="t")
    for place in range(count):
        assert client.post("/unlearn", json=body(place)).status_code == 202
    rows = list(register(api.database, Filters(tenant="t")))
    assert [row.class_indices for row in rows] == [[place] for place in range(count)]
    for most in (3, 4, 5, 8):
        assert len(list(register(api.database, Filters(tenant="t"), most=most))) == most
    with api.database.writing() as session:
        session.execute(update(UnlearnRequest).values(received_on=date(2026, 1, 31)))
        assert session.execute(select(UnlearnRequest.received_on).distinct()).scalars().all() == [date(2026, 1, 31)]
    assert len(ids(auditor(api).get("/audit/report?from=2026-01-31&to=2026-01-31"))) == count
