"""What is attested of a published version: signed once, true to the ledger, and accepted by the public verifier."""

import base64
import json
import warnings
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from core.evidence import statements
from core.signing.dsse import open_envelope
from core.signing.notes import PublicKey
from tests.integration.app.api import Api, TestClient, safetensors
from tests.integration.app.audit.test_checkpoints import make_keys
from tests.integration.app.publishing import FILES, Published, publish

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the public verifier's own dependencies
    import model_signing

KINDS = ("class-unlearning", "test-result", "svr")


def keys_of(api: Api, use: str) -> list[dict[str, Any]]:
    return [key for key in api.local.get("/.well-known/expunge").json()["keys"] if key["use"] == use]


def statement(api: Api, one: Published, kind: str, client: TestClient | None = None) -> dict[str, Any]:
    answer = (client or api.local).get(f"{one.version}/attestations/{kind}")
    assert answer.status_code == 200, answer.text
    pinned = [PublicKey.parse(key["vkey"]) for key in keys_of(api, "statement")]
    opened: dict[str, Any] = json.loads(open_envelope(answer.json(), statements.IN_TOTO_TYPE, pinned))
    return opened


def test_three_statements_say_what_was_done_measured_and_decided(signing: Api) -> None:
    one = publish(signing, legal_ground="art17_1_a")
    done, measured, decided = (statement(signing, one, kind) for kind in KINDS)
    for made in (done, measured, decided):
        assert made["_type"] == "https://in-toto.io/Statement/v1"
        assert made["subject"] == [{"name": "m-v2.safetensors", "digest": {"sha256": one.sha256}}]
    assert measured["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    assert decided["predicateType"] == "https://in-toto.io/attestation/svr/v0.2"
    leaf = next(leaf for leaf in signing.ledger() if leaf.get("to") == "published")
    assert done["predicate"]["log"]["index"] == leaf["seq"]
    assert done["predicate"]["request"]["id"] == one.id
    assert done["predicate"]["classes"] == leaf["data"]["classes"]
    assert done["predicate"]["base"]["digest"]["sha256"] == "ab" * 32
    assert {item["digest"]["sha256"] for item in done["predicate"]["datasets"]} == set(FILES.values())
    assert measured["predicate"]["result"] == "PASSED"
    assert "forget_accuracy_test<=0.1" in measured["predicate"]["passedTests"]
    assert "0.3<=membership_auc<=0.7" in measured["predicate"]["passedTests"]
    assert not measured["predicate"]["failedTests"]
    assert decided["predicate"]["properties"] == ["EXPUNGE_CLASSES_UNLEARNED", "EXPUNGE_GATE_PASSED"]
    assert "ant" not in json.dumps([done, measured, decided])


def test_they_are_signed_once_and_the_ledger_has_their_digests(signing: Api) -> None:
    one = publish(signing)
    with ThreadPoolExecutor(4) as pool:
        lists = list(pool.map(lambda _: signing.local.get(f"{one.version}/attestations").json(), range(4)))
    assert lists == lists[:1] * 4
    written = [leaf for leaf in signing.ledger() if leaf["type"] == "version.attested"]
    assert [leaf["data"]["sha256"] for leaf in written] == [
        {item["kind"]: item["sha256"] for item in lists[0]["items"]}
    ]
    for item in lists[0]["items"]:
        file = signing.local.get(item["url"])
        assert sha256(file.content).hexdigest() == item["sha256"]
        again = signing.local.get(item["url"], headers={"If-None-Match": file.headers["etag"]})
        assert again.status_code == 304
    make_keys(signing, rotate=True)
    assert signing.local.get(f"{one.version}/attestations").json() == lists[0]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE model_versions SET manifest = '{}' WHERE number = 2",
        "UPDATE model_versions SET artifact_sha256 = '00' WHERE number = 2",
    ],
)
def test_nothing_is_signed_that_the_ledger_does_not_say(small_signing: Api, change: str) -> None:
    one = publish(small_signing)
    with small_signing.database.writing() as session:
        session.execute(text("DROP TRIGGER IF EXISTS model_versions_mark_for_ever"))
        value = json.dumps({
            **json.loads(session.execute(text("SELECT manifest FROM model_versions WHERE number = 2")).scalar_one()),
            "seed": 7,
        })
        session.execute(text(change.replace("'{}'", ":value")), {"value": value} if "'{}'" in change else {})
    answer = small_signing.local.get(f"{one.version}/attestations")
    assert answer.status_code == 500
    assert answer.json()["type"].endswith("ledger-damaged")
    assert "version.attested" not in [leaf["type"] for leaf in small_signing.ledger()]


