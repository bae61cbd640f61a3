"""Signatures checked by the `cryptography` package: what the service uses. `core.evidence.curves` needs no package."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256


def is_ed25519_signature(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the 64 bytes are an Ed25519 signature (RFC 8032) of the message by the key of 32 bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def is_p256_signature(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the DER bytes are an ECDSA signature over P-256 and SHA-256 by the compressed point of 33 bytes."""
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
        key.verify(signature, message, ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True
