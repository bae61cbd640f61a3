"""The evidence bundle as a third party gets it: what it proves, for whom, and what is found when somebody cheats."""

import base64
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import rfc8785
from sqlalchemy import text

from core.clock import database_now
from core.evidence import layout
from core.evidence.archive import pack, unpack
from core.evidence.bundle import check_bundle
from core.evidence.trust import Trust
from core.ledger.checkpoints import open_checkpoint
from core.ledger.export import Finding
from core.requests.tables import Submission
from core.signing.dsse import envelope
from core.signing.keyring import Keyring, write
from core.signing.notes import PublicKey, cosign, sign
from core.signing.published import publish as publish_keys
from tests.integration.app.api import Api, body
from tests.integration.app.audit.test_checkpoints import WITNESS, WITNESS_KEY, make_keys
from tests.integration.app.publishing import Published, publish
from tests.integration.app.unlearn.test_override import Rejected, made


def ring_of(api: Api) -> Keyring:
    ring = api.resources.keys.current()
    assert ring is not None
    return ring


def pinned(api: Api) -> PublicKey:
    """The one key that a regulator pinned: the newest that signs checkpoints."""
    return ring_of(api).signers("checkpoint")[0].public


def fetch(api: Api, request: str, **parameters: Any) -> bytes:
    answer = api.local.get(f"/unlearn/{request}/evidence", params=parameters)
    assert answer.status_code == 200, answer.text
    content: bytes = answer.content
    return content


def check(content: bytes, key: PublicKey, **others: Any) -> list[Finding]:
    return check_bundle(content, Trust(keys=[key], **others))


def wrongs(content: bytes, key: PublicKey, **others: Any) -> list[str]:
    return [finding.sentence for finding in check(content, key, **others) if not finding.holds]


