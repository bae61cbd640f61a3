"""The recall feed: signed, in order, by pages, told once, and every tenant sees their own."""

import base64
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from app.recalls.feed import PAYLOAD_TYPE
from core.ledger.entries import commitment
from core.requests.tables import UnlearnRequest
from core.signing import keyring
from core.signing.dsse import BadEnvelope, open_envelope
from core.signing.keyring import Keyring
from models_store.lineage.consequences import consequences_of
from tests.integration.app.api import TestClient
from tests.integration.app.lineage.conftest import Lineage, add_foreign_copy

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def ring(lineage: Lineage) -> Keyring:
    made = Keyring.first("expunge.test/ledger", now=NOW)
    keyring.write(lineage.api.resources.settings.signing_keys_file, made, replacing=False)
    return made


@pytest.fixture
def recalled(lineage: Lineage, ring: Keyring) -> Lineage:
    """Three versions in quarantine by two requests, and another tenant with the same bytes."""
    lineage.upload(value=5.0)
    add_foreign_copy(lineage.api, lineage.version(1)["sha256"])
    lineage.publish("ant", forgotten=[0], value=2.0)
    lineage.publish("bee", forgotten=[0, 1], value=3.0)
    return lineage


def feed(client: TestClient, ring: Keyring, query: str = "") -> dict[str, Any]:
    answer = client.get(f"/recalls{query}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/vnd.dsse.envelope.v1+json"
    read: dict[str, Any] = json.loads(open_envelope(answer.json(), PAYLOAD_TYPE, ring.publics("statement")))
    return read


def test_every_quarantined_version_is_recalled_once_in_the_order_of_the_ledger(
    recalled: Lineage, ring: Keyring
) -> None:
    told = feed(recalled.chief, ring)
    assert [(one["version"], one["relation"]) for one in told["items"]] == [
        (1, "ancestor"),
        (2, "sibling"),
        (3, "sibling"),
    ]
    entries = {leaf["seq"]: leaf for leaf in recalled.api.ledger()}
    for one in told["items"]:
        leaf = entries[one["id"]]
        assert (leaf["type"], leaf["data"]["sha256"], leaf["ts"]) == ("version.quarantined", one["sha256"], one["at"])
        assert one["successor"] == {"model": "m", "version": 4, "sha256": recalled.version(4)["sha256"]}
    assert not {"ant", "bee"} & set(json.dumps(told).replace('"', " ").split())
    assert (told["tenant"], told["origin"], told["num_recalls"]) == ("default", "expunge.test/ledger", 3)


def test_pages_join_to_the_whole_without_gap_or_repetition(recalled: Lineage, ring: Keyring) -> None:
    whole = feed(recalled.chief, ring)["items"]
    joined, query, page = [], "?limit=1", dict[str, Any]()
    for _ in whole:
        page = feed(recalled.chief, ring, query)
        joined += page["items"]
        query = f"?limit=1&after={page['cursor']}"
    assert joined == whole
    assert not page["more"]
    end = feed(recalled.chief, ring, query)
    assert (end["items"], end["cursor"]) == ([], whole[-1]["id"])


def test_a_poller_is_told_nothing_new_until_there_is(recalled: Lineage, ring: Keyring) -> None:
    tag = recalled.chief.get("/recalls").headers["etag"]
    same = recalled.chief.get("/recalls", headers={"If-None-Match": tag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    recalled.publish("cat", forgotten=[0, 1, 2], value=4.0)
    changed = recalled.chief.get("/recalls", headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert len(feed(recalled.chief, ring)["items"]) == 4


def test_a_changed_or_foreign_feed_is_not_believed(recalled: Lineage, ring: Keyring) -> None:
    envelope = recalled.chief.get("/recalls").json()
    payload = json.loads(base64.b64decode(envelope["payload"]))
    payload["items"] = payload["items"][1:]
    forged = envelope | {"payload": base64.b64encode(json.dumps(payload).encode()).decode()}
    stranger = Keyring.first("expunge.test/ledger", now=NOW)
    open_envelope(envelope, PAYLOAD_TYPE, ring.publics("statement"))
    for document, keys in ((forged, ring), (envelope, stranger)):
        with pytest.raises(BadEnvelope):
            open_envelope(document, PAYLOAD_TYPE, keys.publics("statement"))


def test_another_tenant_sees_nothing_of_it(recalled: Lineage, ring: Keyring) -> None:
    theirs = recalled.api.with_key("artifacts:read", tenant="other")
    told = feed(theirs, ring)
    assert (told["items"], told["num_recalls"], told["tenant"]) == ([], 0, "other")
    ours = feed(recalled.chief, ring)["items"][0]["id"]
    said = theirs.post(f"/recalls/{ours}/acknowledgements", json={"holder": "nobody"})
    assert (said.status_code, theirs.get(f"/recalls/{ours}/acknowledgements").status_code) == (404, 404)


def test_who_retired_copies_is_written_down_once(recalled: Lineage, ring: Keyring) -> None:
    recall = feed(recalled.chief, ring)["items"][0]
    path, said = f"/recalls/{recall['id']}/acknowledgements", {"holder": "edge team, Erika", "num_copies": 12}
    assert recalled.chief.get(path).json() == {"items": []}
    first, again = recalled.chief.post(path, json=said), recalled.chief.post(path, json=said)
    assert (first.status_code, again.json()) == (201, first.json())
    assert [one["holder"] for one in recalled.chief.get(path).json()["items"]] == ["edge team, Erika"]
    (leaf,) = [leaf for leaf in recalled.api.ledger() if leaf["type"] == "recall.acknowledged"]
    assert (leaf["data"]["recall"], leaf["data"]["num_copies"]) == (recall["id"], 12)
    with recalled.api.database.reading() as session:
        request = session.get_one(UnlearnRequest, UUID(recall["request"]))
        assert request.commitment_key is not None
        found = consequences_of(session, "default", request.job_id)
    assert leaf["data"]["holder"] == commitment(request.commitment_key, "holder", "edge team, Erika")
    assert [(one.recall, one.holder, one.num_copies) for one in found.acknowledgements] == [
        (recall["id"], "edge team, Erika", 12)
    ]
    for bad in ({}, {"holder": " "}, {"holder": "x", "num_copies": -1}):
        assert recalled.chief.post(path, json=bad).status_code == 422


def test_without_a_key_nothing_is_told_unsigned(small_lineage: Lineage) -> None:
    answer = small_lineage.chief.get("/recalls")
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (409, "no-signing-key")
    assert "expunge keys init" in answer.json()["detail"]
