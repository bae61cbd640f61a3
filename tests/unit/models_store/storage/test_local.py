"""The store keeps exactly the bytes it was given, whole, under their digest, and nothing else."""

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from core.errors import DigestMismatch, TooLarge
from models_store.errors import MalformedDigest, UnknownBlob
from models_store.storage import LocalStorage, StoredBlob, check_sha256, hash_file

CONTENT = b"weights " * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "store" / "inner")


def put(storage: LocalStorage, content: bytes = CONTENT) -> StoredBlob:
    return storage.put([content[:10], content[10:]], max_bytes=1 << 20)


def leftovers(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "store").rglob("tmp/*") if path.is_file()]


def make_old(path: Path) -> None:
    os.utime(path, (time.time() - 7200,) * 2)


def test_bytes_come_back_under_their_digest(storage: LocalStorage) -> None:
    blob = put(storage)
    assert blob == StoredBlob(DIGEST, len(CONTENT))
    with storage.open(DIGEST) as file:
        assert file.read() == CONTENT
    assert (storage.size(DIGEST), storage.exists(DIGEST), storage.verify(DIGEST)) == (len(CONTENT), True, blob)
    assert hash_file(storage.path(DIGEST)) == (DIGEST, len(CONTENT))


def test_the_same_bytes_are_kept_once_and_not_written_again(storage: LocalStorage, tmp_path: Path) -> None:
    put(storage)
    before = storage.path(DIGEST).stat().st_ino
    assert put(storage) == StoredBlob(DIGEST, len(CONTENT))
    assert storage.path(DIGEST).stat().st_ino == before
    assert not leftovers(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_reported_and_leaves_no_partial_file(storage: LocalStorage, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"), storage.writer(max_bytes=1 << 20) as writer:  # noqa: PT012 the whole way
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, writer._file.fileno())
        os.close(full)
        writer.write(CONTENT[:100])  # stays in the buffer, so closing meets the full disk once more
        writer.commit()
    assert not leftovers(tmp_path)
    assert not storage.exists(DIGEST)


def test_a_damaged_blob_is_replaced_by_sound_bytes(storage: LocalStorage) -> None:
    put(storage)
    storage.path(DIGEST).write_bytes(b"\0" * len(CONTENT))
    put(storage)
    storage.verify(DIGEST)


def test_over_the_limit_nothing_more_is_read_and_nothing_remains(storage: LocalStorage, tmp_path: Path) -> None:
    taken = []

    def endless() -> Iterator[bytes]:
        while True:
            taken.append(1)
            yield b"x" * 10

    with pytest.raises(TooLarge, match="Expected at most 25 bytes"):
        storage.put(endless(), max_bytes=25)
    assert len(taken) == 3
    assert not leftovers(tmp_path)


def test_exactly_the_limit_is_taken(storage: LocalStorage) -> None:
    assert storage.put([b"12345"], max_bytes=5).size_bytes == 5


def test_a_sender_that_breaks_off_leaves_nothing(storage: LocalStorage, tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        storage.put(broken(), max_bytes=100)
    assert not leftovers(tmp_path)


def test_a_writer_that_is_not_committed_leaves_nothing(storage: LocalStorage, tmp_path: Path) -> None:
    with storage.writer(100) as writer:
        writer.write(b"abc")
        assert writer.sha256 == hashlib.sha256(b"abc").hexdigest()
        assert writer.size_bytes == 3
    assert not leftovers(tmp_path)
    assert not storage.exists(writer.sha256)


def test_the_file_is_flushed_before_it_is_named_and_its_folder_after(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(storage, b"other")  # so that the folder of blobs exists
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        done.append("fsync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "fsync file")
        fsync(descriptor)

    def noted_replace(path: Path, target: Path) -> Path:
        done.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    put(storage)
    # Between the two: the new folder of the first two digits, durable in its parent.
    assert done == ["fsync file", "fsync folder", "rename", "fsync folder"]


@pytest.mark.parametrize("position", [0, 1, len(CONTENT) // 2, len(CONTENT) - 1])
def test_one_flipped_byte_is_found(storage: LocalStorage, position: int) -> None:
    put(storage)
    damaged = bytearray(CONTENT)
    damaged[position] ^= 1
    storage.path(DIGEST).write_bytes(damaged)
    with pytest.raises(DigestMismatch, match=f"Expected stored bytes with SHA-256 {DIGEST}, got"):
        storage.verify(DIGEST)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "../../etc/passwd",
        "a" * 63,
        "a" * 65,
        "A" * 64,
        "g" * 64,
        "a" * 64 + "\n",
        "٣" * 64,
        "/" * 64,
        "a" * 62 + "/.",
    ],
)
def test_nothing_but_a_digest_reaches_a_file_name(storage: LocalStorage, text: str) -> None:
    for ask in (storage.path, storage.open, storage.size, storage.exists, storage.verify, check_sha256):
        with pytest.raises(MalformedDigest, match="64 lower-case hexadecimal"):
            ask(text)


def test_unknown_bytes_are_not_found(storage: LocalStorage) -> None:
    assert not storage.exists(DIGEST)
    for ask in (storage.path, storage.open, storage.size, storage.verify):
        with pytest.raises(UnknownBlob):
            ask(DIGEST)


def test_a_clean_up_takes_only_what_is_old_and_unwanted(storage: LocalStorage, tmp_path: Path) -> None:
    old, wanted, young = (put(storage, name) for name in (b"old", b"wanted", b"young"))
    partial = tmp_path / "store" / "inner" / "tmp" / "left-by-a-crash"
    partial.write_bytes(b"half")
    for path in (storage.path(old.sha256), storage.path(wanted.sha256), partial):
        make_old(path)
    removed = storage.remove_orphans(lambda sha256: sha256 == wanted.sha256, timedelta(hours=1))
    assert (removed.blobs, removed.num_partial_files) == ((old.sha256,), 1)
    assert storage.exists(wanted.sha256)
    assert storage.exists(young.sha256)
    assert not partial.exists()


def test_a_clean_up_spares_an_old_blob_that_was_just_put_again(storage: LocalStorage) -> None:
    put(storage)
    make_old(storage.path(DIGEST))
    put(storage)
    assert storage.remove_orphans(lambda _: False, timedelta(hours=1)).blobs == ()


def test_a_clean_up_leaves_files_that_are_not_ours(storage: LocalStorage) -> None:
    put(storage)
    foreign = storage.path(DIGEST).with_name("README")
    foreign.write_bytes(b"")
    make_old(foreign)
    storage.remove_orphans(lambda _: False, timedelta(hours=1))
    assert foreign.exists()
