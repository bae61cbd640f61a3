"""Read a whole data set once and say what is in it: the validation that follows an upload."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

from models_store.archives import Format, sniff
from models_store.datasets.arrays import iterate_arrays
from models_store.datasets.images import decode
from models_store.datasets.sources import SPLITS, DatasetLimits, Source, iterate_folder
from models_store.errors import MalformedDataset


@dataclass(frozen=True)
class DatasetSurvey:
    """What a data set holds.

    `labels` are names, sorted; for arrays they are the class indices that occur, as text, in numerical order, and
    `labels_are_indices` is true. `duplicates_across_splits` counts the images of `test` and `validation` whose bytes
    also stand in `train` (and those of `validation` also in `test`): they are no error, but members are then not apart
    from non-members.
    """

    counts: dict[str, dict[str, int]]
    labels: tuple[str, ...]
    labels_are_indices: bool
    channels: tuple[int, ...]
    smallest: tuple[int, int]
    largest: tuple[int, int]
    duplicates_across_splits: int

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits present: train, test, validation in this order."""
        return tuple(self.counts)

    @property
    def num_images(self) -> int:
        """Images in all splits."""
        return sum(sum(by_label.values()) for by_label in self.counts.values())

    def as_json(self) -> dict[str, Any]:
        """The survey as a JSON object; sizes are [height, width]."""
        return {
            "counts": self.counts,
            "num_images": self.num_images,
            "labels": list(self.labels),
            "labels_are_indices": self.labels_are_indices,
            "channels": list(self.channels),
            "image_size": {"smallest": list(self.smallest), "largest": list(self.largest)},
            "duplicates_across_splits": self.duplicates_across_splits,
        }


class _Seen(NamedTuple):
    split: str
    label: str | int
    size: tuple[int, int]
    channels: int
    digest: bytes


def survey(sources: Sequence[Source], limits: DatasetLimits | None = None) -> DatasetSurvey:
    """Read every image of a data set and decode it.

    Args:
        sources: the files; all image folders or all arrays.
        limits: what reading may cost.

    Raises:
        MalformedDataset: a file cannot be read (naming the member), or there is no train or no test split.
    """
    limits = limits or DatasetLimits()
    arrays = {is_arrays(source, limits) for source in sources}
    if len(arrays) != 1:
        raise MalformedDataset("Expected one or more files, all of them archives or all npz, got otherwise.")
    from_arrays = arrays.pop()
    seen = (item for source in sources for item in (_seen_arrays if from_arrays else _seen_folder)(source, limits))
    return _summary(seen, limits, from_arrays)


def is_arrays(source: Source, limits: DatasetLimits) -> bool:
    """Whether the file of a source is an npz.

    Raises:
        MalformedDataset: the split is unknown, or the file is none that is read here.
    """
    if source.split is not None and source.split not in SPLITS:
        raise MalformedDataset(f"Expected a split of {', '.join(SPLITS)}, got {source.split[:40]!r}.")
    return sniff(source.path, limits.archive) is Format.NPZ


def _seen_folder(source: Source, limits: DatasetLimits) -> Iterator[_Seen]:
    for split, label, member, content in iterate_folder(source, limits):
        image = decode(content, member, limits.max_pixels)
        digest = blake2b(content, digest_size=16).digest()
        yield _Seen(split, label, (image.height, image.width), 1 if image.mode in {"1", "L", "LA"} else 3, digest)


def _seen_arrays(source: Source, limits: DatasetLimits) -> Iterator[_Seen]:
    for split, _, x, y in iterate_arrays(source, limits):
        size, channels = (x.shape[1], x.shape[2]), x.shape[3]
        for image, label in zip(x, y, strict=True):
            yield _Seen(split, int(label), size, channels, blake2b(image.tobytes(), digest_size=16).digest())


def _summary(seen: Iterable[_Seen], limits: DatasetLimits, from_arrays: bool) -> DatasetSurvey:
    counts: dict[str, Counter[str | int]] = defaultdict(Counter)
    digests: dict[str, list[bytes]] = defaultdict(list)
    sizes: set[tuple[int, int]] = set()
    channels: set[int] = set()
    for number, item in enumerate(seen, start=1):
        if number > limits.max_images:
            raise MalformedDataset(f"Expected at most {limits.max_images:,} images, got more.")
        counts[item.split][item.label] += 1
        digests[item.split].append(item.digest)
        sizes.add(item.size)
        channels.add(item.channels)
    _check_splits(counts)
    labels: list[str | int] = sorted({label for by_label in counts.values() for label in by_label})
    if len(labels) > limits.max_labels:
        raise MalformedDataset(f"Expected at most {limits.max_labels:,} labels, got {len(labels):,}.")
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    return DatasetSurvey(
        counts={s: {str(label): counts[s][label] for label in labels} for s in SPLITS if s in counts},
        labels=tuple(str(label) for label in labels),
        labels_are_indices=from_arrays,
        channels=tuple(sorted(channels)),
        smallest=by_area[0],
        largest=by_area[-1],
        duplicates_across_splits=_duplicates(digests),
    )


def _check_splits(counts: dict[str, Counter[str | int]]) -> None:
    for split, purpose in (("test", "images the model has never seen"), ("train", "images the model was trained on")):
        if not counts.get(split):
            got = ", ".join(s for s in SPLITS if counts.get(s)) or "no images at all"
            raise MalformedDataset(f"Expected a {split} split ({purpose}), got {got}.", missing_split=split)


def _duplicates(digests: dict[str, list[bytes]]) -> int:
    earlier: set[bytes] = set()
    repeated = 0
    for split in SPLITS:
        repeated += sum(digest in earlier for digest in digests.get(split, []))
        earlier.update(digests.get(split, []))
    return repeated
