"""Public keys in the forms that other programs read: PEM, JSON Web Keys."""

import base64

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from core.signing.notes import P256, PublicKey


def pem_of(key: PublicKey) -> str:
    """A P-256 key as PEM of its SubjectPublicKeyInfo, which is what model signatures name it by.

    Raises:
        ValueError: it is a key of another kind.
    """
    return _point(key).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def jwk_of(key: PublicKey) -> dict[str, str]:
    """A key as a JSON Web Key (RFC 7517, RFC 8037)."""
    if key.kind != P256:
        return {"kty": "OKP", "crv": "Ed25519", "x": _url_safe(key.public)}
    numbers = _point(key).public_numbers()
    x, y = (_url_safe(number.to_bytes(32)) for number in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def _point(key: PublicKey) -> ec.EllipticCurvePublicKey:
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.public)


def _url_safe(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
