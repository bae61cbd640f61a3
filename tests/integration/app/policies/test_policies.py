"""Own policies: written once, versioned, never changed, seen by their tenant alone."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select, text

from app.policies.tables import PolicyVersion
from core.policy.policies import SHIPPED, STANDARD, Policy
from tests.integration.app.api import Api

OURS = "/policies/ours"
MARGINS: dict[str, Any] = {
    "forget_accuracy_test": {"at_most": 0.1},
    "membership_auc": {"at_least": 0.4, "at_most": 0.6},
    "head_outlier": {"at_most": 3.5},
}


def content(**margins: Any) -> dict[str, Any]:
    """A policy that is accepted, with these margins beside or instead of the usual ones."""
    return {"description": "Ours.", "deciding": {**MARGINS, **margins}}


def tighter(number: int) -> dict[str, Any]:
    """One of many policies, each different."""
    return content(forget_accuracy_test={"at_most": 0.1 + number / 1000})


def test_a_policy_is_written_shown_and_found_by_its_version(api: Api) -> None:
    made = api.call("PUT", OURS, body=content())
    assert (made.status, made.headers["location"], made.headers["etag"]) == (201, f"{OURS}/versions/1", '"1"')
    shown = made.json()
    assert (shown["name"], shown["version"], shown["description"], shown["shipped"]) == ("ours", 1, "Ours.", False)
    assert shown["deciding"] == MARGINS
    assert (shown["created_by"], shown["needs_reference"], shown["needs_audit"]) == ("local:loopback", False, False)
    for path in (OURS, f"{OURS}/versions/1"):
        found = api.call("GET", path)
        assert (found.status, found.headers["etag"], found.json()) == (200, '"1"', shown)


def test_the_same_content_again_is_nothing_new(api: Api) -> None:
    first = api.call("PUT", OURS, body=content())
    entries = len(api.ledger())
    reordered = {"deciding": dict(reversed(MARGINS.items())), "description": "Ours."}
    again = api.call("PUT", OURS, body=reordered)
    assert (again.status, again.json()) == (200, first.json())
    assert "location" not in again.headers
    assert len(api.ledger()) == entries


def test_a_change_is_a_new_version_and_the_old_one_stays_as_it_was(api: Api) -> None:
    first = api.call("PUT", OURS, body=content()).json()
    second = api.call("PUT", OURS, body=content(probe_gap={"at_most": 0.2}))
    described = api.call("PUT", OURS, body=content(probe_gap={"at_most": 0.2}) | {"description": "Ours, too."})
    assert (second.status, second.json()["version"], second.json()["needs_reference"]) == (201, 2, True)
    assert (described.status, described.json()["version"]) == (201, 3)
    assert api.call("GET", OURS).json()["version"] == 3
    assert api.call("GET", f"{OURS}/versions/1").json() == first
    # Going back is a change, too: what was newest in between stays on record.
    assert api.call("PUT", OURS, body=content()).json()["version"] == 4


def test_each_version_has_a_ledger_entry_with_the_digest_that_verdicts_can_be_checked_by(api: Api) -> None:
    for margin in (0.1, 0.05):
        api.call("PUT", OURS, body=content(forget_accuracy_test={"at_most": margin}))
    leaves = [leaf for leaf in api.ledger() if leaf["type"] == "policy.version_added"]
    assert [(leaf["data"]["policy"], leaf["data"]["version"]) for leaf in leaves] == [("ours", 1), ("ours", 2)]
    assert {leaf["actor"] for leaf in leaves} == {"local:loopback"}
    for leaf in leaves:
        shown = api.call("GET", f"{OURS}/versions/{leaf['data']['version']}").json()
        policy = Policy.model_validate({name: shown[name] for name in ("name", "version", "deciding")})
        assert leaf["data"]["sha256"] == shown["sha256"] == policy.sha256


def test_polling_costs_nothing_until_there_is_a_new_version(api: Api) -> None:
    api.call("PUT", OURS, body=content())
    assert api.call("GET", OURS, if_none_match='"1"').status == 304
    api.call("PUT", OURS, body=tighter(1))
    assert api.call("GET", OURS, if_none_match='"1"').status == 200
    assert api.call("GET", f"{OURS}/versions/1", if_none_match='"1"').status == 304


def test_of_many_who_write_the_same_one_makes_it(api: Api) -> None:
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = list(pool.map(lambda _: api.call("PUT", OURS, body=content()), range(8)))
    assert sorted(answer.status for answer in answers) == [200] * 7 + [201]
    assert {answer.json()["version"] for answer in answers} == {1}


def test_of_many_who_write_something_else_each_gets_a_version_of_its_own(api: Api) -> None:
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = list(pool.map(lambda number: api.call("PUT", OURS, body=tighter(number)), range(8)))
    assert [answer.status for answer in answers] == [201] * 8
    assert sorted(answer.json()["version"] for answer in answers) == list(range(1, 9))
    leaves = [leaf["data"]["version"] for leaf in api.ledger() if leaf["type"] == "policy.version_added"]
    assert sorted(leaves) == list(range(1, 9))


def test_shipped_policies_are_listed_first_and_own_ones_by_name(api: Api) -> None:
    for name in ("zulu", "alpha"):
        api.call("PUT", f"/policies/{name}", body=content())
    api.call("PUT", "/policies/zulu", body=tighter(1))
    items = api.call("GET", "/policies").json()["items"]
    assert [(item["name"], item["version"]) for item in items] == [
        *((name, policy.version) for name, policy in SHIPPED.items()),
        ("alpha", 1),
        ("zulu", 2),
    ]
    assert [item["shipped"] for item in items] == [True] * 3 + [False] * 2
    assert all(item["description"] for item in items)


def test_every_version_that_was_ever_shipped_can_be_read(small_api: Api) -> None:
    newest = small_api.call("GET", "/policies/standard").json()
    assert (newest["version"], newest["sha256"]) == (STANDARD.version, STANDARD.sha256)
    first = small_api.call("GET", "/policies/standard/versions/1").json()
    assert "head_outlier" not in first["deciding"]
    assert first["deciding"]["membership_auc"] == {"at_least": 0.3, "at_most": 0.7}


@pytest.mark.parametrize("name", ["standard", "strict", "with-reference"])
def test_the_names_of_shipped_policies_are_taken(small_api: Api, name: str) -> None:
    answer = small_api.call("PUT", f"/policies/{name}", body=content())
    assert (answer.status, answer.slug) == (409, "policy-reserved")
    assert name in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/policies/nobody", "/policies/nobody/versions/1", "/policies/standard/versions/9"])
def test_what_was_never_written_is_not_found(small_api: Api, path: str) -> None:
    answer = small_api.call("GET", path)
    assert (answer.status, answer.slug) == (404, "unknown-policy")


@pytest.mark.parametrize(
    ("changes", "slug", "pointer"),
    [
        ({"deciding": {}}, "validation-error", "#/deciding"),
        ({"deciding": None}, "validation-error", "#/deciding"),
        ({"deciding": {"nonsense": {"at_most": 0.1}}}, "validation-error", "#/deciding/nonsense"),
        ({"deciding": {"membership_auc": {}}}, "validation-error", "#/deciding/membership_auc"),
        (
            {"deciding": {"membership_auc": {"at_least": 0.9, "at_most": 0.1}}},
            "validation-error",
            "#/deciding/membership_auc",
        ),
        ({"deciding": {"membership_auc": {"at_most": 0.7}}}, "impossible-threshold", "#/deciding/membership_auc"),
        (
            {"deciding": {"forget_accuracy_test": {"at_most": 0}}},
            "impossible-threshold",
            "#/deciding/forget_accuracy_test",
        ),
        (
            {"deciding": {"forget_accuracy_test": {"at_least": 0.5}}},
            "impossible-threshold",
            "#/deciding/forget_accuracy_test",
        ),
        ({"deciding": {"head_outlier": {"at_most": -1}}}, "impossible-threshold", "#/deciding/head_outlier"),
        (
            {"deciding": {"klom": {"at_most": "1e999"}}},
            "validation-error",
            "#/deciding/klom/at_most",
        ),
        ({"description": "x" * 2001}, "validation-error", "#/description"),
        ({"description": "a\x00b"}, "validation-error", "#/description"),
        ({"name": "other"}, "validation-error", "#/name"),
        ({"version": 7}, "validation-error", "#/version"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_and_leaves_nothing_behind(
    small_api: Api, changes: dict[str, Any], slug: str, pointer: str
) -> None:
    before = len(small_api.ledger())
    sent = json.dumps(content() | changes).replace('"1e999"', "1e999")
    answer = small_api.local.put(OURS, content=sent, headers={"Content-Type": "application/json"})
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (422, f"urn:expunge:problem:{slug}")
    assert [item["pointer"] for item in problem["errors"]] == [pointer]
    assert small_api.call("GET", OURS).status == 404
    assert len(small_api.ledger()) == before


@pytest.mark.parametrize("name", ["Ours", "1", "-x", "a b", "a" * 65, "a%2Fb", "%C3%A9"])
def test_a_name_that_could_not_be_referred_to_is_refused(small_api: Api, name: str) -> None:
    answer = small_api.local.put(f"/policies/{name}", json=content())
    assert answer.status_code in {404, 422}
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_policy_of_another_tenant_does_not_exist_and_its_name_is_free(api: Api) -> None:
    api.call("PUT", OURS, body=content())
    stranger = api.with_key("policies:read", "policies:write", tenant="other")
    assert stranger.get(OURS).status_code == 404
    assert [item["shipped"] for item in stranger.get("/policies").json()["items"]] == [True] * 3
    made = stranger.put(OURS, json=tighter(1))
    assert (made.status_code, made.json()["version"]) == (201, 1)
    assert api.call("GET", OURS).json()["deciding"] == MARGINS


def test_writing_needs_a_scope_of_its_own_and_so_does_reading(small_api: Api) -> None:
    reader, writer = small_api.with_key("policies:read"), small_api.with_key("policies:write")
    assert reader.put(OURS, json=content()).json()["scope"] == "policies:write"
    assert writer.put(OURS, json=content()).status_code == 201
    assert reader.get(OURS).status_code == 200
    assert small_api.with_key("requests:submit").get("/policies").json()["scope"] == "policies:read"
    assert small_api.with_key("admin").put(OURS, json=tighter(1)).status_code == 201


@pytest.mark.parametrize(
    "statement", ["UPDATE policies SET deciding = '{}'", "UPDATE policies SET tenant = 'x'", "DELETE FROM policies"]
)
def test_the_database_refuses_to_change_a_version(api: Api, statement: str) -> None:
    api.call("PUT", OURS, body=content())
    with pytest.raises(Exception, match="append-only"), api.database.writing() as session:
        session.execute(text(statement))
    assert api.call("GET", OURS).json()["deciding"] == MARGINS


def test_sqlite_refuses_to_replace_a_version(small_api: Api) -> None:
    small_api.call("PUT", OURS, body=content())
    columns = [column.name for column in PolicyVersion.__table__.columns]
    for key in ("id", "version"):
        kept = ", ".join("'{}'" if name == "deciding" else name for name in columns)
        other = kept if key == "id" else kept.replace("id, ", "id + 100, ", 1)
        statement = f"INSERT OR REPLACE INTO policies ({', '.join(columns)}) SELECT {other} FROM policies"  # noqa: S608
        with pytest.raises(Exception, match="append-only"), small_api.database.writing() as session:
            session.execute(text(statement))
    assert small_api.call("GET", OURS).json()["deciding"] == MARGINS


def test_postgresql_refuses_to_truncate_even_as_a_replica(postgresql_url: str, tmp_path: Any) -> None:
    api = Api(postgresql_url, tmp_path)
    api.call("PUT", OURS, body=content())
    for statement in ("TRUNCATE policies", "DELETE FROM policies"):
        with api.database.writing() as session:
            session.execute(text("SET LOCAL session_replication_role = replica"))
            with pytest.raises(Exception, match="append-only"), session.begin_nested():
                session.execute(text(statement))
    with api.database.reading() as session:
        assert len(session.execute(select(PolicyVersion)).scalars().all()) == 1
    api.resources.close()
