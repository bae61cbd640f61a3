"""What a reference and a retraining have in common: the classes are the model's, and there are images to tell by."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.dependencies import Caller
from app.models.references_schemas import RegisterReference, RetrainIn
from app.unlearn.classes import ClassNamedTwice, NoClassRetained, UnknownClass, resolve_classes
from app.unlearn.samples import Counts, TooFewSamples, count_images
from models_store.references import original_of
from models_store.registry import find_dataset, forgotten_classes, refuse_unready
from models_store.tables import Dataset, Model

MIN_TEST = 10
"""Fewest test images of an absent class, and of all others together: fewer cannot tell whether it is absent."""
MIN_TRAIN = 20
"""Fewest training images of all classes that are to be learned together; each of them needs one."""


@dataclass(frozen=True)
class Asked:
    """A body whose names were found: the classes by index, as named, and the data set with its images."""

    model: Model
    dataset: Dataset
    absent: list[int]
    counts: Counts

    @property
    def present(self) -> list[int]:
        """Indices of the classes that are not absent."""
        return [index for index in range(len(self.model.labels)) if index not in self.absent]

    def together(self, split: str) -> int:
        """Images of the present classes in a split."""
        return sum(self.counts.of(split, index) for index in self.present)


def checked(session: Session, who: Caller, model: Model, body: RegisterReference | RetrainIn) -> Asked:
    """Refuse what no worker could check.

    Raises:
        UnknownVersion: the model has no version to compare a reference with.
        VersionNotReady: none of its versions is ready.
        UnknownDataset: the tenant has no data set of this name.
        UnknownClass: a label or index is not the model's.
        ClassNamedTwice: two of them mean one class.
        NoClassRetained: all classes are named.
        DatasetNotReady: nobody has read the data set yet.
        MissingSplit: it has no train or no test split.
        LabelMismatch: its labels are not those of the model.
        TooFewSamples: it has too few test images.
    """
    original_of(session, model)
    dataset = find_dataset(session, who.tenant, body.dataset)
    absent = _absent(model, body.absent_classes)
    refuse_unready(dataset)
    counts = count_images(dataset, model, set(forgotten_classes(session, model)) - set(absent))
    asked = Asked(model, dataset, absent, counts)
    for position, index in enumerate(absent):
        _expect(counts.of("test", index), MIN_TEST, "test", f"#/absent_classes/{position}", f"class index {index}")
    _expect(asked.together("test"), MIN_TEST, "test", "#/dataset", "the other classes")
    return asked


def refuse_untrainable(asked: Asked) -> None:
    """Refuse a data set from which some class could not be learned.

    Raises:
        TooFewSamples: a class that is not absent has no training image, or all together have too few.
    """
    for index in asked.present:
        _expect(
            asked.counts.of("train", index), 1, "train", "#/dataset", f"class index {index}, which is to be learned"
        )
    _expect(asked.together("train"), MIN_TRAIN, "train", "#/dataset", "the classes to be learned")


def _absent(model: Model, references: Sequence[int | str]) -> list[int]:
    try:
        absent = resolve_classes(model, references)
    except (UnknownClass, ClassNamedTwice) as error:
        error.pointer = (error.pointer or "#/classes").replace("#/classes", "#/absent_classes")
        raise
    if len(absent) >= len(model.labels):
        msg = f"Expected at least one class of model {model.name!r} to be present, got all of them as absent."
        raise NoClassRetained(msg, pointer="#/absent_classes")
    return absent


def _expect(count: int, limit: int, split: str, pointer: str, whose: str) -> None:
    if count < limit:
        msg = f"Expected at least {limit} {split} image(s) of {whose}, got {count}."
        raise TooFewSamples(msg, pointer=pointer, split=split, count=count, limit=limit)
