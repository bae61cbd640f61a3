"""A data set's file without a class: nothing of it is left, and everything else is as it was."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from models_store.datasets import DatasetLimits, Source
from models_store.datasets.arrays import iterate_arrays
from models_store.datasets.reducing import Reduced, write_without
from models_store.datasets.sources import iterate_folder
from models_store.errors import MalformedDataset
from models_store.storage import LocalStorage

MEMBERS = {f"{split}/{label}/{n}.png": f"{split} {label} {n}".encode() * 9 for split in ("train", "test")
           for label in ("ant", "bee") for n in range(3)}  # fmt: skip


def reduced(store: LocalStorage, source: Source, *classes: str) -> tuple[Reduced, Path]:
    with store.writer(1 << 20) as writer:
        found = write_without(source, classes, DatasetLimits(), writer)
        return found, store.path(writer.commit().sha256)


def folder(path: Path, kind: str) -> Path:
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in MEMBERS.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as archive:
        for name, content in MEMBERS.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_folders_keep_every_other_file_byte_for_byte(tmp_path: Path, kind: str) -> None:
    path = folder(tmp_path / "d", kind)
    store = LocalStorage(tmp_path / "store")
    found, new = reduced(store, Source(path), "ant")
    assert found.removed == {"train": {"ant": 3}, "test": {"ant": 3}}
    assert (found.kept, found.num_removed) == ({"train": 3, "test": 3}, 6)
    left = {one.member: one.content for one in iterate_folder(Source(new), DatasetLimits())}
    assert left == {name: content for name, content in MEMBERS.items() if "/bee/" in name}
    assert b"ant" not in new.read_bytes()
    assert reduced(store, Source(path), "ant")[1] == new  # the same again: an attempt that was killed leaves no second


@pytest.mark.parametrize("split", [None, "train"])
def test_arrays_keep_the_numbers_of_the_other_classes(tmp_path: Path, split: str | None) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 4, 4, 1), dtype=np.uint8), np.arange(40) % 4
    if split:
        np.savez(tmp_path / "d.npz", x=x, y=y)
    else:
        np.savez(tmp_path / "d.npz", x_train=x, y_train=y)
    found, new = reduced(LocalStorage(tmp_path / "store"), Source(tmp_path / "d.npz", split), "2")
    (left,) = iterate_arrays(Source(new, split), DatasetLimits())
    np.testing.assert_array_equal(left.y, y[y != 2])
    np.testing.assert_array_equal(left.x, x[y != 2])
    assert (found.removed, found.kept) == ({"train": {"2": 10}}, {"train": 30})


def test_a_split_that_would_be_empty_is_refused(tmp_path: Path) -> None:
    path = folder(tmp_path / "d", "zip")
    with pytest.raises(MalformedDataset, match="got none in test, train"):
        reduced(LocalStorage(tmp_path / "store"), Source(path), "ant", "bee")


def test_a_class_that_is_not_there_removes_nothing(tmp_path: Path) -> None:
    found, _ = reduced(LocalStorage(tmp_path / "store"), Source(folder(tmp_path / "d", "zip")), "cat")
    assert found.num_removed == 0
