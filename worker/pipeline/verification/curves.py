"""What is drawn: tables and curves of shares, none of them about a single image."""

from collections.abc import Callable, Mapping
from typing import Any

from core import log
from unlearning.evaluation import confusion_matrix, edits
from unlearning.evaluation.roc import membership_roc
from worker.pipeline.verification.findings import BEYOND_RECOVERY
from worker.pipeline.verification.subject import Subject

MAX_CLASSES = 100
"""A confusion matrix of more classes is neither drawn nor kept."""
LARGEST_SIDE = 1024
"""The largest singular value of a change is left out where the shorter side of its matrix is longer."""

Subjects = Mapping[str, Subject]
"""`original`, `unlearned`, and `reference` if there is one."""

_log = log.get_logger("verify")


def curves(subjects: Subjects, measures: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Everything that can be drawn; what cannot is left out.

    Args:
        subjects: by name.
        measures: of each, as `Findings` holds them.
    """  # noqa: DOC501 the errors of a broken device pass through
    made: dict[str, Callable[[], Any]] = {
        "confusion": lambda: _each(subjects, _confusion),
        "per_class_accuracy": lambda: _each(subjects, per_class_accuracy),
        "membership_roc": lambda: _roc(subjects["unlearned"]),
        "few_shot": lambda: {name: _few_shot(measures[name]) for name in subjects},
        "layers": lambda: _layers(subjects),
    }
    found = {}
    for name, make in made.items():
        try:
            found[name] = make()
        except BEYOND_RECOVERY:
            raise
        except Exception:  # noqa: BLE001 a picture less
            _log.exception("curve.failed", curve=name)
    return found


def per_class_accuracy(subject: Subject) -> list[float | None]:
    """Accuracy on the test images of each class; None without any."""
    confusion = confusion_matrix(subject.images("test").labels, subject.outputs("test"))
    totals, hits = confusion.sum(axis=1).tolist(), confusion.diagonal().tolist()
    return [hit / total if total else None for hit, total in zip(hits, totals, strict=True)]


def _each(subjects: Subjects, make: Callable[[Subject], Any]) -> dict[str, Any]:
    return {name: make(subject) for name, subject in subjects.items()}


def _confusion(subject: Subject) -> list[list[int]] | None:
    """Counts of test images, rows true, columns said."""
    if subject.scene.deletion.num_classes > MAX_CLASSES:
        return None
    rows: list[list[int]] = confusion_matrix(subject.images("test").labels, subject.outputs("test")).tolist()
    return rows


def _roc(subject: Subject) -> dict[str, Any]:
    forget, seed = subject.scene.deletion.forget, subject.scene.deletion.seed
    return membership_roc(subject.side("train", forget), subject.side("test", forget), seed=seed).as_dict()


def _few_shot(measures: Mapping[str, Any]) -> dict[str, float]:
    """Accuracy by number of images that each class centre is made of."""
    found = {}
    for name, measure in measures.items():
        shots = name.removeprefix("few_shot_").removesuffix("_forget_accuracy")
        if shots.isdecimal() and measure["value"] is not None:
            found[shots] = measure["value"]
    return found


def _layers(subjects: Subjects) -> list[dict[str, Any]]:
    before, after = (subjects[name].model.state_dict() for name in ("original", "unlearned"))
    found = []
    for edit in edits(before, after, largest_side=LARGEST_SIDE):
        layer = {"layer": edit.name, "relative_change": edit.relative_change, "changed": edit.changed}
        sizes = {"spectral_norm": edit.spectral_norm, "effective_rank": edit.effective_rank}
        found.append(layer | {name: size for name, size in sizes.items() if size is not None})
    return found
