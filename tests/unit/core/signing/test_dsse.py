"""Envelopes against the published vectors."""

import copy
import json

import pytest

from core.signing.dsse import BadEnvelope, envelope, open_envelope, pae
from core.signing.notes import PrivateKey

KEY = PrivateKey.from_seed("unlearn.example.com/audit/statements", bytes(32))
IN_TOTO = "application/vnd.in-toto+json"


def test_the_encoding_is_as_published() -> None:
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == expected


def test_the_signature_is_as_published() -> None:
    made = envelope(IN_TOTO, b'{"a":1}', [KEY])
    assert made["signatures"][0]["sig"] == (
        "9dR1TCe2fxmkxJ+gtPvaMEujQ7ur7Poz5PDYF2tVRIHeL293g0H7r58WdA0Hk+g3ci4yoL0t8pT/Kgf0hmZxDA=="
    )
    assert open_envelope(made, IN_TOTO, [KEY.public]) == b'{"a":1}'


def test_both_alphabets_of_base64_are_read() -> None:
    made = envelope(IN_TOTO, b"\xff\xfe\xfd", [KEY])
    safe = json.loads(json.dumps(made).replace("+", "-"))
    safe["payloadType"] = IN_TOTO
    safe["payload"] = made["payload"].replace("/", "_")
    assert open_envelope(safe, IN_TOTO, [KEY.public]) == b"\xff\xfe\xfd"


def test_the_hint_is_not_trusted() -> None:
    made = envelope(IN_TOTO, b"{}", [KEY])
    made["signatures"][0]["keyid"] = "somebody else"
    assert open_envelope(made, IN_TOTO, [KEY.public]) == b"{}"
    other = PrivateKey.from_seed("unlearn.example.com/audit/statements", bytes([1]) * 32)
    with pytest.raises(BadEnvelope, match="none of the keys"):
        open_envelope(made, IN_TOTO, [other.public])


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("payload", "e30"),
        ("payload", "eyJhIjoyfQ=="),
        ("payload", 3),
        ("payloadType", "application/json"),
        ("signatures", []),
        ("signatures", [{}]),
        ("signatures", [{"sig": "AAAA"}]),
        ("signatures", None),
    ],
)
def test_a_changed_envelope_is_refused(member: str, value: object) -> None:
    made = copy.deepcopy(envelope(IN_TOTO, b'{"a":1}', [KEY]))
    made[member] = value
    with pytest.raises(BadEnvelope):
        open_envelope(made, IN_TOTO, [KEY.public])
