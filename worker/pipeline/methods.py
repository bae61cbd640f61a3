"""The methods a request can name: from the two sides' images to an edit, with the table of what was tried."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Protocol, Self

from core import log
from core.requests.spec import UnlearnSpec
from unlearning import (
    Bench,
    Deepening,
    Erasure,
    LayerStatistics,
    Refit,
    choose,
    collect,
    deepest_refit,
    draw_samples,
    erase_from_statistics,
    layers_at_most,
)
from unlearning.errors import NotRefittable
from worker.pipeline.data import Images, at_most, set_aside
from worker.pipeline.materials import Materials
from worker.pipeline.outputs import Loaded
from worker.progress import Progress

Span = tuple[float, float]

_log = log.get_logger("method")

REFIT_RETAIN = 4
"""Retained images of a refit, for each that the projection takes: a fit of thousands of numbers needs more rows than a
second moment does."""


class Work(Protocol):
    """What a method needs to know of the attempt it works for: a `Context`, or whatever has as much."""

    @property
    def materials(self) -> Materials: ...

    @property
    def loaded(self) -> Loaded: ...

    @property
    def spec(self) -> UnlearnSpec: ...

    @property
    def progress(self) -> Progress: ...


@dataclass(frozen=True)
class Sides:
    """Which images are for what; no image is on two sides, and none is a test image."""

    retain: Images
    """For the projection."""
    retain_more: Images
    """For the refit."""
    forget: Images
    validation: Images | None
    """None when the strength is given: nothing is left to choose."""


@dataclass(frozen=True)
class Made:
    """An edit, whether anything about it was chosen, and everything that was tried."""

    erasure: Erasure
    score: float | None
    table: list[dict[str, Any]]


@dataclass(frozen=True)
class Chosen:
    """What was chosen for an edit that was made: enough to make it again without choosing."""

    name: str
    alpha_r: float | None
    alpha_f: float | None
    layers: tuple[str, ...]

    @classmethod
    def of(cls, method: dict[str, Any]) -> Self:
        """As a result or a manifest has it under `method`."""
        return cls(method["name"], method["alpha_r"], method["alpha_f"], tuple(method["layers"]))


def sides_of(context: Work) -> Sides:
    """Draw the images of both sides, and set validation images aside unless the strength is given."""
    train, own = context.materials.train, context.materials.validation
    num_classes, seed, method = context.materials.blueprint.num_classes, context.spec.seed, context.spec.method
    measured, validation = train, None
    if method.alpha_r is None:
        if own is not None:
            validation = at_most(own, num_classes=num_classes, seed=seed)
        else:
            rest, aside = set_aside(train.labels, num_classes=num_classes, seed=seed)
            measured, validation = train.subset(rest), train.subset(aside)
    drawn = partial(
        draw_samples,
        measured.labels,
        context.loaded.erase,
        num_classes=num_classes,
        seed=seed,
        excluded=context.loaded.erased_before,
    )
    few, more = drawn(num_samples=method.num_samples), drawn(num_samples=REFIT_RETAIN * method.num_samples)
    return Sides(measured.subset(few.retain), measured.subset(more.retain), measured.subset(few.forget), validation)


def method_of(context: Work) -> Callable[[Work, Sides, Span], Made]:
    """Return what the request's method does."""
    if context.spec.method.alpha_r is not None:
        return paper
    return {"paper": paper, "refit": refit, "auto": auto}[context.spec.method.name]


def auto(context: Work, sides: Sides, span: Span) -> Made:
    """Refit; if that breaks a limit on the validation images, project as well, and take the better of the two.

    A network that cannot be refitted is projected.
    """
    middle = (span[0] + span[1]) / 2
    try:
        deepening = _deepening(context, sides, (span[0], middle))
    except NotRefittable as error:
        _log.info("method.not_refittable", detail=str(error))
        return paper(context, sides, (middle, span[1]))
    refitted = _made(deepening)
    if deepening.is_good:
        return refitted
    projected = paper(context, sides, (middle, span[1]))
    table = [*refitted.table, *projected.table]
    better = max(refitted, projected, key=lambda made: made.score or 0.0)
    return Made(better.erasure, better.score, table)


def refit(context: Work, sides: Sides, span: Span) -> Made:
    """Refit the last layers, as many as retained accuracy allows."""
    return _made(_deepening(context, sides, span))


