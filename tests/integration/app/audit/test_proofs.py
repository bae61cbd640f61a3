"""Proofs over HTTP, checked by the functions that an outsider would use."""

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from core.ledger.proofs import includes, is_consistent
from core.ledger.tlog_proof import check_proof
from core.ledger.verifying import Trust, check
from core.signing.notes import PublicKey
from tests.integration.app.api import Api, body
from tests.integration.app.audit.test_checkpoints import make_keys, pinned


@pytest.fixture
def signing(database_url: str, tmp_path: Path) -> Iterator[Api]:
    api = Api(database_url, tmp_path, checkpoint_interval=timedelta(hours=1))
    api.register()
    make_keys(api)
    for name in ("ant", "bee"):
        api.local.delete(api.local.post("/unlearn", json=body(name)).headers["location"])
    yield api
    api.resources.close()


def unhex(texts: list[str]) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


def test_every_entry_is_proved_towards_a_signed_checkpoint(signing: Api) -> None:
    keys = pinned(signing)
    for entry in signing.local.get("/audit/entries").json()["entries"]:
        answer = signing.local.get(f"/audit/proof/inclusion?index={entry['seq']}")
        proof = answer.json()
        assert proof["leaf_hash"] == entry["hash"]
        root = bytes.fromhex(proof["root"])
        assert includes(bytes.fromhex(entry["hash"]), entry["seq"], proof["size"], unhex(proof["hashes"]), root)
        findings = check(answer.content, Trust(keys=keys))
        assert [finding.holds for finding in findings] == [True, True]
        assert "is signed by test.example/audit" in findings[1].sentence


def test_every_growth_is_proved(signing: Api) -> None:
    size = signing.local.get("/audit/entries").json()["tree_size"]
    for old in range(size + 1):
        answer = signing.local.get(f"/audit/proof/consistency?from={old}&to={size}")
        proof = answer.json()
        old_root, new_root = unhex([proof["old_root"], proof["new_root"]])
        assert is_consistent(old, size, old_root, new_root, unhex(proof["hashes"]))
        assert all(finding.holds for finding in check(answer.content, Trust(keys=pinned(signing))))


def test_the_proof_between_two_checkpoints_carries_both(signing: Api) -> None:
    first = signing.local.get("/audit/checkpoint").text
    signing.local.post("/unlearn", json=body("cat"))
    size = int(first.split("\n")[1])
    latest = signing.local.get(f"/audit/proof/inclusion?index={size}").json()
    answer = signing.local.get(f"/audit/proof/consistency?from={size}")
    proof = answer.json()
    assert (proof["old_checkpoint"], proof["new_checkpoint"]) == (first, latest["checkpoint"])
    findings = check(answer.content, Trust(keys=pinned(signing), checkpoints=[first]))
    assert [finding.holds for finding in findings] == [True] * 3
    other = signing.local.get(f"/audit/proof/consistency?from={size - 1}&to={size - 1}")
    assert not all(finding.holds for finding in check(other.content, Trust(keys=pinned(signing), checkpoints=[first])))


def test_a_changed_proof_is_found(signing: Api) -> None:
    keys = pinned(signing)
    for path in ("inclusion?index=2", "consistency?from=3"):
        proof = signing.local.get(f"/audit/proof/{path}").json()
        for member, value in proof.items():
            if member == "format":
                continue
            changed = dict(proof)
            if isinstance(value, int):
                changed[member] = value + 1
            elif isinstance(value, list):
                changed[member] = value[1:]
            elif isinstance(value, str) and "\n" not in value:
                changed[member] = ("1" if value[0] != "1" else "2") + value[1:]
            elif isinstance(value, str):
                changed[member] = value.replace("test.example/audit\n", "best.example/audit\n")
            else:
                continue
            findings = check(json.dumps(changed).encode(), Trust(keys=keys))
            assert not all(finding.holds for finding in findings), member


def test_a_proof_file_holds_one_entry_and_all_that_proves_it(signing: Api) -> None:
    entries = signing.local.get("/audit/entries").json()["entries"]
    assert entries
    for entry in entries:
        answer = signing.local.get(f"/audit/entries/{entry['seq']}/tlog-proof")
        proven = check_proof(answer.text, pinned(signing))
        assert (proven.index, base64.b64encode(proven.leaf).decode()) == (entry["seq"], entry["leaf"])
        assert all(finding.holds for finding in check(answer.content, Trust(keys=pinned(signing))))
    answer = signing.local.get("/audit/entries/0/tlog-proof")
    again = signing.local.get("/audit/entries/0/tlog-proof", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    stranger = [PublicKey("x.example", 1, bytes(32))]
    assert not check(answer.content, Trust(keys=stranger))[0].holds


def test_the_bytes_of_another_tenants_entry_are_not_handed_out(signing: Api) -> None:
    reader = signing.with_key("audit:read", tenant="other")
    assert reader.get("/audit/entries/0/tlog-proof").status_code == 404
    assert reader.get("/audit/proof/inclusion?index=0").status_code == 200


def test_without_a_key_proofs_lead_to_the_present_head(small_api: Api) -> None:
    small_api.local.post("/unlearn", json=body("ant"))
    proof = small_api.local.get("/audit/proof/inclusion?index=0").json()
    page = small_api.local.get("/audit/entries").json()
    assert (proof["size"], proof["root"], proof["checkpoint"]) == (page["tree_size"], page["root"], None)
    assert small_api.local.get("/audit/entries/0/tlog-proof").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "inclusion",
        "inclusion?index=-1",
        "inclusion?index=x",
        "inclusion?index=99999",
        f"inclusion?index={2**63}",
        "inclusion?index=3&size=3",
        "inclusion?index=0&size=0",
        "inclusion?index=0&size=99999",
        "consistency",
        "consistency?from=5&to=4",
        "consistency?from=0&to=99999",
        "consistency?from=99999",
    ],
)
def test_a_proof_of_what_is_not_there_is_refused(signing: Api, path: str) -> None:
    answer = signing.local.get(f"/audit/proof/{path}")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


def test_a_requests_proof_file_is_that_of_the_newest_entry_about_it(signing: Api) -> None:
    accepted = signing.local.post("/unlearn", json=body("cat"), headers={"Idempotency-Key": '"k"'})
    again = signing.local.post("/unlearn", json=body("cat"), headers={"Idempotency-Key": '"k"'})
    request = accepted.json()
    path = request["links"]["proof"]
    link = f'<{path}>; rel="describedby"; type="text/plain"'
    assert [one.headers["link"] for one in (accepted, again)] == [link, link]
    assert path == f"/unlearn/{request['id']}/proof.tlog-proof"
    first = check_proof(signing.local.get(path).text, pinned(signing))
    assert json.loads(first.leaf)["type"] == "request.accepted"
    assert signing.local.delete(request["links"]["self"]).headers["link"] == link
    answer = signing.local.get(path)
    last = check_proof(answer.text, pinned(signing))
    assert (json.loads(last.leaf)["request"], json.loads(last.leaf)["to"]) == (request["id"], "cancelled")
    assert signing.local.get(path, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    assert signing.with_key("audit:read", tenant="other").get(path).status_code == 404
    assert signing.with_key("requests:read").get(path).status_code == 403


def test_without_a_key_a_request_has_no_proof_file(small_api: Api) -> None:
    request = small_api.local.post("/unlearn", json=body("ant")).json()
    answer = small_api.local.get(request["links"]["proof"])
    assert (answer.status_code, "expunge keys init" in answer.json()["detail"]) == (404, True)
