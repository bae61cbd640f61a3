"""Images, networks and requests of the comparison. Test images judge; nothing is ever chosen by them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models_store.convnets import CifarVgg11
from models_store.datasets import ImageSet, Source, load_split
from models_store.input_spec import InputSpec
from models_store.normalise import normalise
from models_store.weights import load_state
from unlearning.evaluation import predict_logits

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SPEC = InputSpec(height=32, width=32, channels=3, mean=(0.491, 0.482, 0.447), std=(0.247, 0.243, 0.262))
Indices = NDArray[np.int64]

ATTACKER_PER_CLASS = 200
JUDGED_PER_CLASS = 500
"""Retained training images per class that are looked at, the attacker's among them; as many forgotten ones enter the
SVC score, so that it is fitted on the classes' own proportions."""
MEMBERS_PER_CLASS = 1000
"""Forgotten training images per class for train accuracy and the membership attack."""
_SPLIT_SEED = 20


@dataclass(frozen=True)
class Request:
    """What a method is given. Its images are training images, without those that the attacker of the judges holds.

    Attributes:
        model: The model to unlearn from; may not be changed.
        inputs: Training images (n, 3, 32, 32) of all classes.
        labels: Their classes (n,).
        forget: Classes to forget now.
        excluded: Classes that earlier requests made `model` forget; their images may not be used.
        seed: Of everything random.
        num_classes: Outputs of the model.
    """

    model: nn.Module
    inputs: Tensor
    labels: Indices
    forget: tuple[int, ...]
    excluded: tuple[int, ...]
    seed: int
    num_classes: int = len(LABELS)


@dataclass(frozen=True)
class Materials:
    """Everything that is loaded once."""

    original: nn.Module
    references: Mapping[tuple[int, ...], nn.Module]
    train: ImageSet
    test_inputs: Tensor
    test_labels: Indices
    class_names: tuple[str, ...] = LABELS
    spec: InputSpec = SPEC
    attacker_per_class: int = ATTACKER_PER_CLASS

    @cached_property
    def order(self) -> list[Indices]:
        """Each class's training images in a fixed random order; shares are taken from its beginning."""
        rng = np.random.default_rng(_SPLIT_SEED)
        pools = (np.flatnonzero(self.train.y == index) for index in range(len(self.class_names)))
        return [rng.permutation(pool).astype(np.int64) for pool in pools]

    @cached_property
    def attacker(self) -> tuple[Tensor, Indices]:
        """The images that probe, prototypes and relearning are made with: of all classes, unseen by the methods."""
        return self.images(np.concatenate([pool[: self.attacker_per_class] for pool in self.order]))

    @cached_property
    def usable(self) -> tuple[Tensor, Indices]:
        """All training images but the attacker's."""
        return self.images(np.sort(np.concatenate([pool[self.attacker_per_class :] for pool in self.order])))

    @cached_property
    def original_test_logits(self) -> Tensor:
        return predict_logits(self.original, self.test_inputs)

    def judged(self, classes: list[int], per_class: int) -> tuple[Tensor, Indices]:
        """The first training images of some classes."""
        return self.images(np.concatenate([self.order[index][:per_class] for index in classes]))

    def images(self, index: Indices) -> tuple[Tensor, Indices]:
        return normalise(self.train.x[index], self.spec), self.train.y[index]


def load(data: Path, models: Path, test_per_class: int | None) -> Materials:
    """Read both splits and all networks that are there."""
    train = load_split([Source(data / "cifar10-train-20k.zip", "train")], "train", LABELS, SPEC)
    test = load_split([Source(data / "cifar10-test.zip", "test")], "test", LABELS, SPEC)
    kept = np.arange(len(test))
    if test_per_class is not None:
        kept = np.sort(np.concatenate([np.flatnonzero(test.y == index)[:test_per_class] for index in range(10)]))
    return Materials(
        original=network(models / "cifar10_vgg11_bn.safetensors"),
        references={key: network(path) for key, path in reference_files(models).items()},
        train=train,
        test_inputs=normalise(test.x[kept], SPEC),
        test_labels=test.y[kept],
    )


def reference_files(models: Path) -> dict[tuple[int, ...], Path]:
    """Retrained references by the class they never saw."""
    named = {(index,): models / f"cifar10_vgg11_bn_without_{label}.safetensors" for index, label in enumerate(LABELS)}
    return {key: path for key, path in named.items() if path.exists()}


def network(path: Path) -> nn.Module:
    model = CifarVgg11(len(LABELS))
    load_state(path, hashlib.sha256(path.read_bytes()).hexdigest(), model)
    return model.eval()


def in_threads(threads: int) -> None:
    torch.set_num_threads(threads)
