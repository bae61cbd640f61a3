"""A zip archive is read only if there is one way to read it, and costs no more than is allowed."""

import io
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models_store.archives import ArchiveLimits, File, ZipReader, iterate_files
from models_store.errors import ArchiveOverLimit, MalformedDataset, UnsafeArchive
from tests.unit.models_store.crafting import RawMember, plain_zip, raw_zip

TINY = ArchiveLimits(max_members=5, max_bytes=10_000, max_member_bytes=4_000, free_bytes=2_000)


def read(tmp_path: Path, content: bytes, limits: ArchiveLimits = TINY) -> list[File]:
    path = tmp_path / "archive"
    path.write_bytes(content)
    return list(iterate_files(path, limits))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_files_come_out_as_they_went_in(tmp_path: Path, method: int) -> None:
    members = {"train/cat/1.png": b"one", "train/dog/2.png": bytes(range(256)) * 9, "empty": b""}
    assert dict(read(tmp_path, plain_zip(members, method))) == members


def test_folders_are_passed_over(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.mkdir("train")
        archive.writestr("train/x", b"1")
    assert read(tmp_path, file.getvalue()) == [File("train/x", b"1")]


def test_streamed_archives_with_sizes_behind_the_data_are_read(tmp_path: Path) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    file = Pipe()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"first " * 9)
        archive.writestr("b", b"second")
    assert read(tmp_path, file.getvalue()) == [File("a", b"first " * 9), File("b", b"second")]


def test_large_archives_in_the_64_bit_form_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 0)
    members = {"a": b"one", "b": b"two"}
    content = plain_zip(members, zipfile.ZIP_STORED)
    assert b"PK\x06\x06" in content
    assert dict(read(tmp_path, content)) == members


def lying(**field: object) -> Iterable[RawMember]:
    return [RawMember(**{"name": b"a", **field})]  # type: ignore[arg-type]


