"""The receipt in the answer to a submission proves later that it was accepted, what was asked, and where it stands."""

import copy
import json
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from core.ledger.receipts import Receipt, open_receipt
from core.ledger.verifying import Trust, check
from tests.integration.app.api import Api, body
from tests.integration.app.audit.test_checkpoints import make_keys, pinned


@pytest.fixture
def signing(database_url: str, tmp_path: Path) -> Iterator[Api]:
    api = Api(database_url, tmp_path, checkpoint_interval=timedelta(0))
    api.register()
    make_keys(api)
    yield api
    api.resources.close()


def submit(api: Api, name: str = "ant", **headers: str) -> tuple[bytes, Any]:
    sent = json.dumps(body(name)).encode()
    answer = api.local.post("/unlearn", content=sent, headers={"Content-Type": "application/json", **headers})
    assert answer.status_code == 202
    return sent, answer.json()


def test_the_receipt_is_for_this_request_and_its_entry(signing: Api) -> None:
    sent, answer = submit(signing)
    receipt = open_receipt(answer["receipt"], pinned(signing))
    entry = next(leaf for leaf in signing.ledger() if leaf.get("request") == answer["id"])
    assert receipt == Receipt(
        origin="test.example/audit",
        request=answer["id"],
        request_sha256=sha256(sent).hexdigest(),
        received_at=entry["ts"],
        index=entry["seq"],
        leaf_hash=receipt.leaf_hash,
        fence=0,
        checkpoint=None,
    )
    proof = signing.local.get(f"/audit/proof/inclusion?index={receipt.index}").json()
    assert proof["leaf_hash"] == receipt.leaf_hash.hex()


def test_a_checkpoint_once_signed_rides_in_later_receipts(signing: Api) -> None:
    note = signing.local.get("/audit/checkpoint").text
    sent, answer = submit(signing)
    assert open_receipt(answer["receipt"], pinned(signing)).checkpoint == note
    trust = Trust(keys=pinned(signing), request=sent)
    findings = check(json.dumps(answer).encode(), trust)
    assert [finding.holds for finding in findings] == [True] * 3
    other = Trust(keys=pinned(signing), request=sent + b" ")
    assert "another request" in check(json.dumps(answer).encode(), other)[1].sentence


def test_a_changed_receipt_does_not_verify(signing: Api) -> None:
    _, answer = submit(signing)
    keys = pinned(signing)
    for member in ("payload", "payloadType"):
        changed = copy.deepcopy(answer["receipt"])
        changed[member] = "A" + changed[member][1:]
        with pytest.raises(ValueError, match=r"none of the keys|of type"):
            open_receipt(changed, keys)
    checkpoint_keys = [key for key in keys if not key.name.endswith("/statements")]
    with pytest.raises(ValueError, match="none of the keys"):
        open_receipt(answer["receipt"], checkpoint_keys)


def test_the_same_request_again_has_the_same_receipt(signing: Api) -> None:
    key = {"Idempotency-Key": '"once"'}
    first, again = submit(signing, **key)[1], submit(signing, **key)[1]
    assert first["receipt"] is not None
    assert first["receipt"] == again["receipt"]


def test_without_a_key_there_is_no_receipt(small_api: Api) -> None:
    assert submit(small_api)[1]["receipt"] is None


def test_reading_a_request_hands_out_no_receipt(signing: Api) -> None:
    _, answer = submit(signing)
    assert signing.local.get(answer["links"]["self"]).json()["receipt"] is None


def test_a_receipt_costs_no_query(api: Api) -> None:
    seen: list[str] = []
    event.listen(api.database.engine, "before_cursor_execute", lambda *args: seen.append(args[2]))
    submit(api, "ant")
    seen.clear()
    submit(api, "bee")
    plain = list(seen)
    make_keys(api)
    api.local.get("/audit/checkpoint")
    seen.clear()
    _, answer = submit(api, "cat")
    assert answer["receipt"] is not None
    assert seen == plain
