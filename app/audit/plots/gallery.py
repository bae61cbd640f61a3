"""All plots of a result, each with what it shows; what was not measured is named, not drawn."""

from collections.abc import Callable
from dataclasses import dataclass

from app.audit.curves import Curves
from app.audit.plots import class_accuracy, confusion, few_shot, layers, roc
from app.audit.plots.classes import Classes


@dataclass(frozen=True)
class Plot:
    """One plot, ready for a page or a file of its own."""

    name: str
    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class _Kind:
    name: str
    title: str
    caption: str
    draw: Callable[[Curves, Classes], str | None]


def plots_of(curves: Curves, classes: Classes) -> list[Plot]:
    """Every plot that there are numbers for."""
    drawn = [(kind, kind.draw(curves, classes)) for kind in _KINDS]
    return [Plot(kind.name, kind.title, kind.caption, svg) for kind, svg in drawn if svg is not None]


def not_drawn(plots: list[Plot]) -> list[str]:
    """Titles of the plots that a result has no numbers for."""
    names = {plot.name for plot in plots}
    return [kind.title for kind in _KINDS if kind.name not in names]


def _class_accuracy(curves: Curves, classes: Classes) -> str | None:
    return class_accuracy.draw(curves.per_class_accuracy, classes) if curves.per_class_accuracy else None


def _confusion(curves: Curves, classes: Classes) -> str | None:
    return confusion.draw(curves.confusion, classes) if curves.confusion else None


def _roc(curves: Curves, _classes: Classes) -> str | None:
    return roc.draw(curves.membership_roc) if curves.membership_roc else None


def _few_shot(curves: Curves, _classes: Classes) -> str | None:
    return few_shot.draw(curves.few_shot) if curves.few_shot else None


def _layers(curves: Curves, _classes: Classes) -> str | None:
    return layers.draw(curves.layers) if curves.layers else None


_KINDS = (
    _Kind(
        class_accuracy.NAME,
        class_accuracy.TITLE,
        "Share of each class's test images that are recognised. The deleted classes should fall to where a retrained "
        "model has them, close to 0; all others should stay where they were.",
        _class_accuracy,
    ),
    _Kind(
        confusion.NAME,
        confusion.TITLE,
        "Each row holds the test images of one true class, in percent by the class they are taken for. After the "
        "deletion the framed rows should be spread over classes that look alike, as a retrained model spreads them, "
        "and their column should be empty.",
        _confusion,
    ),
    _Kind(
        roc.NAME,
        roc.TITLE,
        "How many training images of the deleted classes an attacker finds, by how many unseen images are wrongly "
        "accused. A model that was never trained on them lies on the dashed line; both sides of it betray something.",
        _roc,
    ),
    _Kind(
        few_shot.NAME,
        few_shot.TITLE,
        "Share of the deleted classes' test images recognised by class centres made of a few images, without any "
        "training. A retrained model recovers much of a class too: only what lies above the reference was left behind.",
        _few_shot,
    ),
    _Kind(
        layers.NAME,
        layers.TITLE,
        "Size of the change of each layer's weights, as a share of their size before. It says where the edit was made, "
        "not whether it worked.",
        _layers,
    ),
)
