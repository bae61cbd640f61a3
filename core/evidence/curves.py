"""Ed25519 and ECDSA over P-256 verified with whole numbers alone: what `verify_evidence.py` uses in place of a package.

Slow (some milliseconds a signature) and not fit for signing: nothing is secret here, so nothing takes constant time.
Tests compare it with `core.signing.curves`, which does the same by the `cryptography` package.

References: RFC 8032 sections 5.1.3 and 5.1.7 (without the factor 8, as OpenSSL does it); FIPS 186-5 section 6.4.2.
"""

from hashlib import sha256, sha512

# Edwards25519: -x^2 + y^2 = 1 + d x^2 y^2 over the integers modulo P; points as (X, Y, Z, T) with T = XY/Z.
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT = pow(2, (P - 1) // 4, P)
"""A square root of -1."""

Extended = tuple[int, int, int, int]


def is_ed25519_signature(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the 64 bytes are an Ed25519 signature (RFC 8032) of the message by the key of 32 bytes."""
    key = _decoded_point(public)
    if key is None or len(signature) != 64:
        return False
    scalar = int.from_bytes(signature[32:], "little")
    if scalar >= L:
        return False
    challenge = int.from_bytes(sha512(signature[:32] + public + message).digest(), "little") % L
    x, y, z, t = key
    # s B - h A, which must be R as it is written in the signature.
    found = _added(_times(scalar, BASE), _times(challenge, (P - x, y, z, P - t)))
    return _encoded(found) == signature[:32]


def _added(one: Extended, other: Extended) -> Extended:
    a = (one[1] - one[0]) * (other[1] - other[0]) % P
    b = (one[1] + one[0]) * (other[1] + other[0]) % P
    c, d = 2 * one[3] * other[3] * D % P, 2 * one[2] * other[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _times(scalar: int, point: Extended) -> Extended:
    found: Extended = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            found = _added(found, point)
        point = _added(point, point)
        scalar >>= 1
    return found


def _encoded(point: Extended) -> bytes:
    inverse = pow(point[2], -1, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _decoded_point(encoded: bytes) -> Extended | None:
    if len(encoded) != 32:
        return None
    number = int.from_bytes(encoded, "little")
    y, sign = number & ((1 << 255) - 1), number >> 255
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


BASE: Extended = _decoded_point((4 * pow(5, -1, P) % P).to_bytes(32, "little")) or (0, 1, 1, 0)

# P-256: y^2 = x^3 - 3x + b modulo Q; points as (x, y), None is the point at infinity (SP 800-186 section 3.2.1.3).
Q = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)

Affine = tuple[int, int] | None


def is_p256_signature(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the DER bytes are an ECDSA signature over P-256 and SHA-256 by the compressed point of 33 bytes."""
    key, pair = _decompressed(public), _two_integers(signature)
    if key is None or pair is None:
        return False
    r, s = pair
    if not (0 < r < N and 0 < s < N):
        return False
    inverse = pow(s, -1, N)
    digest = int.from_bytes(sha256(message).digest(), "big")
    found = _sum(_multiple(digest * inverse % N, G), _multiple(r * inverse % N, key))
    return found is not None and found[0] % N == r


def _sum(one: Affine, other: Affine) -> Affine:
    if one is None or other is None:
        return other if one is None else one
    (x1, y1), (x2, y2) = one, other
    if x1 == x2:
        if (y1 + y2) % Q == 0:
            return None
        slope = 3 * (x1 * x1 - 1) * pow(2 * y1, -1, Q) % Q
    else:
        slope = (y2 - y1) * pow(x2 - x1, -1, Q) % Q
    x = (slope * slope - x1 - x2) % Q
    return x, (slope * (x1 - x) - y1) % Q


def _multiple(scalar: int, point: Affine) -> Affine:
    found: Affine = None
    while scalar:
        if scalar & 1:
            found = _sum(found, point)
        point = _sum(point, point)
        scalar >>= 1
    return found


def _decompressed(point: bytes) -> Affine:
    x = int.from_bytes(point[1:], "big")
    if len(point) != 33 or point[0] not in {2, 3} or x >= Q:
        return None
    square = (x * x * x - 3 * x + B) % Q
    y = pow(square, (Q + 1) // 4, Q)
    if (y * y - square) % Q:
        return None
    return x, y if y & 1 == point[0] & 1 else Q - y


def _two_integers(der: bytes) -> tuple[int, int] | None:
    """The pair in `SEQUENCE { INTEGER, INTEGER }` in its one DER spelling."""
    r_length = der[3] if len(der) > 3 else 0
    r, rest = der[4 : 4 + r_length], der[4 + r_length :]
    s = rest[2:]
    pair = int.from_bytes(r, "big"), int.from_bytes(s, "big")
    body = b"".join(b"\x02" + bytes([len(one)]) + one for one in map(_der_integer, pair))
    return pair if len(body) < 128 and der == b"\x30" + bytes([len(body)]) + body else None


def _der_integer(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1, "big")
