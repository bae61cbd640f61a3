"""The report: everything that matters is in it, and nothing in it can act."""

import base64
import re
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from core.policy.policies import STANDARD, TestName
from core.policy.verdict import Evidence, judge
from core.requests import claims
from core.requests.repository import enqueue
from core.requests.tables import JobStep, UnlearnRequest
from core.states import JobKind, JobState
from models_store.registry import find_model, find_version
from tests.integration.app.api import Api, add_ready_version, body

HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}"


def measure(value: float, **members: Any) -> dict[str, Any]:
    """One number as the worker writes it."""
    return {"value": value, "low": value, "high": value, "n": 50, "seed": None, "direction": "lower", **members}


def result() -> dict[str, Any]:
    """The result of a job whose verdict passed."""
    values = dict.fromkeys(TestName, 0.0) | {TestName.MEMBERSHIP_AUC: 0.5}
    evidence = [Evidence(name=name, value=value, low=value, high=value, n=50) for name, value in values.items()]
    verdict = judge(evidence, STANDARD)
    return {
        "base_version": 1,
        "new_version": 2,
        "method": {"name": "paper", "alpha_r": 10.0, "alpha_f": 3.0, "chosen": True, "layers": ["a", "b"]},
        "measures": {
            "original": {"forget_accuracy_test": measure(0.987), "per_class_accuracy_test": [1.0, 0.9]},
            "unlearned": {
                "forget_accuracy_test": measure(0.012),
                "restored_head_forget_accuracy": measure(0.123),
                "house_measure": measure(0.456, direction="two-sided"),
            },
        },
        "verdict": verdict.as_json(),
        "forgotten": [0],
        "curves": {"confusion": {"original": [[9, 1, 0], [1, 9, 0], [0, 0, 10]], "unlearned": [[0, 9, 1]] * 3}},
        "cost": {"seconds": 1.5, "samples": 321},
        "environment": {"torch": "2.12.1", "device": "cpu", "threads": 2},
    }


@pytest.fixture
def finished(api: Api) -> tuple[Api, str]:
    """A published request about a class with a hostile name, and its report's path."""
    api.register("evil", labels=[HOSTILE, "bee", "cat"])
    client = api.with_key("requests:submit", tenant="evil")
    sent = body(HOSTILE, legal_ground="art17_1_b", subject_reference=HOSTILE, note=HOSTILE, external_reference="T-9")
    request = client.post("/unlearn", json=sent).json()
    lease = claims.claim(api.database, owner="w", ttl=timedelta(minutes=1))
    assert lease is not None
    with api.database.writing() as session:
        model = find_model(session, "evil", "m")
        new = add_ready_version(session, model, forgotten=[0], artifact_sha256="cd" * 32, job_id=lease.job_id)
        ids = {"base_version_id": find_version(session, model, 1).id, "new_version_id": new.id}
        session.execute(update(UnlearnRequest).where(UnlearnRequest.job_id == lease.job_id).values(**ids))
        common = {"tenant": "evil", "actor": "w", "fence": lease.fence, "output": {}, "output_sha256": ""}
        times = {"started_at": new.created_at, "finished_at": new.created_at + timedelta(seconds=1.25)}
        session.add(JobStep(job_id=lease.job_id, step="load", **times, **common))
        claims.finish(session, lease, JobState.PUBLISHED, result=result())
    return api, f"/audit/report?request={request['id']}"


def test_the_report_says_who_what_when_why_and_how_it_ended(finished: tuple[Api, str]) -> None:
    api, path = finished
    report = api.with_key("audit:read", tenant="evil").get(path).json()
    assert report["asked_by"].startswith("key:")
    assert (report["legal_ground"], report["external_reference"], report["state"]) == ("art17_1_b", "T-9", "published")
    assert report["classes"] == [{"index": 0, "label": HOSTILE}]
    assert (report["base_version"]["number"], report["base_version"]["sha256"]) == (1, "ab" * 32)
    assert (report["new_version"]["number"], report["new_version"]["sha256"]) == (2, "cd" * 32)
    assert report["verdict"]["outcome"] == "pass"
    assert len(report["verdict"]["decided_by"]) == len(STANDARD.deciding)
    assert report["steps"] == [{"name": "load", "seconds": 1.25}]
    rows = {row["name"]: row for row in report["measures"]}
    assert rows["forget_accuracy_test"]["before"]["value"] == 0.987
    assert rows["forget_accuracy_test"]["after"]["value"] == 0.012
    assert rows["restored_head_forget_accuracy"]["before"] is None
    assert rows["house_measure"]["direction"] == "neither high nor low"
    assert "per_class_accuracy_test" not in rows
    assert "not a guarantee" in report["statement"]


def test_the_report_says_what_was_measured_and_what_was_not(finished: tuple[Api, str]) -> None:
    api, path = finished
    report = api.with_key("audit:read", tenant="evil").get(path).json()
    assert report["class_labels"] == [HOSTILE, "bee", "cat"]
    assert report["curves"]["confusion"]["unlearned"] == [[0, 9, 1]] * 3
    assert report["curves"]["few_shot"] is None
    assert report["coverage"]["reference"] is None
    assert report["coverage"]["audit"] is None
    assert [row["name"] for row in report["coverage"]["tests"]] == [name.value for name in TestName]
    assert report["cost"] == [
        {"name": "Deletion", "value": "1.5 s"},
        {"name": "Images used by the deletion", "value": "321"},
    ]


