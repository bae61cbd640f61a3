"""What was deleted, and which images are looked at: the same for all networks of a verification."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from torch import Tensor, nn

from unlearning.errors import EmptySide
from unlearning.evaluation import early_stage, last_layer
from unlearning.evaluation.probes import Labels
from unlearning.evaluation.siege import Attacker, Siege
from worker.pipeline.data import BATCH_SIZE, Images, attacked, attackers, beside, thinned
from worker.pipeline.verification.passes import Parts, Passes, Watch, parted

Found = TypeVar("Found")


@dataclass(frozen=True)
class Deletion:
    """The classes in question."""

    forget: list[int]
    """Every class that must be gone: those deleted now, and those deleted before."""
    erase: list[int]
    """Those deleted now: the classes of the request, and those deleted before that the base holds nevertheless."""
    num_classes: int
    seed: int
    asked: tuple[int, ...] | None = None
    """The classes of the request; None where they are all that is deleted now."""

    @property
    def named(self) -> list[int]:
        """The classes of the request."""
        return self.erase if self.asked is None else sorted(self.asked)

    @property
    def erased_before(self) -> list[int]:
        return sorted(set(self.forget) - set(self.erase))

    @property
    def kept(self) -> list[int]:
        return sorted(set(range(self.num_classes)) - set(self.forget))

    def worst(self, measure: Callable[[list[int]], Found], badness: Callable[[Found], float]) -> Found:
        """A measure of each forgotten class alone, and of these the worst: no class may water down another.

        That every class must lie inside the margin needs no correction for their number. A class that was deleted
        before need not be in the data any more; one that is deleted now must be.

        Raises:
            EmptySide: there are no images of a class that is deleted now.
        """
        return max((found for index in self.forget for found in self._measured(measure, index)), key=badness)

    def _measured(self, measure: Callable[[list[int]], Found], index: int) -> Iterator[Found]:
        try:
            found = measure([index])
        except EmptySide:
            if index in self.erase:
                raise
        else:
            yield found


@dataclass(frozen=True)
class Looked:
    """The images that are looked at."""

    train: Images
    """Of the training split all forgotten ones, and some of the others."""
    test: Images
    """The whole test split."""
    held: Images
    """Training images of all classes that whoever wants the classes back is given."""
    attacked: Images
    """Forgotten test images that show what came back."""
    beside: Images
    """Retained test images that show what is still right."""

    @classmethod
    def at(cls, train: Images, test: Images, deletion: Deletion) -> "Looked":
        forget, seed = deletion.forget, deletion.seed
        held = attackers(train, forget=forget, num_classes=deletion.num_classes, seed=seed)
        return cls(
            thinned(train, whole=forget, seed=seed),
            test,
            held,
            attacked(test, forget=_present(held, forget), seed=seed),
            beside(test, forget=forget, seed=seed),
        )

    @property
    def counts(self) -> dict[str, int]:
        """How many images of each kind."""
        return {name: len(images) for name, images in vars(self).items() if isinstance(images, Images)}


@dataclass(frozen=True)
class Scene:
    """Everything that the networks are compared on."""

    deletion: Deletion
    looked: Looked
    original: nn.Module

    @cached_property
    def attacker(self) -> Attacker:
        return Attacker(self.looked.held.tensor(), self.looked.held.labels, self.original)

    @cached_property
    def parts(self) -> Parts:
        """The images by what is needed of them."""
        looked = self.looked
        return parted(looked.train, looked.test, looked.held, looked.beside, self.deletion.forget)

    def passes_of(self, model: nn.Module) -> Passes:
        """A network's passes over the images; the original's are the same for all who ask."""
        return self.original_passes if model is self.original else Passes(model, self.parts, self.places.values())

    @cached_property
    def original_passes(self) -> Passes:
        """Those of the original."""
        return Passes(self.original, self.parts, self.places.values())

    @cached_property
    def test_side(self) -> tuple[Tensor, Labels]:
        """The forgotten test images that attacks are judged by."""
        return self.looked.attacked.tensor(), self.looked.attacked.labels

    def siege_of(self, model: nn.Module, passes: Passes, watch: Watch) -> Siege:
        """A network with everything that attacks on it need."""
        traces = passes.trace("train", self.looked.held, watch), passes.trace("test", self.looked.attacked, watch)
        places = self.places["penultimate"], self.places.get("early")
        classes = _present(self.looked.held, self.deletion.forget)
        return Siege.traced(model, self.attacker, self.test_side, classes, traces, places, BATCH_SIZE)

    @cached_property
    def head(self) -> str:
        """Name of the last layer, which all networks of an architecture have."""
        return last_layer(self.original, self.example)

    @cached_property
    def places(self) -> dict[str, str]:
        """The modules whose inputs are looked at, by what their place is called."""
        early = early_stage(self.original, self.example)
        return {"penultimate": self.head} | ({} if early is None else {"early": early})

    @property
    def example(self) -> Tensor:
        """A few images, to find layers with."""
        return next(iter(self.looked.test.batches()))[:2]


def _present(images: Images, classes: list[int]) -> list[int]:
    """Those that there are images of: a class that was deleted before need not be in the data any more."""
    return sorted(set(classes) & set(images.labels.tolist()))
