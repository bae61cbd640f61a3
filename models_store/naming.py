"""Taking the name of a deleted class out of the label list, where the name is a person's."""

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.requests.tables import UnlearnRequest
from models_store.registry import find_model, forgotten_classes
from models_store.tables import Dataset, Model


def erase_labels(session: Session, requests: Iterable[UnlearnRequest]) -> int:
    """Replace the labels of the classes that these requests deleted by `erased-<index>`; the caller commits.

    Locks the models' rows: call it before anything is written to the ledger. A class that its model still knows keeps
    its name. Data sets that got the model's list for the integers of their arrays follow it, and where a purge left no
    image of the class the name goes from the counts. A folder of images cannot follow: a data set that still has one of
    the old name fits the model no more.

    Returns:
        How many labels were replaced.
    """
    replaced = 0
    for tenant, name in sorted({(request.tenant, request.model_name) for request in requests}):
        model = find_model(session, tenant, name, lock=True)
        asked = {index for one in requests if one.model_name == name for index in one.class_indices}
        gone = sorted(asked & set(forgotten_classes(session, model)))
        replaced += _rename(session, model, gone)
    return replaced


def _rename(session: Session, model: Model, gone: list[int]) -> int:
    before, after = list(model.labels), list(model.labels)
    for index in gone:
        after[index] = _placeholder(index, taken=after)
    if after == before:
        return 0
    model.labels = after
    datasets = select(Dataset).where(Dataset.tenant == model.tenant).with_for_update(of=Dataset)
    for dataset in session.execute(datasets).scalars():
        if not (dataset.summary or {}).get("labels_are_indices"):
            _strike(dataset, {before[index] for index in gone})
        elif list(dataset.labels or []) == before:
            dataset.labels = after
    session.flush()
    return sum(old != new for old, new in zip(before, after, strict=True))


def _strike(dataset: Dataset, names: set[str]) -> None:
    """Take the names out of which no image is left."""
    summary = dict(dataset.summary or {})
    tallies = [name for name in ("counts", "splits") if isinstance(summary.get(name), dict)]
    left = {label for name in tallies for counts in summary[name].values() for label, count in counts.items() if count}
    struck = names - left
    if not struck:
        return
    for name in tallies:
        summary[name] = {
            split: {label: count for label, count in counts.items() if label not in struck}
            for split, counts in summary[name].items()
        }
    dataset.summary = summary
    dataset.labels = [label for label in dataset.labels or [] if label not in struck]


def _placeholder(index: int, *, taken: list[str]) -> str:
    name = f"erased-{index}"
    while name in taken and taken[index] != name:
        name += "-"
    return name