def test_a_finished_audit_stands_in_the_report(finished: tuple[Api, str]) -> None:
    api, path = finished
    client = api.with_key("audit:read", tenant="evil")
    request = client.get(path).json()["request"]
    found = {"measures": {"u_lira_auc": measure(0.534)}, "models": {"unlearned": 2, "retrained": 2}}
    asked = {"pairs": 2, "seed": 0}
    with api.database.writing() as session:
        enqueue(session, JobKind.AUDIT, tenant="evil", actor="w", spec=asked, max_attempts=1, parent=UUID(request))
    lease = claims.claim(api.database, owner="w", ttl=timedelta(minutes=1))
    assert lease is not None
    with api.database.writing() as session:
        claims.finish(session, lease, JobState.COMPLETED, result=found)
    report = client.get(path).json()
    rows = {row["name"]: row for row in report["measures"]}
    assert rows["u_lira_auc"]["after"]["value"] == 0.534
    assert report["coverage"]["audit"]["models"] == {"unlearned": 2, "retrained": 2}
    assert "0.534" in client.get(path + "&format=html").text


def test_a_plot_can_be_had_alone_and_cannot_act(finished: tuple[Api, str]) -> None:
    api, path = finished
    answer = api.with_key("audit:read", tenant="evil").get(path.replace("report?", "report/plots/confusion?"))
    assert answer.headers["content-type"] == "image/svg+xml"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.text.startswith("<svg")
    assert "<script" not in answer.text


def test_a_plot_that_is_not_there_is_a_problem(finished: tuple[Api, str]) -> None:
    api, path = finished
    missing = path.replace("report?", "report/plots/few-shot?")
    answer = api.with_key("audit:read", tenant="evil").get(missing)
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:expunge:problem:unknown-plot"
    foreign = api.with_key("audit:read", tenant="good").get(path.replace("report?", "report/plots/confusion?"))
    assert foreign.status_code == 404
    assert foreign.json()["type"] == "urn:expunge:problem:unknown-request"


def test_the_report_names_the_ledger_entries_by_number_and_hash(finished: tuple[Api, str]) -> None:
    api, path = finished
    client = api.with_key("audit:read", tenant="evil")
    report = client.get(path).json()
    entries = client.get(f"/audit/entries?request={report['request']}").json()["entries"]
    assert [(one["seq"], one["hash"]) for one in report["ledger"]] == [(one["seq"], one["hash"]) for one in entries]
    assert [one["to"] for one in report["ledger"]] == ["queued", "running", None, "published"]


def test_the_page_escapes_every_value_and_loads_nothing(finished: tuple[Api, str]) -> None:
    api, path = finished
    answer = api.with_key("audit:read", tenant="evil").get(path, headers={"Accept": "text/html"})
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<script" not in answer.text
    # The subject, the note, the class and, by its name, each place in the plot.
    assert answer.text.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 3
    assert "{{7*7}}" in answer.text
    assert not re.search(r"\b(src|href|style|on\w+)\s*=", answer.text)
    for expected in ("0.987", "0.012", "Verdict: pass", "cd" * 32, "1.25 s", "2.12.1", "not a guarantee"):
        assert expected in answer.text


def test_the_policy_of_the_page_allows_its_style_sheet_and_nothing_else(finished: tuple[Api, str]) -> None:
    api, path = finished
    answer = api.with_key("audit:read", tenant="evil").get(path + "&format=html")
    styles = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(sha256(styles[0].encode()).digest()).decode()
    policy = answer.headers["content-security-policy"]
    assert len(styles) == 1
    assert "default-src 'none'" in policy
    assert f"style-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert "@media print" in styles[0]


def test_a_request_that_is_not_finished_has_a_report_and_a_page(api: Api) -> None:
    request = api.local.post("/unlearn", json=body("ant")).json()
    path = request["links"]["report"]
    assert api.local.get(path).json()["verdict"] is None
    page = api.local.get(path, headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert "queued" in page.text


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
        ("text/html;q=0.5, application/json", "application/json"),
        ("application/pdf", "application/pdf"),
        ("text/csv", "text/csv"),
    ],
)
def test_the_caller_chooses_the_form(small_api: Api, accept: str, media_type: str) -> None:
    path = small_api.local.post("/unlearn", json=body("ant")).json()["links"]["report"]
    answer = small_api.local.get(path, headers={"Accept": accept})
    assert answer.headers["content-type"].split(";")[0] == media_type
    assert answer.headers["vary"] == "Accept"


@pytest.mark.parametrize("kind", ["json", "html", "pdf", "csv"])
def test_the_path_may_name_the_form(finished: tuple[Api, str], kind: str) -> None:
    api, path = finished
    client = api.with_key("audit:read", tenant="evil")
    request = path.partition("=")[2]
    answer = client.get(f"/unlearn/{request}/report.{kind}")
    assert answer.status_code == 200
    by_format = client.get(f"{path}&format={kind}")
    assert answer.headers["content-type"] == by_format.headers["content-type"]
    assert ("attachment" in answer.headers.get("content-disposition", "")) is (kind in {"pdf", "csv"})
    foreign = api.with_key("audit:read", tenant="good").get(f"/unlearn/{request}/report.{kind}")
    assert (foreign.status_code, foreign.json()["type"]) == (404, "urn:expunge:problem:unknown-request")
    assert api.with_key("requests:read", tenant="evil").get(f"/unlearn/{request}/report.{kind}").status_code == 403


def test_a_form_that_does_not_exist_is_a_problem(finished: tuple[Api, str]) -> None:
    api, path = finished
    answer = api.with_key("audit:read", tenant="evil").get(f"/unlearn/{path.partition('=')[2]}/report.docx")
    assert answer.status_code == 422
    assert "'json', 'html', 'pdf' or 'csv'" in answer.json()["errors"][0]["detail"]
