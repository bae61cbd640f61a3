"""One network, and what it says about the images: everything is computed when first asked for, once."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unlearning.evaluation import Readable, Trace, predict_logits, readable_information, trace
from unlearning.evaluation.outcomes import Outcome
from worker.pipeline.data import Images
from worker.pipeline.verification.attacks import ATTACKS
from worker.pipeline.verification.once import Once
from worker.pipeline.verification.scene import Scene
from worker.progress import Progress

Span = tuple[float, float]
Hits = NDArray[np.bool_]


@dataclass(frozen=True)
class Answers:
    """One network's outputs on both splits."""

    train: Tensor
    test: Tensor

    def of(self, split: str) -> Tensor:
        return self.train if split == "train" else self.test


class Subject:
    """A network under examination.

    Args:
        scene: what it is looked at with.
        model: in evaluation mode.
        progress: moved by the pass over the splits.
        span: of the step that this pass moves over.
    """

    def __init__(self, scene: Scene, model: nn.Module, progress: Progress, span: Span) -> None:
        self.scene = scene
        self.model = model
        self.answers = Once(lambda: self._answers(progress, span))
        self.siege = scene.original_siege if model is scene.original else Once(lambda: scene.siege_of(model))
        self.beside = Once(self._beside)
        self.readable = Once(self._readable)
        self.attacked = {name: Once(partial(self._attacked, name)) for name in ATTACKS}

    def images(self, split: str) -> Images:
        return self.scene.looked.train if split == "train" else self.scene.looked.test

    def right(self, split: str) -> Hits:
        """Is each image of the split put into its class?"""
        return right(self.images(split), self.answers.get().of(split))

    def side(self, split: str, classes: list[int]) -> tuple[Tensor, NDArray[np.int64]]:
        """Outputs on the images of some classes, and their classes."""
        images = self.images(split)
        chosen = np.flatnonzero(np.isin(images.labels, classes))
        return self.answers.get().of(split)[torch.from_numpy(chosen)], images.labels[chosen]

    def right_beside(self) -> Hits:
        """Is each retained test image that stands beside the attacks put into its class?"""
        test, beside = self.images("test"), self.scene.looked.beside
        return self.right("test")[np.searchsorted(test.index, beside.index)]

    def features(self, whose: str) -> dict[str, Tensor]:
        """Features by their place: of the `held` training images, of the `attacked` or of those `beside`."""
        siege = self.siege.get
        found = {"held": lambda: siege().train, "attacked": lambda: siege().test, "beside": self.beside.get}[whose]()
        return {place: found.features[module] for place, module in self.scene.places.items()}

    def _answers(self, progress: Progress, span: Span) -> Answers:
        train, test = self.images("train"), self.images("test")
        middle = span[0] + (span[1] - span[0]) * train.num_batches / max(1, train.num_batches + test.num_batches)
        through = progress.through
        return Answers(
            predict_logits(self.model, through(train.batches(), train.num_batches, (span[0], middle))),
            predict_logits(self.model, through(test.batches(), test.num_batches, (middle, span[1]))),
        )

    def _beside(self) -> Trace:
        return trace(self.model, self.scene.looked.beside.batches(), set(self.scene.places.values()))

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

    def _attacked(self, name: str) -> tuple[Outcome, ...]:
        return ATTACKS[name](self.siege.get(), self.scene.original_siege.get(), self.scene.deletion.seed)


def right(images: Images, logits: Tensor) -> Hits:
    """Is each image put into its class?"""
    return np.asarray(logits.argmax(dim=1).numpy() == images.labels)
