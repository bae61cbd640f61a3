"""Reading the ledger over HTTP: complete, checkable, and never another tenant's."""

import base64
import json

import pytest
from sqlalchemy import event

from app.audit import service
from core.ledger.export import check_export, export_document
from core.ledger.tree import leaf_hash
from tests.integration.app.api import Api, body


@pytest.fixture
def busy_api(api: Api) -> Api:
    """Some requests, some of them cancelled."""
    for name in ("ant", "bee", "cat"):
        api.local.delete(api.local.post("/unlearn", json=body(name)).headers["location"])
    return api


def test_the_export_holds_and_is_the_document_of_the_ledger(busy_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "EXPORT_CHUNK", 2)
    answer = busy_api.local.get("/audit/export")
    document = answer.json()
    assert "attachment" in answer.headers["content-disposition"]
    assert [finding.holds for finding in check_export(document)] == [True]
    leaves = [base64.b64decode(entry["leaf"]) for entry in document["entries"]]
    root = bytes.fromhex(document["root"])
    assert document == export_document(leaves, tree_size=len(leaves), root=root)
    assert len(leaves) == 7


def test_an_empty_ledger_can_be_exported(sqlite_url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    document = Api(sqlite_url, tmp_path_factory.mktemp("data")).local.get("/audit/export").json()
    assert (document["tree_size"], document["entries"]) == (0, [])
    assert [finding.holds for finding in check_export(document)] == [True]


def test_pages_of_entries_add_up_to_the_export(busy_api: Api) -> None:
    page = busy_api.local.get("/audit/entries?start=0&limit=2").json()
    entries = page["entries"]
    while page["next"]:
        page = busy_api.local.get(page["next"]).json()
        entries += page["entries"]
    export = busy_api.local.get("/audit/export").json()
    assert [{"leaf": entry["leaf"]} for entry in entries] == export["entries"]
    assert [entry["seq"] for entry in entries] == list(range(export["tree_size"]))
    assert all(leaf_hash(base64.b64decode(entry["leaf"])).hex() == entry["hash"] for entry in entries)
    assert (page["tree_size"], page["root"]) == (export["tree_size"], export["root"])


def test_entries_of_one_request_are_those_that_name_it(busy_api: Api) -> None:
    request = busy_api.local.get("/unlearn").json()["items"][0]["id"]
    page = busy_api.local.get(f"/audit/entries?request={request}&limit=1").json()
    rest = busy_api.local.get(page["next"]).json()
    leaves = [json.loads(base64.b64decode(entry["leaf"])) for entry in page["entries"] + rest["entries"]]
    assert [(leaf["request"], leaf["to"]) for leaf in leaves] == [(request, "queued"), (request, "cancelled")]
    assert rest["next"] is None


def test_a_tenant_sees_its_own_entries_only(busy_api: Api) -> None:
    busy_api.register("other")
    reader = busy_api.with_key("audit:read", tenant="other")
    theirs = reader.get("/audit/entries?limit=1000").json()["entries"]
    tenants = {json.loads(base64.b64decode(entry["leaf"]))["tenant"] for entry in theirs}
    assert tenants == {"other"}


def test_a_ledger_with_foreign_entries_is_exported_to_the_operator_only(busy_api: Api) -> None:
    reader = busy_api.with_key("audit:read")
    assert reader.get("/audit/export").status_code == 200
    busy_api.register("other")
    refused = reader.get("/audit/export")
    assert (refused.status_code, refused.json()["scope"]) == (403, "admin")
    assert busy_api.with_key("audit:read", tenant="other").get("/audit/export").status_code == 403
    assert busy_api.with_key("admin").get("/audit/export").status_code == 200


@pytest.mark.parametrize("query", ["start=-1", "limit=0", "limit=1001", "start=x", "request=x", f"start={2**70}"])
def test_a_page_that_cannot_be_is_refused(small_api: Api, query: str) -> None:
    assert small_api.local.get(f"/audit/entries?{query}").status_code == 422


@pytest.mark.parametrize("query", ["start=2&limit=2", "request={request}&limit=1"])
def test_sqlite_neither_sorts_nor_searches_the_whole_ledger_for_a_page(
    sqlite_url: str, tmp_path_factory: pytest.TempPathFactory, query: str
) -> None:
    api = Api(sqlite_url, tmp_path_factory.mktemp("data"))
    api.register()
    request = api.local.post("/unlearn", json=body("ant")).json()["id"]
    asked: list[tuple[str, tuple[object, ...]]] = []
    engine = api.database.engine
    event.listen(engine, "before_cursor_execute", lambda *told: asked.append((told[2], told[3])))
    assert api.local.get(f"/audit/entries?{query.format(request=request)}").status_code == 200
    of_entries = [one for one in asked if "FROM audit_log" in one[0]]
    assert of_entries
    with engine.connect() as connection:
        plans = [
            str(step[-1])
            for statement, values in of_entries
            for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        ]
    expected = "ix_audit_log_tenant_seq (tenant=? AND seq>?" if "start" in query else "ix_audit_log_request_id"
    assert any(expected in step for step in plans), plans
    assert "start" not in query or not any("TEMP B-TREE" in step for step in plans), plans
