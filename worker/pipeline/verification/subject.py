"""One network, and what it says about the images: everything is computed when first asked for, once."""

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unlearning.evaluation import Readable, readable_information
from worker.pipeline.data import Images
from worker.pipeline.verification.attacks import ATTACKS, Found
from worker.pipeline.verification.once import Once
from worker.pipeline.verification.scene import Scene
from worker.progress import Progress

Span = tuple[float, float]
Hits = NDArray[np.bool_]


class Subject:
    """A network under examination.

    Args:
        scene: what it is looked at with.
        model: in evaluation mode.
        progress: moved by the pass over the test split, and asked before each batch whether the job must stop.
        span: of the step that this pass moves over.
    """

    def __init__(self, scene: Scene, model: nn.Module, progress: Progress, span: Span) -> None:
        self.scene = scene
        self.model = model
        self._progress = progress
        self._span = span
        self._reached = span[0]
        self._passes = scene.passes_of(model)
        self.original_siege = Once(lambda: scene.siege_of(scene.original, scene.original_passes, self._watched))
        self.siege = Once(lambda: scene.siege_of(model, self._passes, self._watched))
        self.readable = Once(self._readable)
        self.attacked = {name: Once(partial(self._attacked, name)) for name in ATTACKS}

    def images(self, split: str) -> Images:
        return self.scene.looked.train if split == "train" else self.scene.looked.test

    def outputs(self, split: str) -> Tensor:
        """What it says of all images of a split that are looked at."""
        return self.outputs_on(split, self.images(split))

    def outputs_on(self, split: str, images: Images) -> Tensor:
        """What it says of some images of a split."""
        return self._passes.outputs(split, images, self._watched)

    def right(self, split: str) -> Hits:
        """Is each image of the split put into its class?"""
        return right(self.images(split), self.outputs(split))

    def side(self, split: str, classes: list[int]) -> tuple[Tensor, NDArray[np.int64]]:
        """Outputs on the images of some classes, and their classes."""
        images = self.images(split).of_classes(classes)
        return self.outputs_on(split, images), images.labels

    def right_on(self, split: str, images: Images) -> Hits:
        """Is each of some images of a split put into its class?"""
        return right(images, self.outputs_on(split, images))

    def features(self, whose: str) -> dict[str, Tensor]:
        """Features by their place: of the `held` training images, of the `attacked`, `beside` or `gone` test images."""
        found = self._passes.trace("train" if whose == "held" else "test", self.images_of(whose), self._watched)
        return {place: found.features[module] for place, module in self.scene.places.items()}

    def images_of(self, whose: str) -> Images:
        """The images that `features` are of."""
        looked = self.scene.looked
        if whose == "gone":
            return looked.test.of_classes(self.scene.deletion.forget)
        return {"held": looked.held, "attacked": looked.attacked, "beside": looked.beside}[whose]

    def _watched(self, batches: Iterable[Tensor], total: int) -> Iterator[Tensor]:
        # A part moves as much of the span as it has batches, wherever it begins; what is reached is never taken back.
        share = total / max(1, self.images("test").num_batches)
        end = min(self._span[1], self._reached + share * (self._span[1] - self._span[0]))
        yield from self._progress.through(batches, total, (self._reached, end))
        self._reached = end

    def _readable(self) -> dict[str, Readable]:
        """What a probe for "forgotten or retained" reads, by place."""
        looked, classes = self.scene.looked, self.scene.deletion.forget
        labels = np.concatenate([looked.attacked.labels, looked.beside.labels])
        held, attacked, beside = (self.features(whose) for whose in ("held", "attacked", "beside"))
        return {
            place: readable_information(
                (features, looked.held.labels), (torch.cat([attacked[place], beside[place]]), labels), classes
            )
            for place, features in held.items()
        }

    def _attacked(self, name: str) -> tuple[Found, ...]:
        return ATTACKS[name](self.siege.get(), self.original_siege.get(), self.scene.deletion.seed)


def right(images: Images, logits: Tensor) -> Hits:
    """Is each image put into its class?"""
    return np.asarray(logits.argmax(dim=1).numpy() == images.labels)
