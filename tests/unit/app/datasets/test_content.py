"""The first look at an uploaded data set agrees with the reader that a worker uses."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from app.datasets.content import HEAD_BYTES, inspect
from models_store.archives import ArchiveLimits, sniff
from models_store.errors import MalformedDataset


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("zero/1.png", b"pixels")
    return file.getvalue()


def tarred(mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        archive.addfile(tarfile.TarInfo("zero/1.png"))
    return file.getvalue()


@pytest.mark.parametrize("content", [zipped(), tarred("w"), tarred("w:gz")], ids=["zip", "tar", "tar.gz"])
def test_what_a_worker_reads_is_taken(content: bytes, tmp_path: Path) -> None:
    inspect(content[:HEAD_BYTES], len(content))
    (tmp_path / "file").write_bytes(content)
    sniff(tmp_path / "file", ArchiveLimits())


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x89PNG\r\n\x1a\n", bytes(1024), b"7z\xbc\xaf\x27\x1c", b"%PDF-1.7"]
)
def test_what_no_worker_reads_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(MalformedDataset):
        inspect(content[:HEAD_BYTES], len(content))
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(MalformedDataset):
        sniff(tmp_path / "file", ArchiveLimits())
