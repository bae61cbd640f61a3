"""Data sets of arrays: the header is judged before memory is reserved, objects are never read."""

import io
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models_store.archives import ArchiveLimits
from models_store.datasets import DatasetLimits, Source, load_split, survey
from models_store.errors import ArchiveOverLimit, MalformedDataset, UnknownDatasetLabel
from models_store.input_spec import InputSpec
from tests.unit.models_store.crafting import picture, plain_zip

RNG = np.random.default_rng(0)
GREY = InputSpec(height=4, width=5, channels=1, mean=(0.5,), std=(0.5,))
X = RNG.integers(0, 256, (6, 4, 5), dtype=np.uint8)
Y = np.array([0, 1, 2, 0, 1, 2])


def npz(tmp_path: Path, split: str | None = None, *, packed: bool = False, **arrays: Any) -> Source:
    path = tmp_path / f"{split}.npz"
    (np.savez_compressed if packed else np.savez)(path, **arrays)
    return Source(path, split)


def raw(tmp_path: Path, **members: bytes) -> Source:
    path = tmp_path / "raw.npz"
    path.write_bytes(plain_zip({f"{name}.npy": content for name, content in members.items()}, zipfile.ZIP_STORED))
    return Source(path, "train")


def array_file(header: str, body: bytes = b"", magic: bytes = b"\x93NUMPY\1\0") -> bytes:
    return magic + len(header).to_bytes(2, "little") + header.encode() + body


Y_FILE = io.BytesIO()
np.save(Y_FILE, np.zeros(1, dtype=np.int64))


@pytest.mark.parametrize("packed", [False, True])
def test_both_splits_in_one_file_are_surveyed(tmp_path: Path, packed: bool) -> None:
    found = survey([npz(tmp_path, packed=packed, x_train=X, y_train=Y, x_test=X[:2] ^ 255, y_test=[0, 5])])
    assert found.counts == {
        "train": {"0": 2, "1": 2, "2": 2, "5": 0},
        "test": {"0": 1, "1": 0, "2": 0, "5": 1},
    }
    assert (found.labels, found.labels_are_indices, found.channels) == (("0", "1", "2", "5"), True, (1,))
    assert (found.smallest, found.duplicates_across_splits) == ((4, 5), 0)


def test_labels_are_in_numerical_order(tmp_path: Path) -> None:
    found = survey([npz(tmp_path, x_train=X, y_train=[9, 10, 2, 9, 10, 2], x_test=X, y_test=Y)])
    assert found.labels == ("0", "1", "2", "9", "10")
    assert found.duplicates_across_splits == 6


def test_one_file_per_split_is_loaded_unchanged(tmp_path: Path) -> None:
    sources = [npz(tmp_path, "train", x=X, y=Y), npz(tmp_path, "test", x=X[:1], y=Y[:1].astype(np.uint8))]
    loaded = load_split(sources, "train", ["a", "b", "c"], GREY)
    assert np.array_equal(loaded.x[..., 0], X)
    assert np.array_equal(loaded.y, Y)
    assert len(load_split(sources, "test", ["a", "b", "c"], GREY)) == 1


def test_columns_first_is_the_same_array(tmp_path: Path) -> None:
    loaded = load_split([npz(tmp_path, "train", x=np.asfortranarray(X), y=Y)], "train", ["a", "b", "c"], GREY)
    assert np.array_equal(loaded.x[..., 0], X)


def test_channels_and_sizes_become_those_of_the_spec(tmp_path: Path) -> None:
    colour = GREY.model_copy(update={"channels": 3, "height": 8, "resize": "stretch"})
    loaded = load_split([npz(tmp_path, "train", x=X, y=Y)], "train", ["a", "b", "c"], colour)
    assert loaded.x.shape == (6, 8, 5, 3)
    assert np.array_equal(loaded.x[..., 0], loaded.x[..., 2])
    with pytest.raises(MalformedDataset, match=r"'x\[0\]'"):
        load_split([npz(tmp_path, "train", x=X, y=Y)], "train", ["a", "b", "c"], GREY.model_copy(update={"height": 9}))


