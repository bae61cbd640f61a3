"""What is unlearned from: an original with its images, and the models retrained without a class."""

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.baselines.method import Classes, Data
from benchmarks.baselines.registry import DIGITS_RECIPE, Baseline, cifar10, digits
from benchmarks.baselines.retrain import train
from benchmarks.comparison import data as cifar_data
from benchmarks.comparison.data import Materials
from cli.demo import digits as digits_data
from models_store.convnets import SmallConvNet
from models_store.datasets import ImageSet
from models_store.input_spec import InputSpec
from models_store.normalise import normalise
from models_store.weights import load_state, save_state

DIGITS_SPEC = InputSpec(height=8, width=8, channels=1, mean=(digits_data.MEAN,), std=(digits_data.STD,))
DIGITS_ATTACKER = 20
"""Images per class that probe, prototypes and relearning are made with; about 70 are left to the methods."""


@dataclass(frozen=True)
class Subject:
    """One original.

    Attributes:
        materials: What judges need; its references are `references`.
        references: Retrained models by the classes they never saw; filled as they are made.
    """

    materials: Materials
    references: dict[Classes, nn.Module]

    @property
    def usable(self) -> Data:
        """The methods' images: all training images but the attacker's."""
        return Data.of(*self.materials.usable)

    @property
    def everything(self) -> Data:
        """All training images, as the original saw them."""
        return Data.of(*self.materials.images(np.arange(len(self.materials.train))))


@dataclass(frozen=True)
class Problem:
    """A data set with its architecture.

    Attributes:
        name: Begins the names of files.
        class_names: In the order of the outputs.
        baselines: The methods with their settings.
        classes: Those forgotten by default, one after the other.
        seeds: By default.
        subject: Makes the subject of a seed.
        steps: After how many steps of relearning to look; the tables show the first.
        orders: Orders of the attacker's images that relearning is averaged over.
        supplied: Classes whose retrained model is supplied.
        test_per_class: Test images of each class; None for all.
    """

    name: str
    class_names: tuple[str, ...]
    baselines: dict[str, Baseline]
    classes: Classes
    seeds: tuple[int, ...]
    subject: Callable[[int], Subject]
    steps: tuple[int, ...] = (20,)
    orders: int = 1
    supplied: frozenset[Classes] = frozenset()
    test_per_class: int | None = None

    def class_index(self, text: str) -> int:
        """A class by its name or its index.

        Raises:
            ValueError: there is no such class.
        """
        if text in self.class_names:
            return self.class_names.index(text)
        if text.isdecimal() and int(text) < len(self.class_names):
            return int(text)
        raise ValueError(f"Expected one of {', '.join(self.class_names)} or an index, got {text!r}.")


def digits_problem(device: torch.device) -> Problem:
    """scikit-learn's bundled digits: half to learn from, half to judge by; an original is trained for each seed."""
    halves = digits_data.load_digits(0)

    def subject(seed: int) -> Subject:
        references: dict[Classes, nn.Module] = {}
        blank = SmallConvNet(len(digits_data.LABELS)).to(device)
        materials = Materials(
            original=blank,
            references=references,
            train=ImageSet(halves.train.x, halves.train.y),
            test_inputs=normalise(halves.test.x, DIGITS_SPEC),
            test_labels=halves.test.y,
            class_names=digits_data.LABELS,
            spec=DIGITS_SPEC,
            attacker_per_class=DIGITS_ATTACKER,
        )
        # Another seed than the retrained models', which share nothing with the original.
        trained = train(blank, Subject(materials, references).everything, (), DIGITS_RECIPE, 1_000_000 + seed)
        return Subject(replace(materials, original=trained), references)

    # After 20 steps every network of this size knows any digit again, one that never saw it too.
    classes = (0, 2, 3, 4, 7, 8, 9)  # the others are those of `search`
    return Problem("digits", digits_data.LABELS, digits(), classes, (0, 1, 2), subject, steps=(5, 20), orders=3)


def cifar_problem(data: Path, models: Path, device: torch.device, test_per_class: int | None = None) -> Problem:
    """CIFAR-10 and the supplied VGG11-BN; the original is the same for all seeds."""
    held: list[Subject] = []

    def subject(_seed: int) -> Subject:
        if not held:
            loaded = cifar_data.load(data, models, test_per_class)
            references = {classes: model.to(device) for classes, model in loaded.references.items()}
            held.append(
                Subject(replace(loaded, original=loaded.original.to(device), references=references), references)
            )
        return held[0]

    supplied = frozenset(cifar_data.reference_files(models))
    cat = (cifar_data.LABELS.index("cat"),)
    return Problem(
        "cifar10",
        cifar_data.LABELS,
        cifar10(),
        cat,
        (0,),
        subject,
        supplied=supplied,
        test_per_class=test_per_class,
    )


def kept_reference(path: Path, original: nn.Module) -> nn.Module:
    """A retrained model that an earlier run left in `path`."""
    model = copy.deepcopy(original)
    load_state(path, hashlib.sha256(path.read_bytes()).hexdigest(), model)
    return model.eval()


def keep_reference(path: Path, model: nn.Module) -> None:
    """Leave a retrained model for later runs: whole or not at all."""
    part = path.with_suffix(".part")
    part.write_bytes(save_state(model))
    part.replace(path)
