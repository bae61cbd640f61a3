"""One network over the images, part by part: no image is looked at twice, and none before a measure needs it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from unlearning.errors import EmptySide
from unlearning.evaluation import Trace, trace
from worker.pipeline.data import Images
from worker.pipeline.verification.once import Once

Watch = Callable[[Iterable[Tensor], int], Iterator[Tensor]]
"""Hands on batches, and their number is told beforehand: who waits sees them go by, and may stop the work."""


@dataclass(frozen=True)
class Part:
    """Some images of a split."""

    images: Images
    is_traced: bool
    """Whether the features of these are needed as well."""


Parts = Mapping[str, tuple[Part, ...]]
"""By split; together they hold each of its images that is looked at exactly once."""


def parted(train: Images, test: Images, held: Images, beside: Images, forget: list[int]) -> Parts:
    """The images by what is needed of them, and when.

    What decides needs the test split and the forgotten training images; the retained ones among those inform.

    Args:
        train: training images that are looked at.
        test: test images that are looked at.
        held: training images whose features are needed, some of which may not be among `train`.
        beside: retained test images whose features are needed, as those of all forgotten ones are.
        forget: the classes in question.
    """
    gone = test.of_classes(forget)
    return MappingProxyType({
        "train": (
            Part(held, is_traced=True),
            Part(_without(train.of_classes(forget), held), is_traced=False),
            Part(_without(train, held, train.of_classes(forget)), is_traced=False),
        ),
        "test": (
            Part(gone, is_traced=True),
            Part(beside, is_traced=True),
            Part(_without(test, gone, beside), is_traced=False),
        ),
    })


class Passes:
    """What one network says of each part, computed when first asked for.

    Args:
        model: in evaluation mode.
        parts: see `parted`.
        places: names of the modules whose inputs are kept where a part is traced.
    """

    def __init__(self, model: nn.Module, parts: Parts, places: Iterable[str]) -> None:
        self._model = model
        self._parts = parts
        self._places = frozenset(places)
        self._seen: dict[tuple[str, int], Once[Trace]] = {}

    def outputs(self, split: str, images: Images, watch: Watch) -> Tensor:
        """The outputs (n, K) on some images of a split, in their order.

        Raises:
            EmptySide: there are none.
        """
        found: Tensor | None = None
        for number, part in enumerate(self._parts[split]):
            chosen = np.flatnonzero(np.isin(images.index, part.images.index))
            if len(chosen):
                rows = np.searchsorted(part.images.index, images.index[chosen])
                logits = self._trace(split, number, watch).logits[torch.from_numpy(rows)]
                found = logits.new_empty(len(images), logits.shape[1]) if found is None else found
                found[torch.from_numpy(chosen)] = logits
        if found is None:
            raise EmptySide("evaluated")
        return found

    def trace(self, split: str, images: Images, watch: Watch) -> Trace:
        """Outputs and features of images that all lie in one traced part.

        Raises:
            EmptySide: there are none.
        """
        for number, part in enumerate(self._parts[split]):
            if part.is_traced and len(images) and np.isin(images.index, part.images.index).all():
                rows = torch.from_numpy(np.searchsorted(part.images.index, images.index))
                whole = self._trace(split, number, watch)
                features = {name: found[rows] for name, found in whole.features.items()}
                return Trace(whole.logits[rows], MappingProxyType(features))
        raise EmptySide("traced")

    def _trace(self, split: str, number: int, watch: Watch) -> Trace:
        part = self._parts[split][number]

        def run() -> Trace:
            batches = watch(part.images.batches(), part.images.num_batches)
            return trace(self._model, batches, self._places if part.is_traced else ())

        return self._seen.setdefault((split, number), Once(run)).get()


def _without(images: Images, *others: Images) -> Images:
    gone = np.concatenate([other.index for other in others])
    return images.subset(np.flatnonzero(~np.isin(images.index, gone)))
