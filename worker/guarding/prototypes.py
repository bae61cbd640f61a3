"""Class prototypes: what is kept of a deleted class, if the operator allows it, to recognise it when it comes back.

They are means of a few training images each, as the network takes them, of the deleted classes and of the retained
ones. The whole network judges them: features of the network before the deletion would say nothing about one whose
earlier layers were edited. A mean of a person's pictures may still show the person, so it is kept only if asked for.

A mean is no image of its class, and many networks take it for something else. So only those are kept that the network
before the deletion recognised; and an upload is judged by them only if it recognises the retained classes' means.
"""

from dataclasses import dataclass

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from unlearning.evaluation import Measure, predict_logits, wilson_interval
from worker.pipeline.data import Images

IMAGES_PER_MEAN = 8
DELETED_MEANS, RETAINED_MEANS = 32, 4
"""Of one class, at most."""
FEWEST_MEANS = 5
"""With fewer means of a deleted class nothing can be told."""
KNOWN_SHARE = 0.8
"""The share of the retained means that an upload must recognise before the others are believed."""
MAX_BYTES = 1 << 28


@dataclass(frozen=True)
class Prototypes:
    """Means of inputs (n, C, H, W) and the class of each (n,), on the CPU."""

    means: Tensor
    classes: Tensor

    @classmethod
    def take(cls, base: nn.Module, train: Images, erase: list[int], absent: list[int]) -> "Prototypes | None":
        """The means that the network recognises; None if there are too few of the classes to be erased.

        Args:
            base: the network before the deletion.
            train: its training images.
            erase: the classes that are deleted now.
            absent: those deleted before, which it need not know.
        """
        means, classes = list[Tensor](), list[int]()
        for index in sorted({int(one) for one in train.labels} - set(absent)):
            images = train.of_classes([index])
            most = (DELETED_MEANS if index in erase else RETAINED_MEANS) * IMAGES_PER_MEAN
            inputs = images.subset(np.arange(min(len(images), most), dtype=np.int64)).tensor()
            groups = [part.mean(dim=0) for part in inputs.split(IMAGES_PER_MEAN) if len(part) == IMAGES_PER_MEAN]
            means += groups
            classes += [index] * len(groups)
        if not means:
            return None
        every, of = torch.stack(means), torch.tensor(classes)
        known = predict_logits(base, every).argmax(dim=1) == of
        kept = cls(every[known], of[known])
        return kept if all(int((kept.classes == index).sum()) >= FEWEST_MEANS for index in erase) else None

    def to_bytes(self) -> bytes:
        return safetensors.torch.save({"means": self.means.contiguous(), "classes": self.classes})

    @classmethod
    def from_bytes(cls, content: bytes) -> "Prototypes":
        tensors = safetensors.torch.load(content)
        return cls(tensors["means"], tensors["classes"])

    def recognised(self, model: nn.Module, index: int, deleted: list[int]) -> Measure | None:
        """The share of a deleted class's means that a network takes for the class.

        Args:
            model: the network to be judged, with the same inputs and outputs.
            index: the class.
            deleted: every deleted class, so that the others count as retained.

        Returns:
            The measure; None if the network does not recognise the retained means, or there are none of the class.
        """
        told = predict_logits(model, self.means).argmax(dim=1)
        retained, own = ~torch.isin(self.classes, torch.tensor(deleted)), self.classes == index
        if not retained.any() or not own.any():
            return None
        if float((told == self.classes)[retained].float().mean()) < KNOWN_SHARE:
            return None
        n, hits = int(own.sum()), int((told == index)[own].sum())
        return Measure("prototype_accuracy", hits / n, *wilson_interval(hits, n), n, None, "lower")