HONEST = RawMember(b"a")
GOOD = raw_zip([HONEST])
REFUSED: dict[str, tuple[bytes, str]] = {
    "a climbing name": (raw_zip(lying(name=b"../../a")), "climbs"),
    "an absolute name": (raw_zip(lying(name=b"/a")), "absolute"),
    "a backslash": (raw_zip(lying(name=b"..\\a")), "backslash"),
    "a drive": (raw_zip(lying(name=b"C:a")), "drive letter"),
    "a symbolic link": (raw_zip(lying(mode=0o120777, content=b"/etc/passwd")), "link or device"),
    "a device": (raw_zip(lying(mode=0o020666)), "link or device"),
    "encryption": (raw_zip(lying(flags=1)), "encrypted"),
    "strong encryption": (raw_zip(lying(flags=0x41)), "encrypted"),
    "a masked directory": (raw_zip(lying(flags=0x2000)), "encrypted or patched"),
    "another method": (raw_zip(lying(method=12)), "stored or deflated, got 12"),
    "a name twice": (raw_zip([HONEST, HONEST]), "'a' twice"),
    "a name twice in two spellings": (raw_zip([HONEST, RawMember(b"./a")]), "'a' twice"),
    "two names for one member": (raw_zip(lying(local_name=b"b")), "one description"),
    "members that share bytes": (
        raw_zip([RawMember(b"a", b"x" * 99), RawMember(b"b", offset=0, local_name=b"b")]),
        "verlap",
    ),
    "a member inside another": (
        raw_zip([RawMember(b"a", GOOD), RawMember(b"b", offset=31)]),
        "verlap|local header|one desc",
    ),
    "a quoted overlap": (
        raw_zip([RawMember(b"a", packed=b"x" * 9, size=9), RawMember(b"b", offset=5)]),
        "verlap|local",
    ),
    "an offset past the end": (raw_zip(lying(offset=10_000)), "local header"),
    "bytes before the first member": (raw_zip([HONEST], prefix=b"#!/bin/sh\n"), "first member at byte 0|zip, tar"),
    "bytes behind the end": (GOOD + b"x", "other bytes behind"),
    "a second archive behind": (GOOD + GOOD, "end at byte"),
    "a wrong checksum": (raw_zip(lying(crc=1)), "checksum 00000001"),
    "a size too small": (raw_zip(lying(method=8, size=2)), "Expected 2 bytes"),
    "a size too large": (raw_zip(lying(method=8, size=3_000)), "Expected 3,000 bytes"),
    "a size that hides a bomb": (raw_zip(lying(content=bytes(1 << 20), method=8, size=900)), "Expected 900 bytes"),
    "two end records that differ": (
        GOOD[:-22]
        + struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, 47, 35)
        + struct.pack("<4sLQL", b"PK\x06\x07", 0, 82, 1)
        + GOOD[-22:-4]
        + b"\x01"
        + GOOD[-3:],
        "two readings",
    ),
    "two sizes for stored bytes": (raw_zip(lying(size=9)), "one size"),
    "broken deflate": (raw_zip(lying(method=8, packed=b"\xff\xff\xff")), "got damage"),
    "deflate that does not end": (raw_zip(lying(method=8, packed=b"\x4b")), "one deflate stream"),
    "bytes behind the deflate stream": (raw_zip(lying(method=8, packed=b"\x4b\x49\x2c\x49\x04\0xx")), "deflate stream"),
    "a folder with bytes": (raw_zip(lying(name=b"a/")), "empty folder"),
    "fewer entries than said": (raw_zip([HONEST], entries=2), "2 zip entries, got 1"),
    "more entries than said": (raw_zip([HONEST, RawMember(b"b")], entries=1), "1 zip entries, got 2"),
    "no end": (GOOD[:-22], "end record"),
    "several parts": (GOOD[:-18] + b"\1\0" + GOOD[-16:], "one part"),
    "64-bit sizes without a field": (raw_zip(lying(size=0xFFFFFFFF)), "64-bit sizes"),
    "64-bit sizes that lie": (
        raw_zip(lying(size=0xFFFFFFFF, extra=struct.pack("<2HQ", 1, 8, 1 << 60))),
        "one size",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_odd_archive_is_refused_in_a_sentence(tmp_path: Path, case: str) -> None:
    content, sentence = REFUSED[case]
    with pytest.raises(MalformedDataset, match=sentence) as refused:
        read(tmp_path, content)
    assert str(refused.value).startswith("Expected")


OVER: dict[str, tuple[bytes, str]] = {
    "members": (plain_zip({str(i): b"" for i in range(6)}), "at most 5 members"),
    "the bytes of one member": (plain_zip({"a": bytes(4_001)}, zipfile.ZIP_STORED), "at most 4,000 bytes"),
    "all bytes": (plain_zip({str(i): bytes(3_000) for i in range(4)}, zipfile.ZIP_STORED), "at most 10,000 bytes"),
    "the ratio": (raw_zip(lying(content=bytes(4_000), method=8)), "ratio of at most 10:1"),
}


@pytest.mark.parametrize("case", OVER)
def test_each_limit_stops_the_reader(tmp_path: Path, case: str) -> None:
    content, sentence = OVER[case]
    limits = ArchiveLimits(max_ratio=10, free_bytes=10) if case == "the ratio" else TINY
    with pytest.raises(ArchiveOverLimit, match=sentence):
        read(tmp_path, content, limits)


def test_the_limit_of_members_is_exact(tmp_path: Path) -> None:
    assert len(read(tmp_path, plain_zip({str(i): b"" for i in range(5)}))) == 5


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_a_damaged_archive_gives_the_same_files_or_a_refusal(data: st.DataObject) -> None:
    members = {"a/1": b"one" * 50, "b/2": bytes(range(200))}
    damaged = bytearray(plain_zip(members))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        reader = ZipReader(io.BytesIO(damaged), TINY)
        files = [(member.name, reader.read(member)) for member in reader.members]
    except UnsafeArchive:
        return
    # Names are not under a checksum; contents are.
    assert [content for _, content in files] == list(members.values())