def test_an_index_beyond_the_models_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownDatasetLabel, match="Expected class indices of 0 to 1 in split train, got 2"):
        load_split([npz(tmp_path, "train", x=X, y=Y)], "train", ["a", "b"], GREY)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"x": X, "y": Y[:5]}, "one label per image"),
        ({"x": X.astype(np.float32), "y": Y}, r"type <u1, \|u1, got '<f4'"),
        ({"x": X, "y": Y.astype(float)}, "got '<f8'"),
        ({"x": X, "y": np.array(["a"] * 6)}, "got '<U1'"),
        ({"x": X, "y": Y.astype(">i8")}, "got '>i8'"),
        ({"x": X, "y": Y - 1}, "class indices of 0 to 99,999 in y, got -1 to 1"),
        ({"x": X, "y": Y + 100_000}, "class indices"),
        ({"x": X, "y": Y[:, None]}, r"Expected y of shape \(N,\)"),
        ({"x": X[0], "y": Y[:4]}, r"Expected x of shape \(N, H, W\)"),
        ({"x": np.zeros((6, 4, 5, 2), np.uint8), "y": Y}, "1 or 3"),
        ({"x": X[:0], "y": Y[:0]}, "Expected x of shape"),
        ({"x": X}, "Expected the arrays x and y"),
        ({"x": X, "y": Y, "z": Y}, "Expected the arrays x and y"),
        ({"x_train": X, "y_train": Y}, "Expected the arrays x and y"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, arrays: dict[str, Any], sentence: str) -> None:
    with pytest.raises(MalformedDataset, match=sentence):
        load_split([npz(tmp_path, "train", **arrays)], "train", ["a", "b", "c"], GREY)


def test_without_a_test_split_a_file_of_arrays_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedDataset, match="Expected a test split"):
        survey([npz(tmp_path, x_train=X, y_train=Y)])


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    class Boom:
        def __reduce__(self) -> tuple[Any, ...]:
            return pytest.fail, ("unpickled",)

    with pytest.raises(MalformedDataset, match=r"got '\|O'"):
        survey([npz(tmp_path, "train", x=np.array([Boom()], dtype=object), y=Y[:1])])


HEADER = "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2, 2)}"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "a NumPy array"),
        (b"\x80\x04cos\nsystem\n" * 3, "a NumPy array"),
        (array_file(HEADER, b"1234", b"\x93NUMPY\x09\0"), "a NumPy array"),
        (array_file(HEADER, b"123"), "Expected 4 bytes"),
        (array_file(HEADER, b"12345"), "Expected 4 bytes"),
        (array_file(HEADER.replace("1, 2, 2", "1 << 40,")), "readable array header"),
        (array_file(HEADER.replace("1, 2, 2", "1099511627776, 1099511627776"), b""), "bytes for"),
        (array_file(HEADER.replace("1, 2, 2", "-1, -1"), b"1"), "shape of up to 4 sides"),
        (array_file(HEADER.replace("1, 2, 2", "True,"), b"1"), "shape of up to 4 sides"),
        (array_file(HEADER.replace("(1, 2, 2)", "4"), b"1234"), "shape of up to 4 sides"),
        (array_file(HEADER.replace("False", "0"), b"1234"), "Expected 4 bytes"),
        (array_file(HEADER.replace("'|u1'", "[('a', '|u1')]"), b"1234"), "of type"),
        (array_file("__import__('os').system('true')"), "readable array header"),
        (array_file("(" * 3_000), "readable array header"),
        (array_file("{}"), "descr, fortran_order and shape"),
        (array_file(HEADER + " " * 5_000, b"1234"), "header of at most 4,096 bytes"),
        (array_file(HEADER)[:30], "header"),
    ],
)
def test_a_crafted_array_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    with pytest.raises(MalformedDataset, match=sentence):
        survey([raw(tmp_path, x=content, y=Y_FILE.getvalue())])


def test_a_bomb_of_zeros_is_stopped_before_its_size_is_reserved(tmp_path: Path) -> None:
    bomb = npz(tmp_path, "train", packed=True, x=np.zeros((1, 8_000, 8_000), np.uint8), y=[0])
    tracemalloc.start()
    with pytest.raises(ArchiveOverLimit, match="ratio"):
        survey([bomb], DatasetLimits(archive=ArchiveLimits(free_bytes=1000)))
    with pytest.raises(ArchiveOverLimit, match="arrays of at most 1,000 bytes"):
        survey([bomb], DatasetLimits(max_array_bytes=1000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20


def test_folders_and_arrays_do_not_mix(tmp_path: Path) -> None:
    folder = tmp_path / "test.zip"
    folder.write_bytes(plain_zip({"0/1.png": picture()}))
    with pytest.raises(MalformedDataset, match="all of them archives or all npz"):
        survey([npz(tmp_path, "train", x=X, y=Y), Source(folder, "test")])
