"""What a regulator asks for, from a request that was really published: the same answers in page, PDF and JSON."""

import base64
import csv
import io
import re
from datetime import UTC, datetime
from html import unescape

import pypdf
import pytest

from core.ledger.sealing import newest_checkpoint
from core.signing import keyring
from core.signing.keyring import Keyring
from tests.integration.app.api import Api
from tests.integration.app.publishing import Published, publish

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ORIGIN = "unlearn.example.com/audit"
REASON = "Several hundred requests came at once. <b>"


@pytest.fixture
def published(small_api: Api) -> tuple[Api, Published]:
    """Extended before it ended, published, one recall acknowledged, and signed."""
    api = small_api
    keyring.write(api.resources.settings.signing_keys_file, Keyring.first(ORIGIN, now=NOW), replacing=False)
    waiting = api.local.post("/unlearn", json={"model": "m", "dataset": "d", "classes": ["bee"]}).json()
    reason = {"reason": REASON, "months": 2}
    assert api.local.post(f"/unlearn/{waiting['id']}/deadline/extend", json=reason).status_code == 200
    api.local.delete(f"/unlearn/{waiting['id']}")
    done = publish(api, "ant", legal_ground="art17_1_b", subject_reference="crm-4711")
    report = api.local.get(f"/unlearn/{done.id}/report.json").json()
    (recall,) = report["accounted"]["consequences"]["recalls"]
    told = {"holder": "edge team", "num_copies": 3}
    assert api.local.post(f"/recalls/{recall}/acknowledgements", json=told).status_code == 201
    api.resources.sealer.current()
    return api, done


def page_and_pdf(api: Api, request: str) -> tuple[str, str]:
    html = api.local.get(f"/unlearn/{request}/report.html").text
    pdf = pypdf.PdfReader(io.BytesIO(api.local.get(f"/unlearn/{request}/report.pdf").content))
    shown = " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())
    return shown, " ".join(" ".join(page.extract_text() for page in pdf.pages).split())


def test_retired_copies_and_who_was_told_stand_in_every_form(published: tuple[Api, Published]) -> None:
    api, done = published
    document = api.local.get(f"/unlearn/{done.id}/report.json").json()
    account = document["accounted"]
    (cells,) = csv.DictReader(io.StringIO(api.local.get(f"/unlearn/{done.id}/report.csv").text, newline=""))
    assert [(one["number"], one["state"], one["still_holds"]) for one in account["versions"]] == [
        (1, "quarantined", [0]),
        (2, "ready", []),
    ]
    assert (cells["versions_retired"], cells["copies_acknowledged"]) == ("1", "3")
    assert (cells["new_version"], cells["verdict"]) == ("2", "pass")
    assert account["deadline"]["due_on"] == cells["due_on"]
    assert account["deadline"]["in_time"] is True
    assert cells["answered_in_time"] == "yes"
    told = {line["point"]: line["value"] for line in account["record"]}
    assert told["(d)"] == "1 version in the signed recall feed; holders acknowledged 3 retired copies"
    assert told["(c)"].startswith("images of 1 class, in data set d and ")
    entry = account["consequences"]["quarantined"][0]
    shown, printed = page_and_pdf(api, done.id)
    for fact in ("edge team", "m, version 1", "ancestor", "GDPR Article 17(1)(b)", account["deadline"]["due_on"]):
        assert fact in shown
        assert fact in printed
    for text in (shown, printed):
        assert done.sha256[:40] in text.replace(" ", "")
        assert re.search(rf"m, version 2 {entry['entry']}\b", text)
        assert f"Due on {account['deadline']['due_on']} (one calendar month after receipt)" in text


def test_the_newest_signed_checkpoint_rides_in_every_report(published: tuple[Api, Published]) -> None:
    api, done = published
    with api.database.reading() as session:
        newest = newest_checkpoint(session)
    assert newest is not None
    assert api.local.get(f"/unlearn/{done.id}/report.json").json()["accounted"]["checkpoint"] == newest.note
    assert api.local.get("/audit/report.json?model=m").json()["checkpoint"] == newest.note
    for path in (f"/unlearn/{done.id}/report.csv", "/audit/report.csv?model=m"):
        cells, *_ = csv.DictReader(io.StringIO(api.local.get(path).text, newline=""))
        assert base64.b64decode(cells["checkpoint_base64"]).decode() == newest.note
    root = newest.note.splitlines()[2]
    for text in (*page_and_pdf(api, done.id), api.local.get("/audit/report.html?model=m").text):
        assert f"{ORIGIN} {newest.size} {root}".replace(" ", "") in "".join(text.split())


def test_the_register_of_a_model_shows_its_versions(published: tuple[Api, Published]) -> None:
    api, _ = published
    versions = api.local.get("/audit/report.json?model=m").json()["versions"]
    assert [(one["number"], one["parent"], one["still_holds"]) for one in versions] == [(1, None, [0]), (2, 1, [])]
    page = api.local.get("/audit/report.html?model=m").text
    assert '<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="lineage-title lineage-desc"' in page
    assert "version 1: quarantined, uploaded, holds 1 of the deleted classes" in page
    assert api.local.get("/audit/report.json?from=2026-01-01").json()["versions"] == []


def test_an_extension_is_told_with_its_reason(published: tuple[Api, Published]) -> None:
    api, _ = published
    other = api.local.get("/audit/report.json?model=m").json()["requests"][0]
    assert (other["months_extended"], other["state"]) == (2, "cancelled")
    shown, printed = page_and_pdf(api, other["request"])
    for text in (shown, printed):
        assert "extended by 2" in text
        assert REASON in text
    totals = api.local.get("/audit/report.json?model=m").json()["totals"]["by_time_limit"]
    assert {one["of"]: one["requests"] for one in totals}["extended, whatever became of them"] == 1


def test_both_questions_on_anonymity_are_asked_and_neither_is_answered_for_the_controller(
    published: tuple[Api, Published],
) -> None:
    api, done = published
    extraction, queries = api.local.get(f"/unlearn/{done.id}/report.json").json()["accounted"]["anonymity"]
    assert "extracted from the model's weights" in extraction["question"]
    assert "answer to queries" in queries["question"]
    assert "Membership attack, AUC" in {one["title"] for one in queries["measured"]}
    assert any("model inversion" in one for one in extraction["not_measured"])
    assert "for the controller to judge" in queries["sentence"]


def test_an_erased_request_names_nobody_in_any_form(published: tuple[Api, Published]) -> None:
    api, done = published
    assert "crm-4711" in api.local.get(f"/unlearn/{done.id}/report.json").text
    assert api.local.delete("/subjects/crm-4711").json()["requests"] == [done.id]
    forms = [api.local.get(f"/unlearn/{done.id}/report.{kind}").text for kind in ("json", "html", "csv")]
    forms += page_and_pdf(api, done.id)
    assert all("crm-4711" not in text and not re.search(r"\bant\b", text) for text in forms)
    assert all("erased" in text for text in forms)
    assert api.local.get("/audit/report?subject=crm-4711").json()["type"] == "urn:expunge:problem:unknown-subject"
