"""Checkpoints and cosignatures over HTTP, the keys for everybody, and readiness when the ledger was tampered with."""

from base64 import b64decode
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from core.clock import database_now
from core.ledger.checkpoints import open_checkpoint
from core.ledger.export import check_export, export_document
from core.ledger.tree import root_of_leaves
from core.ledger.verifying import Trust, check
from core.signing.keyring import Keyring, write
from core.signing.notes import COSIGNATURE, Note, PrivateKey, PublicKey, cosign
from core.signing.published import publish
from tests.integration.app.api import Api, body

ORIGIN = "test.example/audit"
WITNESS = PrivateKey.from_seed("witness.example/w1", bytes([1]) * 32)
WITNESS_KEY = PublicKey(WITNESS.name, COSIGNATURE, WITNESS.public.public)


def make_keys(api: Api, *, rotate: bool = False) -> Keyring:
    """What `expunge keys init` and `rotate` do."""
    keys = api.resources.keys
    with api.database.writing() as session:
        now = database_now(session)
        known = keys.current()
        ring = known.rotated(now=now, until=now + timedelta(days=1)) if known else Keyring.first(ORIGIN, now=now)
        publish(session, ring, actor="local:cli")
    write(keys.path, ring, replacing=rotate)
    return ring


@pytest.fixture
def signing(database_url: str, tmp_path: Path) -> Iterator[Api]:
    api = Api(database_url, tmp_path, checkpoint_interval=timedelta(0), witness_keys=WITNESS_KEY.vkey)
    api.register()
    make_keys(api)
    api.local.post("/unlearn", json=body("ant"))
    yield api
    api.resources.close()


def pinned(api: Api) -> list[PublicKey]:
    keys = api.local.get("/.well-known/expunge").json()["keys"]
    return [PublicKey.parse(key["vkey"]) for key in keys]


def test_the_newest_checkpoint_is_text_that_the_published_key_signed(signing: Api) -> None:
    answer = signing.local.get("/audit/checkpoint")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    opened = open_checkpoint(answer.text, pinned(signing))
    page = signing.local.get("/audit/entries").json()
    assert opened.checkpoint.size == page["tree_size"]
    assert opened.checkpoint.root.hex() == page["root"]
    again = signing.local.get("/audit/checkpoint", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    same = signing.local.get(f"/audit/checkpoints/{opened.checkpoint.size}")
    assert (same.text, same.headers["etag"]) == (answer.text, answer.headers["etag"])


def test_without_a_key_there_is_no_checkpoint_and_nothing_else_changes(small_api: Api) -> None:
    answer = small_api.local.get("/audit/checkpoint")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:expunge:problem:no-checkpoint")
    assert "expunge keys init" in answer.json()["detail"]
    assert small_api.local.get("/.well-known/expunge").json()["keys"] == []
    assert "checkpoint" not in small_api.local.get("/audit/export").json()
    ready = small_api.local.get("/readyz").json()
    assert ready["checks"]["ledger"] == {
        "status": "ok",
        "detail": "No signing key: neither checkpoints nor receipts are signed.",
    }


def test_a_size_that_was_never_signed_is_not_found(signing: Api) -> None:
    assert signing.local.get("/audit/checkpoints/0").status_code == 404
    assert signing.local.get("/audit/checkpoints/x").status_code == 422
    assert signing.local.get(f"/audit/checkpoints/{2**64}").status_code == 422


def test_these_routes_need_the_scope(signing: Api) -> None:
    stranger = signing.with_key("requests:read")
    for path in (
        "checkpoint",
        "checkpoints/3",
        "proof/inclusion?index=0",
        "proof/consistency?from=1",
        "entries/0/tlog-proof",
    ):
        assert stranger.get(f"/audit/{path}").status_code == 403
    assert stranger.post("/audit/checkpoints/3/cosignatures", content="").status_code == 403
    assert signing.from_afar().get("/.well-known/expunge").status_code == 200


def test_a_rotation_is_seen_by_the_running_service(signing: Api) -> None:
    old = pinned(signing)
    make_keys(signing, rotate=True)
    note = signing.local.get("/audit/checkpoint").text
    assert len(Note.parse(note).lines) == 2
    assert open_checkpoint(note, old).checkpoint == open_checkpoint(note, pinned(signing)[3:]).checkpoint
    shown = signing.local.get("/.well-known/expunge").json()
    assert shown["origin"] == ORIGIN
    assert [key["valid_until"] is None for key in shown["keys"]] == [False] * 3 + [True] * 3
    assert signing.local.get("/readyz").json()["checks"]["ledger"]["status"] == "ok"


def test_a_witness_configured_by_the_operator_can_sign_below(signing: Api) -> None:
    note = signing.local.get("/audit/checkpoint").text
    size = open_checkpoint(note, pinned(signing)).checkpoint.size
    line = cosign(Note.parse(note).text, WITNESS.name, WITNESS, at=1_700_000_000)
    path = f"/audit/checkpoints/{size}/cosignatures"
    answers = [signing.local.post(path, content=f"{line}\n") for _ in range(2)]
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, f"{note}{line}\n")] * 2
    assert signing.local.get("/audit/checkpoint").text == f"{note}{line}\n"
    findings = check(answers[0].content, Trust(keys=[*pinned(signing), WITNESS_KEY]))
    assert all(finding.holds for finding in findings)
    assert "witness.example/w1 saw it at 1700000000" in findings[1].sentence


