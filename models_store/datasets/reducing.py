"""A data set's file without some of its classes: the same images otherwise, byte for byte, in a plain zip or npz."""

import io
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from models_store.datasets.arrays import iterate_arrays
from models_store.datasets.sources import DatasetLimits, Source, iterate_folder
from models_store.datasets.survey import is_arrays
from models_store.errors import MalformedDataset
from models_store.storage import BlobWriter

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The same date for every member, so that the same images give the same bytes."""


@dataclass(frozen=True)
class Reduced:
    """How many images went and stayed, by split and label."""

    removed: dict[str, dict[str, int]]
    kept: dict[str, int]

    @property
    def num_removed(self) -> int:
        """Images removed in all splits."""
        return sum(sum(by_label.values()) for by_label in self.removed.values())


class _Sink(io.RawIOBase):
    """A blob writer as the file that a zip is written to, forwards only."""

    def __init__(self, writer: BlobWriter) -> None:
        self._writer = writer

    def writable(self) -> bool:
        return True

    def write(self, content: Any, /) -> int:
        taken = bytes(content)
        self._writer.write(taken)
        return len(taken)


def write_without(source: Source, classes: Collection[str], limits: DatasetLimits, writer: BlobWriter) -> Reduced:
    """Write the file anew without the images of some classes; the caller commits the writer.

    Args:
        source: the file.
        classes: labels; for arrays class indices as text. Indices of other classes stay what they are.
        limits: what reading may cost.
        writer: where the new file goes.

    Raises:
        MalformedDataset: the file cannot be read, or a split would be empty.
    """
    removed: dict[str, dict[str, int]] = {}
    kept: dict[str, int] = {}
    with zipfile.ZipFile(io.BufferedWriter(_Sink(writer)), "w") as archive:
        if is_arrays(source, limits):
            _arrays(source, frozenset(map(int, classes)), limits, archive, removed, kept)
        else:
            for split, label, member, content in iterate_folder(source, limits):
                if label in classes:
                    by_label = removed.setdefault(split, {})
                    by_label[label] = by_label.get(label, 0) + 1
                else:
                    kept[split] = kept.get(split, 0) + 1
                    archive.writestr(zipfile.ZipInfo(member, EPOCH), content)
    empty = sorted(split for split in removed if not kept.get(split))
    if empty:
        msg = f"Expected images of other classes in every split, got none in {', '.join(empty)}."
        raise MalformedDataset(msg)
    return Reduced(removed, kept)


def _arrays(
    source: Source,
    classes: frozenset[int],
    limits: DatasetLimits,
    archive: zipfile.ZipFile,
    removed: dict[str, dict[str, int]],
    kept: dict[str, int],
) -> None:
    for split, member, x, y in iterate_arrays(source, limits):
        stays = ~np.isin(y, list(classes))
        kept[split] = int(stays.sum())
        counts = {str(index): int((y == index).sum()) for index in sorted(classes)}
        removed[split] = {label: count for label, count in counts.items() if count}
        for name, array in ((member, x[stays]), (f"y{member[1:]}", y[stays])):
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", EPOCH), buffer.getvalue())