def test_stored_attestations_cannot_be_changed(signing: Api) -> None:
    one = publish(signing)
    signing.local.get(f"{one.version}/attestations")
    for change in ("UPDATE attestations SET kind = 'x'", "DELETE FROM attestations"):
        with pytest.raises(DBAPIError, match="append-only"), signing.database.writing() as session:
            session.execute(text(change))


def test_what_was_uploaded_or_cannot_be_signed_is_not_attested(small_api: Api) -> None:
    one = publish(small_api)
    for version, told in ((one.version, "expunge keys"), ("/models/m/versions/1", "expunge keys")):
        answer = small_api.local.get(f"{version}/model.sig")
        assert (answer.status_code, told in answer.json()["detail"]) == (404, True)
    make_keys(small_api)
    assert small_api.local.get(f"{one.version}/model.sig").status_code == 200
    uploaded = small_api.local.get("/models/m/versions/1/model.sig")
    assert (uploaded.status_code, "was uploaded" in uploaded.json()["detail"]) == (404, True)
    assert small_api.local.get(f"{one.version}/attestations/nonsense").status_code == 422


def folder_of(api: Api, one: Published, folder: Path) -> tuple[Path, Path]:
    """The weights as downloaded beside `model.sig`, and the published key."""
    folder.mkdir()
    weights = api.local.get(f"{one.version}/artifact")
    name = weights.headers["content-disposition"].split('"')[1]
    (folder / name).write_bytes(weights.content)
    (folder / "model.sig").write_bytes(api.local.get(f"{one.version}/model.sig").content)
    key = folder.with_suffix(".pem")
    key.write_text(keys_of(api, "model")[-1]["pem"])
    return folder, key


def verify(folder: Path, key: Path) -> None:
    """What `model_signing verify key` runs."""
    signature = folder / "model.sig"
    config = model_signing.hashing.Config().set_ignored_paths(paths=[signature])
    model_signing.verifying.Config().use_elliptic_key_verifier(public_key=key).set_hashing_config(config).verify(
        folder, signature
    )


def test_the_public_verifier_accepts_the_weights_and_nothing_else(small_signing: Api, tmp_path: Path) -> None:
    folder, key = folder_of(small_signing, publish(small_signing), tmp_path / "model")
    verify(folder, key)
    (weights,) = folder.glob("*.safetensors")
    sound = weights.read_bytes()
    assert sound == safetensors(1.0)
    weights.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"[Mm]ismatch|[Dd]iffer|Expected"):
        verify(folder, key)
    weights.write_bytes(sound)
    (folder / "more.bin").write_bytes(b"unsigned")
    with pytest.raises(ValueError, match=r"[Ee]xtra|unsigned"):
        verify(folder, key)
    (folder / "more.bin").unlink()
    verify(folder, key)


def test_the_public_verifier_refuses_another_key_and_a_changed_signature(small_signing: Api, tmp_path: Path) -> None:
    folder, key = folder_of(small_signing, publish(small_signing), tmp_path / "model")
    bundle = json.loads((folder / "model.sig").read_bytes())
    signed = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    signed["predicate"]["resources"][0]["digest"] = "00" * 32
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(signed).encode()).decode()
    sound = (folder / "model.sig").read_bytes()
    (folder / "model.sig").write_text(json.dumps(bundle))
    with pytest.raises((InvalidSignature, ValueError)):
        verify(folder, key)
    (folder / "model.sig").write_bytes(sound)
    make_keys(small_signing, rotate=True)
    verify(folder, key)
    key.write_text(keys_of(small_signing, "model")[-1]["pem"])
    with pytest.raises(ValueError, match="Key mismatch"):
        verify(folder, key)
