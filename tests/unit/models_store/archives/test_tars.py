"""A tar archive is read forwards, holds regular files only, and always ends."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_store.archives import ArchiveLimits, File, Format, iterate_files, iterate_tar, sniff
from models_store.errors import ArchiveOverLimit, MalformedDataset, UnsafeArchive
from tests.unit.models_store.crafting import TAR_END, pax_block, plain_tar, tar_block

TINY = ArchiveLimits(max_members=5, max_bytes=40_000, max_member_bytes=4_000, free_bytes=30_000)


def read(tmp_path: Path, content: bytes, limits: ArchiveLimits = TINY) -> list[File]:
    path = tmp_path / "archive"
    path.write_bytes(content)
    return list(iterate_files(path, limits))


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_files_come_out_as_they_went_in(tmp_path: Path, mode: str, form: int) -> None:
    members = {"train/cat/1.png": b"one", "long/" + "x" * 90 + "/" + "y" * 60: bytes(range(256)) * 3, "empty": b""}
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, format=form) as archive:  # type: ignore[call-overload]
        folder = tarfile.TarInfo("./")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    assert dict(read(tmp_path, file.getvalue(), ArchiveLimits())) == members


def test_names_beyond_ascii_are_read(tmp_path: Path) -> None:
    assert dict(read(tmp_path, plain_tar({"Kätzchen/1": b"x"}))) == {"Kätzchen/1": b"x"}


def test_content_tells_the_format(tmp_path: Path) -> None:
    path = tmp_path / "anything.zip"
    for content, kind in ((plain_tar({"a": b"x"}), Format.TAR), (plain_tar({"a": b"x"}, "w:gz"), Format.TAR_GZ)):
        path.write_bytes(content)
        assert sniff(path, TINY) is kind


A = tar_block(b"a", 1, content=b"x")
REFUSED: dict[str, tuple[bytes, str]] = {
    "a symbolic link": (tar_block(b"a", kind=b"2", link=b"/etc/passwd") + TAR_END, "regular files only"),
    "a hard link": (A + tar_block(b"b", kind=b"1", link=b"a") + TAR_END, "regular files only"),
    "a character device": (tar_block(b"a", kind=b"3") + TAR_END, "regular files only"),
    "a block device": (tar_block(b"a", kind=b"4") + TAR_END, "regular files only"),
    "a pipe": (tar_block(b"a", kind=b"6") + TAR_END, "regular files only"),
    "a sparse file": (tar_block(b"a", kind=b"S") + TAR_END, "regular files only"),
    "a long link name": (tar_block(b"a", 1, b"K", b"x") + TAR_END, "regular files only"),
    "a sparse file in pax": (pax_block({"GNU.sparse.major": "1"}) + A + TAR_END, "sparse"),
    "a climbing name": (tar_block(b"../a") + TAR_END, "climbs"),
    "an absolute name": (tar_block(b"/a") + TAR_END, "absolute"),
    "a climbing name in pax": (pax_block({"path": "x/../../a"}) + A + TAR_END, "climbs"),
    "a climbing GNU name": (tar_block(b"L", 5, b"L", b"../a\0") + A + TAR_END, "climbs"),
    "a name for all members": (pax_block({"path": "b"}, b"g") + A + TAR_END, "for single members"),
    "a name twice": (A + A + TAR_END, "'a' twice"),
    "no name": (tar_block(b"./", 1, content=b"x") + TAR_END, "regular files only"),
    "a folder with bytes": (tar_block(b"a", 1, b"5", b"x") + TAR_END, "regular files only"),
    "a negative size": (tar_block(b"a", b"\xff" * 12) + TAR_END, "non-negative size"),
    "a size that is no number": (tar_block(b"a", b"99999999999\0") + TAR_END, "non-negative size"),
    "a pax size that is no number": (pax_block({"size": "-512"}) + A + TAR_END, "pax size"),
    "a pax record without a length": (tar_block(b"p", 4, b"x", b"x=y\n") + A + TAR_END, "pax records"),
    "a pax record of length zero": (tar_block(b"p", 6, b"x", b"0 x=y\n") + A + TAR_END, "pax records"),
    "a pax record that is too long": (tar_block(b"p", 7, b"x", b"99 x=y\n") + A + TAR_END, "pax records"),
    "a pax key twice": (tar_block(b"p", 24, b"x", b"12 path=abc\n" * 2) + A + TAR_END, "pax records"),
    "a wrong checksum": (A + A[:148] + b"0000000\0" + A[156:] + TAR_END, "tar header with its checksum"),
    "a missing end": (A, "more bytes of the tar archive"),
    "a truncated member": (tar_block(b"a", 3_000, content=b"x"), "more bytes of the tar archive"),
    "members behind the end": (A + TAR_END + tar_block(b"b") + TAR_END, "only padding"),
    "a damaged gzip": (gzip.compress(A + TAR_END)[:-9], "whole gzip stream"),
    "bytes behind the gzip": (gzip.compress(A + TAR_END) + b"PK", "whole gzip stream"),
    "a gzip of something else": (gzip.compress(b"hello" * 200), "tar header"),
    "text": (b"hello", "zip, tar, tar.gz or npz"),
    "nothing": (b"", "zip, tar, tar.gz or npz"),
    "zeros": (bytes(10_240), "zip, tar, tar.gz or npz"),
    "another compression": (b"BZh91AY&SY" + bytes(600), "zip, tar, tar.gz or npz"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_odd_archive_is_refused_in_a_sentence(tmp_path: Path, case: str) -> None:
    content, sentence = REFUSED[case]
    with pytest.raises(MalformedDataset, match=sentence) as refused:
        read(tmp_path, content)
    assert str(refused.value).startswith("Expected")


def test_offsets_that_would_send_another_reader_backwards_end_here(tmp_path: Path) -> None:
    """The loop of the standard library needs a negative size; both places that could hold one refuse it."""
    for loop in (tar_block(b"a", b"\xff" * 11 + b"\0"), pax_block({"size": "-1024"}) + A):
        with pytest.raises(UnsafeArchive):
            read(tmp_path, A + loop + TAR_END)


OVER: dict[str, tuple[bytes, str]] = {
    "members": (plain_tar({str(i): b"" for i in range(6)}), "at most 5 members"),
    "headers without members": (pax_block({"x": "y"}, b"g") * 6 + TAR_END, "at most 5 members"),
    "the bytes of one member": (tar_block(b"a", 4_001) + TAR_END, "at most 4,000 bytes"),
    "the bytes of one member, in base 256": (tar_block(b"a", b"\x80" + b"\xff" * 11) + TAR_END, "at most 4,000 bytes"),
    "the bytes of a name": (tar_block(b"L", 1 << 30, b"L") + TAR_END, "tar extensions"),
    "all bytes": (A + TAR_END + bytes(50_000), "at most 40,000 bytes"),
    "the ratio": (gzip.compress(A + TAR_END + bytes(38_000)), "ratio of at most 100:1"),
}


@pytest.mark.parametrize("case", OVER)
def test_each_limit_stops_the_reader(tmp_path: Path, case: str) -> None:
    content, sentence = OVER[case]
    with pytest.raises(ArchiveOverLimit, match=sentence):
        read(tmp_path, content)


def test_a_gzip_bomb_is_stopped_early(tmp_path: Path) -> None:
    bomb = gzip.compress(tar_block(b"a", 1 << 26, content=bytes(1 << 26)) + TAR_END)
    generous = ArchiveLimits(max_member_bytes=1 << 30, free_bytes=1 << 20)
    with pytest.raises(ArchiveOverLimit, match="ratio"):
        read(tmp_path, bomb, generous)


@settings(deadline=None)
@given(st.data())
def test_a_damaged_archive_ends_with_files_or_a_refusal(data: st.DataObject) -> None:
    damaged = bytearray(plain_tar({"a/1": b"one" * 50, "b/2": b"two"}))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, 2_000))] = data.draw(st.integers(0, 255))
    try:
        files = list(iterate_tar(io.BytesIO(damaged), TINY, len(damaged)))
    except UnsafeArchive:
        return
    assert len(files) <= 2
