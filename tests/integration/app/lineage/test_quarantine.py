"""Quarantine: who is caught, by which doors nothing leaves any more, and who may break the glass."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import select

from core.ledger.entries import commitment
from core.requests.tables import UnlearnRequest
from core.states import VersionState
from models_store.lineage.break_glass import BREAK_GLASS
from models_store.lineage.consequences import consequences_of
from models_store.lineage.retired import is_purged
from models_store.lineage.tables import BrokenGlass
from models_store.registry import find_model, find_version, resolve_base
from tests.integration.app.api import body, safetensors
from tests.integration.app.lineage.conftest import OTHER_LABELS, Lineage, add_foreign_copy

ARTIFACT = "/models/m/versions/1/artifact"
GLASS = "/models/m/versions/1/break-glass"
WHY = "The regulator asked for Erika Mustermann's original weights under file 4711."


def test_the_parent_can_be_downloaded_until_the_publication_and_by_no_door_after_it(lineage: Lineage) -> None:
    before = lineage.chief.get(ARTIFACT)
    assert (before.status_code, before.content) == (200, safetensors(1.0))
    request = lineage.publish("ant", forgotten=[0], value=2.0)
    tag = before.headers["etag"]
    for method in ("GET", "HEAD"):
        for headers in ({}, {"Range": "bytes=0-9"}, {"If-None-Match": tag}, {"Range": "bytes=0-9", "If-Range": tag}):
            answer = lineage.chief.request(method, ARTIFACT, headers=headers)
            assert answer.status_code == 410, (method, headers)
            assert safetensors(1.0)[:8] not in answer.content
    told = lineage.chief.get(ARTIFACT).json()
    assert told["type"] == "urn:expunge:problem:model-quarantined"
    assert (told["successor"]["model"], told["successor"]["version"]) == ("m", 2)
    assert "version 2 of 'm' takes its place" in told["detail"]
    followed = lineage.chief.get(told["successor"]["links"]["artifact"])
    assert (followed.status_code, followed.content) == (200, safetensors(2.0))
    shown = lineage.version(1)
    assert (shown["state"], shown["quarantine"]["request"]) == ("quarantined", str(request))
    assert shown["quarantine"]["relation"] == "ancestor"
    assert shown["quarantine"]["class_indices"] == [0]
    assert "artifact" not in shown["links"]
    assert lineage.version(2)["quarantine"] is None


def test_the_ledger_names_each_and_no_class(lineage: Lineage) -> None:
    assert (
        lineage.api.local.put("/models/m/aliases/live", json={"version": 1}, headers={"If-None-Match": "*"}).status_code
        == 201
    )
    request = lineage.publish("ant", forgotten=[0], value=2.0)
    (leaf,) = [leaf for leaf in lineage.api.ledger() if leaf["type"] == "version.quarantined"]
    assert leaf["request"] == str(request)
    assert leaf["data"]["sha256"] == lineage.version(1)["sha256"]
    assert leaf["data"]["successor"]["sha256"] == lineage.version(2)["sha256"]
    assert (leaf["data"]["relation"], leaf["data"]["aliases"]) == ("ancestor", ["live"])
    assert '"ant"' not in json.dumps(lineage.api.ledger())


def test_an_old_alias_shows_the_state_and_resolves_no_more(lineage: Lineage) -> None:
    assert (
        lineage.api.local.put("/models/m/aliases/live", json={"version": 1}, headers={"If-None-Match": "*"}).status_code
        == 201
    )
    lineage.publish("ant", forgotten=[0], value=2.0)
    alias = lineage.api.local.get("/models/m/aliases/live")
    assert (alias.json()["version"], alias.json()["state"]) == (1, "quarantined")
    for pointer in ({"alias": "live"}, {"version": 1}):
        answer = lineage.api.local.post("/unlearn", json=body("bee", **pointer))
        assert (answer.status_code, answer.json()["successor"]["version"]) == (410, 2), answer.text
    match = {"If-Match": alias.headers["etag"]}
    assert lineage.api.local.put("/models/m/aliases/live", json={"version": 1}, headers=match).status_code == 410
    moved = lineage.api.local.put("/models/m/aliases/live", json={"version": 2}, headers=match)
    assert (moved.status_code, moved.json()["state"]) == (200, "ready")
    # The newest is what is resolved without a pointer.
    assert lineage.api.local.post("/unlearn", json=body("bee")).status_code == 202


def test_workers_may_still_read_what_callers_may_not(lineage: Lineage) -> None:
    lineage.publish("ant", forgotten=[0], value=2.0)
    with lineage.api.database.reading() as session:
        model = find_model(session, "default", "m")
        assert resolve_base(session, model, version=1, alias=None, for_work=True).number == 1
        assert resolve_base(session, model, version=None, alias=None, for_work=True).number == 2
        assert not is_purged(find_version(session, model, 1))
    assert lineage.api.resources.storage.exists(lineage.version(1)["sha256"])


def test_each_deletion_leads_on_to_what_stands_at_the_end(small_lineage: Lineage) -> None:
    first = small_lineage.publish("ant", forgotten=[0], value=2.0)
    second = small_lineage.publish("bee", forgotten=[0, 1], value=3.0)
    assert [small_lineage.version(number)["state"] for number in (1, 2, 3)] == ["quarantined", "quarantined", "ready"]
    shown = small_lineage.version(1)["quarantine"]
    assert (shown["request"], shown["requests"]) == (str(first), [str(first), str(second)])
    assert (shown["class_indices"], shown["successor"]["version"]) == ([0, 1], 3)
    assert small_lineage.version(2)["quarantine"]["class_indices"] == [1]
    with small_lineage.api.database.reading() as session:
        found = consequences_of(session, "default", second).as_json()
        assert consequences_of(session, "elsewhere", second).as_json()["quarantined"] == []
    assert [(one["version"], one["effect"], one["is_recalled"]) for one in found["quarantined"]] == [
        (1, "holds-too", False),
        (2, "quarantined", True),
    ]
    assert found["recalls"] == [found["quarantined"][1]["entry"]]


def test_a_sibling_is_caught_and_one_that_was_refused_is_left_alone(small_lineage: Lineage) -> None:
    small_lineage.upload(value=8.0)
    refused = small_lineage.upload(value=9.0)
    with small_lineage.api.database.writing() as session:
        find_version(session, find_model(session, "default", "m"), refused).state = VersionState.REFUSED
    small_lineage.publish("ant", forgotten=[0], value=2.0)
    assert [small_lineage.version(number)["state"] for number in (1, 2, 3, 4)] == [
        "quarantined",
        "quarantined",
        "refused",
        "ready",
    ]
    assert small_lineage.version(2)["quarantine"]["relation"] == "sibling"


def test_the_same_bytes_under_another_name_are_caught_whatever_their_labels_say(lineage: Lineage) -> None:
    lineage.register("copy", labels=OTHER_LABELS)
    lineage.upload("copy", value=1.0)
    lineage.register("stranger")
    lineage.upload("stranger", value=7.0)
    add_foreign_copy(lineage.api, lineage.version(1)["sha256"])
    lineage.publish("ant", forgotten=[0], value=2.0)
    shown = lineage.version(1, "copy")
    assert (shown["state"], shown["quarantine"]["relation"]) == ("quarantined", "copy")
    assert shown["quarantine"]["successor"]["model"] == "m"
    # Neither a model of no kin with the same labels, nor another tenant's.
    assert lineage.version(1, "stranger")["state"] == "ready"
    other = lineage.api.with_key("models:read", tenant="other")
    assert other.get("/models/m/versions/1").json()["state"] == "ready"


def test_declared_kin_is_caught_if_it_names_the_class_and_marked_if_it_does_not(small_lineage: Lineage) -> None:
    origin = {"derived_from": {"model": "m", "version": 1}}
    small_lineage.register("kin", labels=["dog", "ant"], **origin)
    small_lineage.register("distant", labels=["left", "right"], **origin)
    small_lineage.upload("kin", value=5.0)
    small_lineage.upload("distant", value=6.0)
    assert small_lineage.api.local.get("/models/kin").json()["derived_from"] == origin["derived_from"]
    request = small_lineage.publish("ant", forgotten=[0], value=2.0)
    kin, distant = small_lineage.version(1, "kin"), small_lineage.version(1, "distant")
    assert (kin["state"], kin["quarantine"]["relation"], kin["quarantine"]["class_indices"]) == (
        "quarantined",
        "kin",
        [1],
    )
    assert kin["quarantine"]["successor"] is None
    assert distant["state"] == "ready"
    with small_lineage.api.database.reading() as session:
        marked = consequences_of(session, "default", request).as_json()["marked"]
    assert [one["model"] for one in marked] == ["distant"]
    assert small_lineage.chief.get("/models/distant/versions/1/artifact").status_code == 200


def test_an_origin_that_does_not_exist_is_refused_where_it_stands(small_lineage: Lineage) -> None:
    for origin in ({"model": "nobody", "version": 1}, {"model": "m", "version": 9}):
        answer = small_lineage.api.call(
            "POST",
            "/models",
            body={
                "name": "x",
                "architecture": "expunge/small_convnet",
                "labels": ["a", "b"],
                "input": {"height": 8, "width": 8, "channels": 1, "mean": [0.5], "std": [0.5], "resize": "none"},
                "derived_from": origin,
            },
        )
        assert (answer.status, answer.pointers) == (404, ["#/derived_from"])


def test_the_glass_is_broken_by_its_own_scope_and_with_a_reason_only(lineage: Lineage) -> None:
    lineage.publish("ant", forgotten=[0], value=2.0)
    for client in (
        lineage.api.local,
        lineage.api.with_key("admin"),
        lineage.api.with_key("artifacts:read", "override"),
    ):
        answer = client.post(GLASS, json={"reason": WHY})
        assert (answer.status_code, answer.json()["scope"]) == (403, BREAK_GLASS)
    for reason in ({}, {"reason": ""}, {"reason": " " * 40}, {"reason": "because"}, {"reason": "x" * 2001}):
        assert lineage.chief.post(GLASS, json=reason).status_code == 422
    assert "artifact.glass_broken" not in lineage.api.ledger_types()

    answer = lineage.chief.post(GLASS, json={"reason": WHY})
    assert (answer.status_code, answer.content) == (200, safetensors(1.0))
    assert answer.headers["expunge-state"] == "quarantined"
    (leaf,) = [leaf for leaf in lineage.api.ledger() if leaf["type"] == "artifact.glass_broken"]
    with lineage.api.database.reading() as session:
        row = session.execute(select(BrokenGlass)).scalar_one()
        request = session.execute(select(UnlearnRequest)).scalar_one()
        assert request.commitment_key is not None
        accesses = consequences_of(session, "default", request.job_id).accesses
    assert (row.reason, row.entry, row.actor) == (WHY, leaf["seq"], leaf["actor"])
    assert leaf["data"]["reason"] == commitment(request.commitment_key, "reason", WHY)
    assert "Mustermann" not in json.dumps(leaf)
    assert [(one.version, one.reason) for one in accesses] == [(1, WHY)]


def test_there_is_no_glass_before_a_version_that_is_ready_unknown_or_another_tenants(small_lineage: Lineage) -> None:
    def tried(path: str) -> tuple[int, Any]:
        answer = small_lineage.chief.post(path, json={"reason": WHY})
        return answer.status_code, answer.json()["type"].removeprefix("urn:expunge:problem:")

    assert tried(GLASS) == (409, "not-quarantined")
    assert tried("/models/m/versions/9/break-glass") == (404, "unknown-version")
    small_lineage.publish("ant", forgotten=[0], value=2.0)
    stranger = small_lineage.api.with_key("break-glass", tenant="other")
    assert stranger.post(GLASS, json={"reason": WHY}).status_code == 404


def test_a_reason_that_says_nothing_breaks_no_glass_and_is_not_called_an_override(small_lineage: Lineage) -> None:
    small_lineage.publish("ant", forgotten=[0], value=2.0)
    answer = small_lineage.chief.post(GLASS, json={"reason": "short"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/reason")
    assert "override" not in answer.text.lower()


def test_two_publications_in_one_lineage_at_once_wait_for_each_other(lineage: Lineage) -> None:
    """Each locks the other model's versions too; in the wrong order they would wait in a circle."""
    from tests.integration.app.unlearn.test_override import REASON, reject

    lineage.register("copy")
    lineage.upload("copy", value=1.0)
    ours, _ = reject(lineage.api, "ant", forgotten=[0], value=2.0)
    theirs, _ = reject(lineage.api, "bee", forgotten=[1], value=3.0, model="copy")
    with ThreadPoolExecutor(max_workers=2) as pool:
        sent = [
            pool.submit(lineage.chief.post, f"/unlearn/{one}/override", json={"reason": REASON})
            for one in (ours, theirs)
        ]
        assert [one.result().status_code for one in sent] == [200, 200]
    # Whoever came second has found the first one's version: it holds the other class.
    states = sorted(lineage.version(2, name)["state"] for name in ("m", "copy"))
    assert states == ["quarantined", "ready"]
