"""A bundle of an earlier release, in the hands of an attacker: untouched it holds, and any change is found.

The bundle in the fixtures was made by the release in its name, with a key rotation after the publication. It must never
be made again: it stands for those that regulators have in their drawers.
"""

import base64
import json
import random
import re
import struct
import zipfile
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import rfc8785

from core.evidence import layout
from core.evidence.archive import MAX_BYTES, pack, unpack
from core.evidence.bundle import check_bundle
from core.evidence.command import exit_code, tell
from core.evidence.trust import Trust
from core.ledger.verifying import check
from core.signing.dsse import envelope
from core.signing.notes import PrivateKey, PublicKey

FOLDER = Path(__file__).parents[3] / "fixtures" / "evidence"
CONTENT = (FOLDER / "expunge-0.1.0.zip").read_bytes()
FIRST, SECOND = map(PublicKey.parse, (FOLDER / "expunge-0.1.0.keys").read_text().split())
FILES = unpack(CONTENT)
REQUEST = json.loads(FILES["manifest.json"])["job"]
CHANGES = 3000
ATTACKER = PrivateKey.from_seed("test.example/audit/statements", bytes(32))


def wrongs(content: bytes, key: PublicKey = FIRST, **others: Any) -> list[str]:
    findings = check_bundle(content, Trust(keys=[key], **others))
    assert (exit_code(findings) == 1) == any(not finding.holds for finding in findings)
    return [finding.sentence for finding in findings if not finding.holds]


@pytest.mark.parametrize("key", [FIRST, SECOND], ids=["old key", "new key"])
def test_the_bundle_of_an_earlier_release_holds(key: PublicKey) -> None:
    findings = check_bundle(CONTENT, Trust(keys=[key], request_id=REQUEST, request=FILES[layout.SUBMITTED]))
    assert exit_code(findings) == 0, tell(findings)
    told = tell(findings)
    assert told.index("What holds:") < told.index("What is left open:")
    assert told.endswith("It holds, as far as it was checked.")


def test_thousands_of_single_byte_changes_are_all_found() -> None:
    chance = random.Random(0)
    for _ in range(CHANGES):
        changed = bytearray(CONTENT)
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        assert wrongs(bytes(changed))


@pytest.mark.parametrize(
    "changed", [b"p" + CONTENT[1:], b"PK\x03\x05" + CONTENT[4:], b"HTTP/1.1 200 OK\r\n\r\n" + CONTENT, CONTENT[1:]]
)
def test_a_bundle_that_no_longer_begins_as_one_is_told_to_be_changed(changed: bytes) -> None:
    findings = check(changed, Trust(keys=[FIRST]))
    assert exit_code(findings) == 1, tell(findings)
    assert "was changed" in findings[0].sentence


def test_the_margins_of_the_policy_are_told_because_nobody_else_vouches_for_them() -> None:
    told = tell(check_bundle(CONTENT, Trust(keys=[FIRST])))
    deciding = json.loads(FILES[layout.POLICY])["deciding"]
    assert deciding
    for name, margin in deciding.items():
        for bound in margin.values():
            assert re.search(rf"{bound:g}<={name}\b|\b{name}<={bound:g}", told)


def test_single_byte_changes_are_found_when_the_bundle_is_packed_again_around_them() -> None:
    """The attacker knows the format: checksums and lengths are right. Small files are hit as often as large ones."""
    chance = random.Random(1)
    names = sorted(FILES)
    for number in range(CHANGES // 2):
        name = names[number % len(names)]
        changed = bytearray(FILES[name])
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        repacked = pack(FILES | {name: bytes(changed)})
        assert wrongs(repacked), name


def test_every_byte_of_the_signed_list_counts() -> None:
    listed = FILES[layout.INDEX]
    for position in range(len(listed)):
        changed = listed[:position] + bytes([listed[position] ^ 1]) + listed[position + 1 :]
        assert wrongs(pack(FILES | {layout.INDEX: changed})), position


def test_every_truncation_is_found_and_explained() -> None:
    chance = random.Random(2)
    for length in [0, 1, 29, 30, len(CONTENT) - 1, *chance.sample(range(len(CONTENT)), 300)]:
        (sentence,) = wrongs(CONTENT[:length])
        assert "breaks off" in sentence or "was changed" in sentence


def test_something_behind_the_end_is_found() -> None:
    assert wrongs(CONTENT + b"\x00")
    assert wrongs(CONTENT + CONTENT)


def test_removing_or_adding_or_swapping_files_is_found() -> None:
    for name in FILES:
        less = {other: content for other, content in FILES.items() if other != name}
        assert wrongs(pack(less)), name
    assert "never a part of it" in wrongs(pack(FILES | {"more.txt": b"hello"}))[0]
    first, second = layout.VERDICT, layout.POLICY
    assert wrongs(pack(FILES | {first: FILES[second], second: FILES[first]}))


def test_a_list_of_files_signed_by_somebody_else_is_found() -> None:
    index = json.loads(base64.b64decode(json.loads(FILES[layout.INDEX])["payload"]))
    forged = b'{"verdict": "perfect"}'
    index["files"]["results.json"] = sha256(forged).hexdigest()
    made = envelope(layout.INDEX_TYPE, rfc8785.dumps(index), [ATTACKER])
    (sentence,) = wrongs(pack(FILES | {"results.json": forged, layout.INDEX: rfc8785.dumps(made)}))
    assert "no statement key" in sentence


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (PrivateKey.from_seed("test.example/audit", bytes(32)).public, "none of the keys"),
        (PrivateKey.from_seed("elsewhere.example/log", bytes(32)).public, "none of the keys"),
        (PublicKey("test.example/audit", 1, bytes(32)), "none of the keys"),
    ],
)
def test_a_wrong_key_is_said_to_be_one(key: PublicKey, sentence: str) -> None:
    assert sentence in wrongs(CONTENT, key)[0]