def forge(api: Api, content: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    """The bundle as a service that lies would send it: files changed, and the list of files signed anew."""
    files = unpack(content)
    change(files)
    index = json.loads(base64.b64decode(json.loads(files.pop(layout.INDEX))["payload"]))
    index["files"] = {name: sha256(one).hexdigest() for name, one in files.items()}
    made = envelope(layout.INDEX_TYPE, rfc8785.dumps(index), ring_of(api).signers("statement"))
    return pack(files | {layout.INDEX: rfc8785.dumps(made)})


def edit(name: str, edited: Callable[[Any], None]) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        document = json.loads(files[name])
        edited(document)
        files[name] = rfc8785.dumps(document)

    return change


def test_one_pinned_key_proves_a_published_deletion(signing: Api) -> None:
    one = publish(signing)
    content = fetch(signing, one.id)
    findings = check(content, pinned(signing), request_id=one.id, request=one.sent, weights_sha256=one.sha256)
    assert [finding.sentence for finding in findings if not finding.holds or not finding.decided] == []
    told = " ".join(finding.sentence for finding in findings)
    for part in ("is published", "receipt names this request", "computed again here", "those of the published version"):
        assert part in told
    assert "Cannot be known" in told
    assert fetch(signing, one.id) == content, "the same state gives the same bytes"
    tag = signing.local.get(f"/unlearn/{one.id}/evidence").headers["etag"]
    again = signing.local.get(f"/unlearn/{one.id}/evidence", headers={"If-None-Match": tag})
    assert again.status_code == 304


def test_the_verifier_needs_nothing_but_python(small_signing: Api, tmp_path: Path) -> None:
    one = publish(small_signing)
    (tmp_path / "e.zip").write_bytes(fetch(small_signing, one.id))
    script = tmp_path / "elsewhere" / "verify_evidence.py"
    script.parent.mkdir()
    script.write_bytes(unpack((tmp_path / "e.zip").read_bytes())[layout.VERIFIER])

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        # -S as well: not even installed packages can be found.
        command = [sys.executable, "-I", "-S", str(script), str(tmp_path / "e.zip"), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    key = pinned(small_signing).vkey
    sound = run("--key", key, "--request", one.id)
    assert (sound.returncode, sound.stderr) == (0, ""), sound.stdout
    assert "It holds, as far as it was checked." in sound.stdout
    other = run("--key", key, "--request", str(uuid4()))
    assert (other.returncode, "for another request" in other.stdout) == (1, True)
    assert run().returncode == 2
    assert run("--key", "nonsense").returncode == 2
    assert run("--key", key, "--weights", "nowhere").returncode == 2
    damaged = bytearray((tmp_path / "e.zip").read_bytes())
    damaged[len(damaged) // 3] ^= 1
    (tmp_path / "e.zip").write_bytes(damaged)
    changed = run("--key", key)
    assert (changed.returncode, changed.stderr) == (1, "")


def test_weights_from_before_are_told_from_the_new_ones(small_signing: Api) -> None:
    one = publish(small_signing)
    content = fetch(small_signing, one.id)
    assert wrongs(content, pinned(small_signing), weights_sha256=one.sha256) == []
    assert "from before the deletion" in wrongs(content, pinned(small_signing), weights_sha256="ab" * 32)[0]
    assert "are others" in wrongs(content, pinned(small_signing), weights_sha256="cd" * 32)[0]


def test_requests_in_every_other_state_have_evidence_too(small_signing: Api) -> None:
    waiting = small_signing.local.post("/unlearn", json=body("bee")).json()["id"]
    findings = check(fetch(small_signing, waiting), pinned(small_signing))
    assert all(finding.holds for finding in findings)
    assert any("is queued" in finding.sentence for finding in findings)
    small_signing.local.delete(f"/unlearn/{waiting}")
    findings = check(fetch(small_signing, waiting), pinned(small_signing))
    assert any("is cancelled" in finding.sentence for finding in findings if finding.holds)


def test_an_override_is_seen_and_never_looks_like_a_pass(small_signing: Api) -> None:
    rejected: Rejected = made(small_signing)
    before = check(fetch(small_signing, str(rejected.id)), pinned(small_signing))
    assert all(finding.holds for finding in before)
    assert rejected.override().status_code == 200
    content = fetch(small_signing, str(rejected.id))
    findings = check(content, pinned(small_signing))
    assert [finding.sentence for finding in findings if not finding.holds] == []
    assert any("somebody overrode it" in finding.sentence for finding in findings)
    statement = json.loads(unpack(content)["attestations/test-result.dsse.json"])
    assert json.loads(base64.b64decode(statement["payload"]))["predicate"]["result"] == "FAILED"
    summary = json.loads(unpack(content)["attestations/svr.dsse.json"])
    assert json.loads(base64.b64decode(summary["payload"]))["predicate"]["properties"] == ["EXPUNGE_OVERRIDDEN"]
    assert any("1 request.overridden" in finding.sentence for finding in findings)


def test_a_bundle_of_another_tenant_or_of_nothing_is_not_found(small_signing: Api) -> None:
    one = publish(small_signing)
    stranger = small_signing.with_key("audit:read", tenant="other")
    assert stranger.get(f"/unlearn/{one.id}/evidence").status_code == 404
    assert small_signing.local.get(f"/unlearn/{uuid4()}/evidence").status_code == 404
    assert small_signing.with_key("requests:read").get(f"/unlearn/{one.id}/evidence").status_code == 403
    assert small_signing.local.get(f"/unlearn/{one.id}/evidence?since=100000").status_code == 422


def test_without_keys_there_is_no_evidence_and_a_sentence_says_what_to_do(small_api: Api) -> None:
    one = publish(small_api)
    answer = small_api.local.get(f"/unlearn/{one.id}/evidence")
    assert (answer.status_code, "expunge keys init" in answer.json()["detail"]) == (404, True)


def test_a_removed_submission_leaves_the_rest_provable(small_signing: Api) -> None:
    one = publish(small_signing)
    with small_signing.database.writing() as session:
        session.execute(text("DELETE FROM submissions"))
        assert session.query(Submission).count() == 0
    findings = check(fetch(small_signing, one.id), pinned(small_signing))
    assert all(finding.holds for finding in findings)
    assert any("Not checked: request and receipt" in finding.sentence for finding in findings)


def test_after_the_data_subject_was_erased_every_proof_still_holds_and_names_nobody(small_signing: Api) -> None:
    one = publish(small_signing, subject_reference="crm-4711", note="called twice")
    before = fetch(small_signing, one.id)
    assert b"crm-4711" in before
    assert small_signing.local.delete("/subjects/crm-4711").status_code == 200
    after = fetch(small_signing, one.id)
    assert not any(word in after for word in (b"crm-4711", b"called twice"))
    findings = check(after, pinned(small_signing), weights_sha256=one.sha256)
    assert [finding.sentence for finding in findings if not finding.holds] == []
    assert wrongs(before, pinned(small_signing)) == [], "who fetched one before keeps a bundle that holds"


def test_publications_that_came_later_leave_earlier_evidence_whole(small_signing: Api) -> None:
    first = publish(small_signing)
    fetch(small_signing, first.id)
    second = publish(small_signing, "bee", value=2.0)
    for one in (first, second):
        assert wrongs(fetch(small_signing, one.id), pinned(small_signing), weights_sha256=one.sha256) == []


def lie_about_outcome(verdict: Any) -> None:
    verdict["tests"][0] |= {"value": 0.9, "low": 0.89, "high": 0.91}


LIES: dict[str, tuple[Callable[[dict[str, bytes]], None], str]] = {
    "a measure": (edit(layout.VERDICT, lie_about_outcome), "is not the one of entry"),
    "the policy": (edit(layout.POLICY, lambda policy: policy.update(version=9)), "another policy"),
    "the margins": (
        edit(layout.POLICY, lambda policy: policy["deciding"]["membership_auc"].update(at_most=0.99)),
        "another policy",
    ),
    "the weights": (edit(layout.MANIFEST, lambda manifest: manifest.update(sha256="00" * 32)), "digest of the weights"),
    "the parent": (edit(layout.MANIFEST, lambda manifest: manifest.update(parent_sha256="00" * 32)), "The manifest"),
    "the environment": (edit(layout.ENVIRONMENT, lambda one: one.update(environment={})), "The environment"),
    "the request": (lambda files: files.update({layout.SUBMITTED: b"{}"}), "for another request"),
    "an attestation": (
        lambda files: files.update({"attestations/svr.dsse.json": files["attestations/test-result.dsse.json"]}),
        "attestation svr",
    ),
    "the earlier checkpoint": (
        lambda files: files.update({layout.EARLIER_FILE: files[layout.CHECKPOINT_FILE]}),
        "earlier checkpoint",
    ),
    "growth": (edit(layout.GROWTH_FILE, lambda one: one.update(old_root="00" * 32)), "beginning"),
    "a receipt": (lambda files: files.update({layout.RECEIPT: b"[]"}), "receipt"),
    "a missing manifest": (lambda files: files.__delitem__(layout.MANIFEST), "lacks manifest.json"),
}


@pytest.fixture
def told(small_signing: Api) -> tuple[Api, Published, bytes]:
    small_signing.local.get("/audit/checkpoint")
    one = publish(small_signing)
    return small_signing, one, fetch(small_signing, one.id)


@pytest.mark.parametrize("lie", LIES)
def test_a_service_that_lies_in_what_it_signs_is_caught_by_what_it_signed_before(
    told: tuple[Api, Published, bytes], lie: str
) -> None:
    api, _, content = told
    change, sentence = LIES[lie]
    assert wrongs(forge(api, content, lambda _: None), pinned(api)) == [], "untouched, and signed anew, it holds"
    found = wrongs(forge(api, content, change), pinned(api))
    assert any(sentence in one for one in found), found


def test_whatever_a_lying_service_signs_is_answered_in_sentences(told: tuple[Api, Published, bytes]) -> None:
    """Members removed, or replaced by something strange, at random places of files with a valid signature over them."""
    api, _, content = told
    chance = random.Random(3)
    names = [name for name in unpack(content) if name.endswith((".json", ".sig")) and not name.startswith("report")]
    names.remove(layout.INDEX)
    silent = []
    for number in range(400):
        name = names[number % len(names)]

        def change(files: dict[str, bytes], name: str = name) -> None:
            document = json.loads(files[name])
            place, member = chance.choice(list(places(document)))
            place[member] = chance.choice([None, -1, 2**53 - 1, "", "x", [], {}, True, "é" * 99, [None], {"a": 1}])
            files[name] = rfc8785.dumps(document)

        if not wrongs(forge(api, content, change), pinned(api)):
            silent.append(name)
    # Nothing binds what was measured beyond the tests, nor the version of the service; they are the service's account.
    assert set(silent) <= {
        layout.RESULTS_FILE,
        layout.ENVIRONMENT,
        layout.GROWTH_FILE,
        layout.PROOFS_FILE,
        "receipt.json",
    }


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every member of a JSON value, wherever it stands."""
    members = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for member, value in list(members):
        yield document, member
        yield from places(value)


def test_what_a_bundle_says_of_a_kept_checkpoint(told: tuple[Api, Published, bytes]) -> None:
    api, one, content = told
    files = unpack(content)
    key, earlier = pinned(api), files[layout.EARLIER_FILE].decode()
    newest = files[layout.CHECKPOINT_FILE].decode()
    assert wrongs(content, key, checkpoints=[earlier, newest]) == []
    publish(api, "bee", value=2.0)
    later = api.local.get("/audit/checkpoint").text
    findings = check(content, key, checkpoints=[later])
    assert [finding.decided for finding in findings].count(False) == 1, "a newer one cannot be decided with this bundle"
    kept = open_checkpoint(newest, [key]).checkpoint.size
    again = fetch(api, one.id, since=kept)
    assert wrongs(again, key, checkpoints=[newest]) == []
    assert all(finding.decided for finding in check(again, key, checkpoints=[newest]))
    ring = ring_of(api)
    root = base64.b64encode(bytes(32)).decode()
    for size, told_of in (
        (kept, "history was rewritten"),
        (open_checkpoint(later, [key]).checkpoint.size, "split view"),
    ):
        other = str(sign(f"{ring.origin}\n{size}\n{root}\n", ring.signers("checkpoint")))
        assert any(told_of in sentence for sentence in wrongs(again, key, checkpoints=[other]))


def test_a_rotation_in_the_middle_leaves_both_keys_good_and_then_one(small_signing: Api) -> None:
    first = pinned(small_signing)
    one = publish(small_signing)
    before = fetch(small_signing, one.id)
    make_keys(small_signing, rotate=True)
    after = fetch(small_signing, one.id)
    second = pinned(small_signing)
    assert first != second
    assert [wrongs(content, first) for content in (before, after)] == [[], []], "the old key signs along for a while"
    assert wrongs(after, second) == []
    assert "none of the keys" in wrongs(before, second)[0], "the new key had signed nothing then"
    later = publish(small_signing, "bee", value=2.0)
    assert wrongs(fetch(small_signing, later.id), second) == []
    kept = unpack(before)[layout.CHECKPOINT_FILE].decode()
    since = open_checkpoint(kept, [first]).checkpoint.size
    findings = check(fetch(small_signing, later.id, since=since), second, checkpoints=[kept])
    assert all(finding.holds and finding.decided for finding in findings), "a checkpoint kept from before the rotation"


def expire_first_keys(api: Api) -> Keyring:
    """A rotation after which the first keys have long ended; their private halves are still in the file."""
    ring = ring_of(api)
    with api.database.writing() as session:
        now = database_now(session)
        rotated = ring.rotated(now=now, until=now - timedelta(hours=1))
        publish_keys(session, rotated, actor="local:cli")
    write(api.resources.keys.path, rotated, replacing=True)
    return rotated


def test_an_expired_key_is_told_apart_from_a_wrong_one(small_signing: Api) -> None:
    first = pinned(small_signing)
    ring = expire_first_keys(small_signing)
    one = publish(small_signing)
    content = fetch(small_signing, one.id)
    assert wrongs(content, pinned(small_signing)) == []
    (sentence,) = wrongs(content, first)
    assert "none of the keys" in sentence
    assert f"own account {first.name} signed until" in sentence
    stranger = PublicKey(first.name, first.kind, bytes(32))
    assert "own account" not in wrongs(content, stranger)[0]
    # Whoever stole the old key signs the same ledger with it.
    alive = replace(ring, keys=tuple(replace(key, valid_until=None) for key in ring.keys))
    text = "".join(f"{line}\n" for line in unpack(content)[layout.CHECKPOINT_FILE].decode().splitlines()[:3])
    stolen = [key for key in alive.signers("checkpoint") if key.name == first.name]
    forged = forge(
        small_signing, content, lambda files: files.update({layout.CHECKPOINT_FILE: str(sign(text, stolen)).encode()})
    )
    assert "signed until" in wrongs(forged, first)[0]
    assert wrongs(forge(small_signing, content, lambda _: None), pinned(small_signing)) == []


def test_a_witness_that_was_pinned_is_heard(sqlite_url: str, tmp_path: Path) -> None:
    api = Api(sqlite_url, tmp_path, checkpoint_interval=timedelta(0), witness_keys=WITNESS_KEY.vkey)
    api.register()
    make_keys(api)
    one = publish(api)
    fetch(api, one.id)
    checkpoint = open_checkpoint(api.local.get("/audit/checkpoint").text, [pinned(api)]).checkpoint
    line = f"{cosign(checkpoint.text, WITNESS.name, WITNESS, at=1_700_000_000)}\n"
    added = api.local.post(
        f"/audit/checkpoints/{checkpoint.size}/cosignatures", content=line, headers={"Content-Type": "text/plain"}
    )
    assert added.status_code == 200, added.text
    findings = check_bundle(fetch(api, one.id), Trust(keys=[pinned(api), WITNESS_KEY]))
    assert all(finding.holds for finding in findings)
    assert any("witness that was pinned saw" in finding.sentence for finding in findings)
    alone = check_bundle(fetch(api, one.id), Trust(keys=[WITNESS_KEY]))
    assert not all(finding.holds for finding in alone), "a witness does not make a checkpoint"
    api.resources.close()


def test_keys_from_before_weights_were_signed_give_evidence_without_attestations(small_signing: Api) -> None:
    ring = ring_of(small_signing)
    older = replace(ring, keys=tuple(key for key in ring.keys if key.use != "model"))
    write(small_signing.resources.keys.path, older, replacing=True)
    one = publish(small_signing)
    content = fetch(small_signing, one.id)
    assert layout.MODEL_SIG not in unpack(content)
    findings = check(content, pinned(small_signing))
    assert all(finding.holds for finding in findings)
    assert any(finding.sentence.startswith("Not checked: attestations") for finding in findings)
    assert small_signing.local.get(f"{one.version}/model.sig").status_code == 404
