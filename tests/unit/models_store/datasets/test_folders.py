"""Image-folder archives: layout, labels, splits, and what a survey says of them."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models_store.archives import ArchiveLimits
from models_store.datasets import DatasetLimits, Source, load_split, survey
from models_store.errors import ArchiveOverLimit, MalformedDataset, UnknownDatasetLabel, UnsafeArchive
from models_store.input_spec import InputSpec
from tests.unit.models_store.crafting import TAR_END, picture, plain_tar, plain_zip, tar_block

SPEC = InputSpec(height=4, width=5, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
GOOD = {
    "train/dog/1.png": picture(seed=1),
    "train/cat/2.png": picture(seed=2),
    "train/cat/3.jpg": picture(seed=3, form="JPEG"),
    "test/cat/4.webp": picture(seed=4, form="WEBP"),
    "validation/dog/5.png": picture(seed=5),
}


def source(tmp_path: Path, members: dict[str, bytes], split: str | None = None, kind: str = "zip") -> Source:
    path = tmp_path / f"{split}.{kind}"
    path.write_bytes(plain_zip(members) if kind == "zip" else plain_tar(members, "w:gz" if kind == "tgz" else "w"))
    return Source(path, split)


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz"])
@pytest.mark.parametrize("top", ["", "pets/"])
def test_a_survey_counts_images_by_split_and_label(tmp_path: Path, kind: str, top: str) -> None:
    found = survey([source(tmp_path, {top + name: content for name, content in GOOD.items()}, kind=kind)])
    assert found.counts == {
        "train": {"cat": 2, "dog": 1},
        "test": {"cat": 1, "dog": 0},
        "validation": {"cat": 0, "dog": 1},
    }
    assert (found.labels, found.labels_are_indices) == (("cat", "dog"), False)
    assert (found.splits, found.num_images) == (("train", "test", "validation"), 5)
    assert (found.smallest, found.largest, found.channels) == ((4, 5), (4, 5), (3,))
    assert found.as_json()["image_size"] == {"smallest": [4, 5], "largest": [4, 5]}


def test_one_file_per_split_is_the_same_data_set(tmp_path: Path) -> None:
    parts = {split: {} for split in ("train", "test", "validation")}  # type: dict[str, dict[str, bytes]]
    for name, content in GOOD.items():
        split, _, rest = name.partition("/")
        parts[split][rest] = content
    apart = survey([source(tmp_path, members, split) for split, members in parts.items()])
    assert apart == survey([source(tmp_path, GOOD)])


def test_sizes_and_channels_are_told(tmp_path: Path) -> None:
    members = {"train/a/1": picture(9, 2, "L"), "train/a/2": picture(3, 3), "test/a/3": picture(20, 10, "RGBA")}
    found = survey([source(tmp_path, members)])
    assert (found.smallest, found.largest, found.channels) == ((3, 3), (20, 10), (1, 3))


def test_images_that_stand_in_two_splits_are_counted(tmp_path: Path) -> None:
    same = picture(seed=9)
    members = {"train/a/1": same, "train/a/2": same, "test/a/1": same, "test/a/2": picture(), "validation/b/1": same}
    assert survey([source(tmp_path, members)]).duplicates_across_splits == 2
    assert survey([source(tmp_path, GOOD)]).duplicates_across_splits == 0


def test_files_of_the_operating_system_are_left_out(tmp_path: Path) -> None:
    extra = {".DS_Store": b"x", "train/cat/.hidden": b"x", "__MACOSX/train/cat/._1.png": b"x", "test/Thumbs.db": b"x"}
    assert survey([source(tmp_path, GOOD | extra)]).num_images == 5


def test_one_label_spelt_in_two_unicode_forms_is_one_label(tmp_path: Path) -> None:
    members = {"train/Kätzchen/1": picture(), "test/Ka\u0308tzchen/2": picture(seed=1)}
    assert survey([source(tmp_path, members)]).labels == ("Kätzchen",)
    assert load_split([source(tmp_path, members)], "test", ["Ka\u0308tzchen", "b"], SPEC).y.tolist() == [0]


REFUSED: dict[str, tuple[dict[str, bytes], str]] = {
    "no test split": ({"train/cat/1": picture()}, r"Expected a test split .*, got train"),
    "no train split": ({"test/cat/1": picture()}, r"Expected a train split .*, got test"),
    "no images": ({}, "got no images at all"),
    "another split": (GOOD | {"val/cat/1": picture()}, "got 'val/cat/1'"),
    "a file beside the folders": (GOOD | {"train/1.png": picture()}, "got 'train/1.png'"),
    "a folder too deep": (GOOD | {"train/cat/more/1.png": picture()}, "got 'train/cat/more/1.png'"),
    "a second top folder": (
        {f"a/{k}": v for k, v in GOOD.items()} | {"b/train/cat/1": picture()},
        "got 'b/train/cat/1'",
    ),
    "two folders around it": ({f"a/b/{k}": v for k, v in GOOD.items()}, "got 'a/b/train/dog/1.png'"),
    "a text among the images": (GOOD | {"train/cat/readme.txt": b"hello"}, "'train/cat/readme.txt'"),
    "an archive in the archive": (GOOD | {"train/cat/x.zip": plain_zip(GOOD)}, "'train/cat/x.zip'"),
    "a long label": ({f"train/{'x' * 129}/1": picture()}, "at most 128 characters"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_another_layout_is_refused_naming_the_member(tmp_path: Path, case: str) -> None:
    members, sentence = REFUSED[case]
    with pytest.raises(MalformedDataset, match=sentence):
        survey([source(tmp_path, members)])


def test_an_unknown_split_or_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedDataset, match="Expected a split of train, test, validation, got 'dev'"):
        survey([source(tmp_path, {"cat/1": picture()}, "dev")])
    with pytest.raises(MalformedDataset, match="Expected one or more files"):
        survey([])


def test_a_link_in_the_archive_refuses_the_data_set(tmp_path: Path) -> None:
    path = tmp_path / "links.tar"
    path.write_bytes(tar_block(b"train/cat/1.png", kind=b"2", link=b"/etc/passwd") + TAR_END)
    with pytest.raises(UnsafeArchive):
        survey([Source(path)])


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        (DatasetLimits(max_images=4), "at most 4 images"),
        (DatasetLimits(max_labels=1), "at most 1 labels"),
        (DatasetLimits(max_pixels=19), "at most 19 pixels"),
        (DatasetLimits(archive=ArchiveLimits(max_members=4)), "at most 4 members"),
    ],
)
def test_each_limit_holds(tmp_path: Path, limits: DatasetLimits, sentence: str) -> None:
    with pytest.raises(MalformedDataset, match=sentence):
        survey([source(tmp_path, GOOD)], limits)


def test_a_split_is_loaded_with_the_models_indices(tmp_path: Path) -> None:
    loaded = load_split([source(tmp_path, GOOD)], "train", ["bird", "cat", "dog"], SPEC)
    assert loaded.x.shape == (3, 4, 5, 3)
    assert (str(loaded.x.dtype), str(loaded.y.dtype), len(loaded)) == ("uint8", "int64", 3)
    assert loaded.y.tolist() == [2, 1, 1]
    assert np.array_equal(loaded.x[0], np.asarray(Image.open(io.BytesIO(GOOD["train/dog/1.png"]))))


def test_sources_of_one_split_are_joined(tmp_path: Path) -> None:
    first = source(tmp_path, {"cat/1": picture(seed=1)}, "train")
    second = source(tmp_path, GOOD)
    assert load_split([first, second], "train", ["cat", "dog"], SPEC).y.tolist() == [0, 1, 0, 0]


def test_a_label_the_model_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownDatasetLabel, match=r"got 'dog' in 'train/dog/1\.png'") as refused:
        load_split([source(tmp_path, GOOD)], "train", ["cat", "cow"], SPEC)
    assert refused.value.extensions == {"label": "dog"}


def test_a_split_that_is_not_there_is_refused(tmp_path: Path) -> None:
    members = {name: content for name, content in GOOD.items() if not name.startswith("val")}
    with pytest.raises(MalformedDataset, match="Expected a validation split"):
        load_split([source(tmp_path, members)], "validation", ["cat", "dog"], SPEC)


def test_a_split_too_large_for_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveOverLimit, match="fit in 119 bytes"):
        load_split([source(tmp_path, GOOD)], "train", ["cat", "dog"], SPEC, DatasetLimits(max_array_bytes=119))
