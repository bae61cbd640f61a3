"""Signed notes, checkpoints and cosignatures against the published vectors, and against every kind of forgery."""

import base64
import random

import pytest

from core.ledger.checkpoints import Checkpoint, open_checkpoint
from core.signing.notes import BadNote, Note, PrivateKey, PublicKey, SignatureLine, cosign, cosigned_at, sign

ORIGIN = "unlearn.example.com/audit"
VKEY = "unlearn.example.com/audit+6f6cd987+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
NOTE = """unlearn.example.com/audit
8
XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=

— unlearn.example.com/audit b2zZh9z0YkpcopKiNyyDhP6Mx75FmBsskeoKOTDrnNXKNeVJdp8zaOgcOei5jbVTR3rBSeCw3u9o+44IcS4kiuoDHwc=
"""
WITNESS = "witness.example.org/w1"
WITNESSED_AT = 1_700_000_000
COSIGNATURE = "EOR4GQAAAABlU/EAskauen5GJPycbNnAHZwfLQTYUM086fjoUX6EWNzNNOGCadt6cVppAi0uFjPI3HWHSJOr16Sn7xAhbS1+njoTBg=="

# The example of c2sp.org/signed-note.
EXAMPLE_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
EXAMPLE = """If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
"""

KEY = PrivateKey.from_seed(ORIGIN, bytes(32))
TEXT = NOTE.partition("\n\n")[0] + "\n"


def test_the_key_is_spelled_as_published() -> None:
    assert KEY.public.vkey == VKEY
    assert PublicKey.parse(VKEY) == KEY.public


def test_the_checkpoint_is_signed_as_published() -> None:
    root = bytes.fromhex("5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328")
    checkpoint = Checkpoint(ORIGIN, 8, root)
    assert str(sign(checkpoint.text, [KEY])) == NOTE
    opened = open_checkpoint(NOTE, [KEY.public])
    assert (opened.checkpoint, opened.signers) == (checkpoint, (KEY.public,))


def test_the_example_of_the_format_verifies() -> None:
    key = PublicKey.parse(EXAMPLE_VKEY)
    assert Note.parse(EXAMPLE).signers([key]) == [key]
    with pytest.raises(BadNote, match="does not fit the text"):
        Note.parse(EXAMPLE.replace("answer", "Answer")).signers([key])


def test_the_cosignature_is_as_published() -> None:
    witness = PrivateKey.from_seed(WITNESS, bytes([1]) * 32)
    line = cosign(TEXT, WITNESS, witness, at=WITNESSED_AT)
    assert str(line) == f"— {WITNESS} {COSIGNATURE}"
    assert cosigned_at(line) == WITNESSED_AT
    key = PublicKey(WITNESS, 0x04, witness.public.public)
    note = Note(TEXT, (*Note.parse(NOTE).lines, line))
    assert open_checkpoint(str(note), [KEY.public, key]).signers == (KEY.public, key)
    later = SignatureLine(line.name, line.key_id, (WITNESSED_AT + 1).to_bytes(8, "big") + line.payload[8:])
    with pytest.raises(BadNote, match=WITNESS):
        Note(TEXT, (later,)).signers([key])


def test_a_witness_alone_makes_no_checkpoint() -> None:
    witness = PrivateKey.from_seed(WITNESS, bytes([1]) * 32)
    note = Note(TEXT, (cosign(TEXT, WITNESS, witness, at=WITNESSED_AT),))
    with pytest.raises(BadNote, match="signed by none of the keys"):
        open_checkpoint(str(note), [PublicKey(WITNESS, 0x04, witness.public.public)])


def test_every_single_byte_change_of_a_checkpoint_is_found() -> None:
    chance = random.Random(0)
    original = NOTE.encode()
    for _ in range(2000):
        changed = bytearray(original)
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        try:
            text = changed.decode()
        except UnicodeDecodeError:
            continue
        with pytest.raises(BadNote):
            open_checkpoint(text, [KEY.public])


def test_a_signature_of_another_key_counts_for_nothing_and_harms_nothing() -> None:
    stranger = PrivateKey.from_seed("elsewhere.example/log", bytes([7]) * 32)
    both = sign(TEXT, [stranger, KEY])
    assert both.signers([KEY.public]) == [KEY.public]
    with pytest.raises(BadNote, match=r"none of the keys given; its signatures are of elsewhere\.example/log"):
        open_checkpoint(str(sign(TEXT, [stranger])), [KEY.public])


def test_a_key_of_the_same_name_is_another_key() -> None:
    impostor = PrivateKey.from_seed(ORIGIN, bytes([9]) * 32)
    with pytest.raises(BadNote, match="none of the keys"):
        open_checkpoint(str(sign(TEXT, [impostor])), [KEY.public])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        TEXT,
        NOTE.rstrip("\n"),
        NOTE.replace("—", "-"),
        NOTE.replace("\n\n", "\n"),
        NOTE + "\n",
        NOTE + "— x y\n",
        NOTE.replace("audit b2z", "audit  b2z"),
        NOTE * 1000,
    ],
)
def test_what_is_no_note_is_refused(text: str) -> None:
    with pytest.raises(BadNote):
        open_checkpoint(text, [KEY.public])


@pytest.mark.parametrize(
    "text",
    [
        f"{ORIGIN}\n08\n{base64.b64encode(bytes(32)).decode()}\n",
        f"{ORIGIN}\n-1\n{base64.b64encode(bytes(32)).decode()}\n",
        f"{ORIGIN}\n8\n{base64.b64encode(bytes(31)).decode()}\n",
        f"{ORIGIN}\n8\n{base64.b64encode(bytes(32)).decode()}\nextension\n",
        f"{ORIGIN}\n8\n{'A' * 42}B=\n",
        f"\n8\n{base64.b64encode(bytes(32)).decode()}\n",
    ],
)
def test_a_signed_text_that_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(BadNote, match="Expected"):
        open_checkpoint(str(sign(text, [KEY])), [KEY.public])


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "a+b",
        VKEY[:-1],
        VKEY.replace("6f6cd987", "6f6cd988"),
        VKEY.replace("audit+", "audit2+"),
        "a b" + VKEY,
        "x+00000000+Ag==",
    ],
)
def test_what_is_no_public_key_is_refused(vkey: str) -> None:
    with pytest.raises(BadNote, match="Expected"):
        PublicKey.parse(vkey)


def test_the_secret_is_not_in_any_text() -> None:
    assert base64.b64encode(bytes(32)).decode() not in f"{KEY!r} {KEY.public!r}"
