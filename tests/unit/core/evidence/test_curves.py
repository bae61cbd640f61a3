"""Signatures by whole numbers alone, against published vectors and against the package that the service uses."""

import random

import pytest

from core.evidence import curves as plain
from core.signing import curves as packaged
from core.signing.notes import P256, PrivateKey

# RFC 8032 section 7.1, tests 1 to 3: public key, message, signature.
ED25519_VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
        "655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aee"
        "b00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28d"
        "c027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("public", "message", "signature"), ED25519_VECTORS)
def test_the_vectors_of_rfc_8032_verify_and_nothing_beside_them(public: str, message: str, signature: str) -> None:
    key, text, signed = (bytes.fromhex(one) for one in (public, message, signature))
    assert plain.is_ed25519_signature(key, signed, text)
    assert not plain.is_ed25519_signature(key, signed, text + b"\x00")
    # The same signature with s + L is another spelling of the same number (RFC 8032 section 5.1.7 refuses it).
    larger = int.from_bytes(signed[32:], "little") + plain.L
    assert not plain.is_ed25519_signature(key, signed[:32] + larger.to_bytes(32, "little"), text)


def test_the_vector_of_rfc_6979_verifies() -> None:
    """RFC 6979 section A.2.5, SHA-256, message `sample`."""
    x = bytes.fromhex("60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6")
    y = bytes.fromhex("7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299")
    r = bytes.fromhex("EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716")
    s = bytes.fromhex("F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8")
    public = bytes([2 + y[-1] % 2]) + x
    der = b"\x30\x46\x02\x21\x00" + r + b"\x02\x21\x00" + s
    assert plain.is_p256_signature(public, der, b"sample")
    assert not plain.is_p256_signature(public, der, b"samplf")


@pytest.mark.parametrize("kind", ["ed25519", "p256"])
def test_both_implementations_agree_on_good_and_on_changed_signatures(kind: str) -> None:
    chance = random.Random(7)
    name = f"is_{kind}_signature"
    slow, fast = getattr(plain, name), getattr(packaged, name)
    for number in range(60):
        seed = bytes([0]) + chance.randbytes(31)
        key = PrivateKey.from_seed("k", seed, P256 if kind == "p256" else 1)
        message = chance.randbytes(number)
        signature = key.sign(message)
        public = key.public.public
        assert slow(public, signature, message)
        assert fast(public, signature, message)
        parts = [bytearray(public), bytearray(signature), bytearray(message + b"x")]
        part = parts[number % 3]
        part[chance.randrange(len(part))] ^= 1 << chance.randrange(8)
        parts[2] = parts[2][:-1] if number % 3 < 2 else parts[2]
        changed = tuple(bytes(one) for one in parts)
        assert slow(*changed) == fast(*changed) == (changed == (public, signature, message))


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 63, 64, 65])
def test_keys_and_signatures_of_any_length_are_answered(length: int) -> None:
    content = bytes([0x30] * length)
    for check in (plain.is_ed25519_signature, plain.is_p256_signature):
        assert check(content, content, b"") is False


def test_points_that_are_not_on_the_curve_are_refused() -> None:
    off = [bytes([2]) + number.to_bytes(32) for number in range(40)]
    answers = [plain.is_p256_signature(one, b"", b"") for one in off]
    assert not any(answers)
    assert not plain.is_ed25519_signature((2**255 - 19).to_bytes(32, "little"), bytes(64), b"")
