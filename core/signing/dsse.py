"""Signing envelopes (DSSE 1.0): JSON around signed bytes, with the type of the bytes under the signature."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from core.signing.notes import PrivateKey, PublicKey


class BadEnvelope(ValueError):
    """An envelope that does not follow the format, or that no pinned key signed."""


def pae(payload_type: str, payload: bytes) -> bytes:
    """Pre-authentication encoding: what is signed. Lengths are in bytes, decimal."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def envelope(payload_type: str, payload: bytes, keys: Sequence[PrivateKey]) -> dict[str, Any]:
    """An envelope signed by every key; `keyid` is a hint and nothing more."""
    message = pae(payload_type, payload)
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [
            {"keyid": key_hint(key.public), "sig": base64.b64encode(key.sign(message)).decode()} for key in keys
        ],
    }


def key_hint(key: PublicKey) -> str:
    """What `keyid` says: the key's name and id."""
    return f"{key.name}+{key.key_id.hex()}"


def open_envelope(document: Mapping[str, Any], payload_type: str, keys: Sequence[PublicKey]) -> bytes:
    """The payload, once one of the keys is known to have signed it; only these bytes may be parsed.

    Raises:
        BadEnvelope: the envelope is malformed, of another type, or signed by none of the keys.
    """
    try:
        payload = _from_base64(document["payload"])
        kind = document["payloadType"]
        signatures = [_from_base64(one["sig"]) for one in document["signatures"]]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        msg = "Expected a DSSE envelope with payload, payloadType and signatures."
        raise BadEnvelope(msg) from error
    if kind != payload_type:
        msg = f"Expected an envelope of type {payload_type}, got {json.dumps(kind)[:80]}."
        raise BadEnvelope(msg)
    message = pae(payload_type, payload)
    if not any(key.is_signature(signature, message) for signature in signatures for key in keys):
        msg = "The envelope is signed by none of the keys given."
        raise BadEnvelope(msg)
    return payload


def _from_base64(text: str) -> bytes:
    # Verifiers accept both alphabets (DSSE 1.0, envelope).
    return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