@pytest.mark.parametrize("kind", ["stranger", "other text", "no line", "ours", "none", "bytes"])
def test_what_no_configured_witness_signed_is_refused(signing: Api, kind: str) -> None:
    note = signing.local.get("/audit/checkpoint").text
    checkpoint = Note.parse(note)
    stranger = PrivateKey.from_seed(WITNESS.name, bytes([2]) * 32)
    content = {
        "stranger": str(cosign(checkpoint.text, WITNESS.name, stranger, at=1)).encode(),
        "other text": str(cosign("x\n", WITNESS.name, WITNESS, at=1)).encode(),
        "no line": b"hello",
        "ours": str(checkpoint.lines[0]).encode(),
        "none": b"",
        "bytes": b"\xff",
    }[kind]
    size = open_checkpoint(note, pinned(signing)).checkpoint.size
    assert signing.local.post(f"/audit/checkpoints/{size}/cosignatures", content=content).status_code == 422
    assert signing.local.get("/audit/checkpoint").text == note
    assert signing.local.post("/audit/checkpoints/0/cosignatures", content=b"x").status_code == 404


def test_the_export_carries_the_newest_checkpoint_and_a_cut_tail_is_found_against_a_kept_one(signing: Api) -> None:
    early = signing.local.get("/audit/export").json()
    assert "checkpoint" not in early
    kept = signing.local.get("/audit/checkpoint").text
    answer = signing.local.get("/audit/export")
    trust = Trust(keys=pinned(signing), checkpoints=[kept])
    assert all(finding.holds for finding in check(answer.content, trust))
    cut = answer.json()
    cut["entries"].pop()
    leaves = [b64decode(entry["leaf"]) for entry in cut["entries"]]
    forged = export_document(leaves, tree_size=len(leaves), root=root_of_leaves(leaves))
    assert all(finding.holds for finding in check_export(forged)), "alone it cannot be told"
    findings = check_export(forged, [open_checkpoint(kept, pinned(signing)).checkpoint])
    assert [finding.holds for finding in findings] == [True, False]
    assert "1 entries are missing at the end" in findings[1].sentence


def test_a_cut_ledger_turns_readiness_red_and_is_not_signed(sqlite_url: str, tmp_path: Path) -> None:
    api = Api(sqlite_url, tmp_path, checkpoint_interval=timedelta(0))
    api.register()
    make_keys(api)
    size = len(api.local.get("/audit/export").json()["entries"])
    api.local.get("/audit/checkpoint")
    assert api.local.get("/readyz").status_code == 200
    with api.database.writing() as session:
        session.execute(text("DROP TRIGGER audit_log_no_delete"))
        session.execute(text("DELETE FROM audit_log WHERE seq = :last"), {"last": size - 1})
        session.execute(text("UPDATE audit_head SET tree_size = tree_size - 1"))
    api.resources.last_readiness = None
    ready = api.local.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["ledger"]["status"]) == (503, "failed")
    assert "cut off" in ready.json()["checks"]["ledger"]["detail"]


def test_an_open_key_file_turns_readiness_red(signing: Api) -> None:
    signing.resources.keys.path.chmod(0o644)
    ready = signing.local.get("/readyz")
    assert ready.status_code == 503
    assert "chmod 600" in ready.json()["checks"]["ledger"]["detail"]
    assert signing.resources.keys.path.name not in ready.text