def paper(context: Work, sides: Sides, span: Span) -> Made:
    """Project with the alphas given, or with those and the depth that are best on the validation images."""
    start, width = span[0], span[1] - span[0]
    retain, forget = _both_statistics(context, sides, (start, start + width / 2))
    alpha_r, alpha_f, layers, score = context.spec.method.alpha_r, context.spec.method.alpha_f, None, None
    table: list[dict[str, Any]] = []
    if sides.validation is not None:
        choice = choose(
            context.materials.base,
            retain,
            forget,
            inputs=sides.validation.tensor(),
            labels=sides.validation.labels,
            classes=context.loaded.erase,
            excluded=context.loaded.erased_before,
            progress=context.progress.over((start + width / 2, start + width * 0.95)),
        )
        best = choice.best
        alpha_r, alpha_f, layers, score = best.alpha_r, best.alpha_f, best.layers, best.score
        table = [{"method": "paper", **asdict(tried), "layers": len(tried.layers)} for tried in choice.candidates]
    if alpha_r is None or alpha_f is None:
        msg = f"Expected both alphas to be given or chosen, got {alpha_r} and {alpha_f}."
        raise RuntimeError(msg)
    erasure = erase_from_statistics(
        context.materials.base,
        retain,
        forget,
        alpha_r=alpha_r,
        alpha_f=alpha_f,
        layers=layers,
        progress=context.progress.over((start + width * 0.95, span[1])),
    )
    return Made(erasure, score, table)


def again(context: Work, sides: Sides, chosen: Chosen, span: Span) -> Erasure:
    """Make an edit again with what was chosen then: the same draws and the same sums, and nothing tried."""
    if chosen.name == "refit":
        return _refits(context, sides, span).of(chosen.layers)
    if chosen.name != "paper" or chosen.alpha_r is None or chosen.alpha_f is None:
        msg = f"Expected a record of 'refit', or of 'paper' with both alphas, got {chosen}."
        raise RuntimeError(msg)
    nearly = span[0] + (span[1] - span[0]) * 0.95
    retain, forget = _both_statistics(context, sides, (span[0], nearly))
    return erase_from_statistics(
        context.materials.base,
        retain,
        forget,
        alpha_r=chosen.alpha_r,
        alpha_f=chosen.alpha_f,
        layers=chosen.layers,
        progress=context.progress.over((nearly, span[1])),
    )


def _deepening(context: Work, sides: Sides, span: Span) -> Deepening:
    refits, validation = _refits(context, sides, span), _validation(sides)
    bench = Bench.of(
        context.materials.base,
        validation.tensor(),
        validation.labels,
        context.loaded.erase,
        excluded=context.loaded.erased_before,
    )
    return deepest_refit(refits, bench)


def _refits(context: Work, sides: Sides, span: Span) -> Refit:
    return Refit(
        context.materials.base,
        retain=list(sides.retain_more.batches()),
        forget=list(sides.forget.batches()),
        classes=context.loaded.forget,
        layers=layers_at_most(context.materials.base, _validation(sides).tensor()[:2]),
        seed=context.spec.seed,
        progress=context.progress.over(span),
    )


def _validation(sides: Sides) -> Images:
    if sides.validation is None:
        msg = "Expected validation images to choose the depth with, got none."
        raise RuntimeError(msg)
    return sides.validation


def _made(deepening: Deepening) -> Made:
    table = [{"method": "refit", "layers": len(tried.layers), **tried.judgement._asdict()} for tried in deepening.tried]
    return Made(deepening.erasure, deepening.best.judgement.score, table)


def _both_statistics(context: Work, sides: Sides, span: Span) -> tuple[LayerStatistics, LayerStatistics]:
    middle = (span[0] + span[1]) / 2
    return (
        _statistics(context, sides.retain, "retain", (span[0], middle)),
        _statistics(context, sides.forget, "forget", (middle, span[1])),
    )


def _statistics(context: Work, images: Images, side: str, span: Span) -> LayerStatistics:
    return collect(
        context.materials.base,
        images.batches(),
        max_rows=context.spec.method.max_rows,
        seed=context.spec.seed,
        num_samples=len(images),
        progress=context.progress.over(span),
        side=side,
    )
