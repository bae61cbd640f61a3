"""One split of a data set as arrays, in the form a model takes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models_store.datasets.arrays import LabelledArrays, iterate_arrays
from models_store.datasets.images import Pixels, decode, fit
from models_store.datasets.sources import DatasetLimits, Source, checked_label, iterate_folder
from models_store.datasets.survey import is_arrays
from models_store.errors import ArchiveOverLimit, MalformedDataset, UnknownDatasetLabel
from models_store.input_spec import InputSpec


@dataclass(frozen=True)
class ImageSet:
    """Images uint8 (N, H, W, C) and class indices int64 (N,), in the order of the files."""

    x: NDArray[np.uint8]
    y: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)


def load_split(
    sources: Sequence[Source],
    split: str,
    labels: Sequence[str],
    input_spec: InputSpec,
    limits: DatasetLimits | None = None,
) -> ImageSet:
    """Read one split, with channels and size as the input spec says.

    Args:
        sources: the files of the data set.
        split: train, test or validation.
        labels: the model's labels in the order of its outputs; an array's class indices count into them.
        input_spec: what the model takes.
        limits: what reading may cost.

    Raises:
        MalformedDataset: a file cannot be read, or there is no such split.
        UnknownDatasetLabel: an image has a label that the model does not.
        ArchiveOverLimit: the arrays would be too large.
    """
    limits = limits or DatasetLimits()
    image_bytes = input_spec.height * input_spec.width * input_spec.channels
    pixels, indices = bytearray(), []
    for image, index in _fitted(sources, split, labels, input_spec, limits):
        if len(pixels) + image_bytes > limits.max_array_bytes:
            raise ArchiveOverLimit(f"Expected split {split} to fit in {limits.max_array_bytes:,} bytes, got more.")
        pixels += image.tobytes()
        indices.append(index)
    if not indices:
        raise MalformedDataset(f"Expected a {split} split, got no images of it.", missing_split=split)
    shape = (len(indices), input_spec.height, input_spec.width, input_spec.channels)
    return ImageSet(np.frombuffer(pixels, dtype=np.uint8).reshape(shape), np.array(indices, dtype=np.int64))


def _fitted(
    sources: Sequence[Source], split: str, labels: Sequence[str], spec: InputSpec, limits: DatasetLimits
) -> Iterator[tuple[Pixels, int]]:
    index_of = {checked_label(label, "the model's labels"): index for index, label in enumerate(labels)}
    for source in sources:
        if source.split is not None and source.split != split:
            continue
        if is_arrays(source, limits):
            for arrays in iterate_arrays(source, limits, only=split):
                yield from _fitted_arrays(arrays, len(labels), spec)
            continue
        for found, label, member, content in iterate_folder(source, limits):
            if found != split:
                continue
            if label not in index_of:
                raise UnknownDatasetLabel(
                    f"Expected one of the model's {len(labels)} labels, got {label!r} in {member!r}.", label=label
                )
            yield fit(decode(content, member, limits.max_pixels), spec, member), index_of[label]


def _fitted_arrays(arrays: LabelledArrays, num_labels: int, spec: InputSpec) -> Iterator[tuple[Pixels, int]]:
    split, member, x, y = arrays
    if int(y.max()) >= num_labels:
        raise UnknownDatasetLabel(
            f"Expected class indices of 0 to {num_labels - 1} in split {split}, got {y.max()}.", label=str(y.max())
        )
    as_is = x.shape[1:] == (spec.height, spec.width, spec.channels)
    for number, (image, label) in enumerate(zip(x, y, strict=True)):
        if as_is:
            yield image, int(label)
            continue
        picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        yield fit(picture, spec, f"{member}[{number}]"), int(label)