def test_a_bundle_for_another_request_is_said_to_be_one() -> None:
    (sentence,) = wrongs(CONTENT, request_id="00000000-0000-4000-8000-000000000000")
    assert "for another request" in sentence
    assert "for another request" in wrongs(CONTENT, request=b"{}")[0]


def zipped(*files: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file as other programs write it."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def test_a_bundle_packed_again_by_another_program_is_refused() -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        (sentence,) = wrongs(zipped(*sorted(FILES.items()), method=method))
        assert "packed again" in sentence


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "a/../b", "C:\\windows\\x", "a\\b", "a//b", "", ".hidden", "a\x00b", "ä"],
)
def test_a_path_that_leads_elsewhere_is_refused_before_anything_is_unpacked(name: str) -> None:
    assert "no plain relative path" in wrongs(handmade((name.encode(), b"x")))[0]


def test_two_files_of_one_name_are_refused() -> None:
    plain = [(name.encode(), content) for name, content in sorted(FILES.items())]
    (sentence,) = wrongs(handmade(*plain, (b"manifest.json", b"{}")))
    assert "manifest.json twice" in sentence


def test_bombs_are_refused_by_what_they_say_of_themselves() -> None:
    bomb = zipped(("README.txt", bytes(50_000_000)), method=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    assert "compressed" in wrongs(bomb)[0]
    claims = bytearray(handmade((b"README.txt", b"x")))
    claims[18:26] = struct.pack("<2I", 2**32 - 1, 2**32 - 1)
    assert "breaks off" in wrongs(bytes(claims))[0]
    assert "no bundle has more" in wrongs(b"PK\x03\x04" + bytes(MAX_BYTES))[0]
    many = handmade(*((f"{number}".encode(), b"") for number in range(10_002)))
    assert "more than 10,000 files" in wrongs(many)[0]


def handmade(*files: tuple[bytes, bytes]) -> bytes:
    """Local headers as `pack` writes them, for names that it refuses."""
    parts = []
    for name, content in files:
        numbers = (10, 0, 0, 0, 0x21, crc32(content), len(content), len(content), len(name), 0)
        parts += [struct.pack("<4s5H3I2H", b"PK\x03\x04", *numbers), name, content]
    return b"".join(parts)


MALFORMED = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b'"x"',
    b"1e400",
    b"{" * 100_000,
    b"[" * 100_000,
    b"\xff\xfe",
    b'{"payload": 7}',
]


@pytest.mark.parametrize("name", sorted(FILES))
def test_malformed_files_are_one_sentence_each_and_never_a_traceback(name: str) -> None:
    for content in MALFORMED:
        assert wrongs(pack(FILES | {name: content}))


def test_lists_of_files_with_strange_members_are_one_sentence() -> None:
    index = json.loads(base64.b64decode(json.loads(FILES[layout.INDEX])["payload"]))
    for member in index:
        for value in (None, [], {}, "x", -1, [-1], [2**70], {"x": 1}, ["x"], True, 1.5):
            payload = base64.b64encode(json.dumps(index | {member: value}).encode()).decode()
            document = json.loads(FILES[layout.INDEX]) | {"payload": payload}
            assert wrongs(pack(FILES | {layout.INDEX: json.dumps(document).encode()}))


def test_a_newer_format_is_told_from_a_broken_one() -> None:
    index = json.loads(base64.b64decode(json.loads(FILES[layout.INDEX])["payload"])) | {"format": "expunge-evidence/2"}
    document = json.loads(FILES[layout.INDEX]) | {"payload": base64.b64encode(json.dumps(index).encode()).decode()}
    (sentence,) = wrongs(pack(FILES | {layout.INDEX: json.dumps(document).encode()}))
    assert "a newer verifier may know it" in sentence
