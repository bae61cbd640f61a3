"""Choosing how strong and how deep the edit is, on validation samples, by the score of `bench`.

The highest score wins; ties go to the higher retain accuracy, then to more edited layers, then to the larger alpha_r,
then to the smaller alpha_f.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from torch import Tensor, nn

from unlearning.arithmetic import swift_products
from unlearning.bench import Bench
from unlearning.capture import Progress
from unlearning.checks import checked_alpha, checked_several
from unlearning.errors import OptionOutOfRange
from unlearning.inventory import Layer, assemble, read_rows
from unlearning.projection import LayerUpdate
from unlearning.replay import Budget
from unlearning.statistics import LayerStatistics, chosen_layers

ALPHAS_R = (10.0, 30.0, 100.0, 300.0, 1000.0)
ALPHAS_F = (1.0, 3.0, 10.0, 30.0, 100.0)
DEPTHS = (0.0, 0.5, 2 / 3)


@dataclass(frozen=True)
class Candidate:
    """One edit that was tried.

    Attributes:
        alpha_r: Strength with which retained directions are kept.
        alpha_f: Strength of removal.
        layers: Keys of the edited layers, in order of execution.
        retain_accuracy: On the validation samples; None when the score could not win whatever it was.
        forget_accuracy: On the validation samples.
        recovered: Share of the original's forget accuracy that returns with a part of it put back.
        score: By the rule of `bench`; an upper bound when retain_accuracy is None.
    """

    alpha_r: float
    alpha_f: float
    layers: tuple[str, ...]
    retain_accuracy: float | None
    forget_accuracy: float
    recovered: float
    score: float

    def rank(self) -> tuple[float, float, int, float, float]:
        """Return the key by which candidates are compared, larger is better."""
        retain = self.retain_accuracy if self.retain_accuracy is not None else -1.0
        return (self.score, retain, len(self.layers), self.alpha_r, -self.alpha_f)


@dataclass(frozen=True)
class Choice:
    """The chosen candidate and all that were tried.

    Attributes:
        best: The winner.
        candidates: All, in the order they were tried.
        retain_accuracy: The original's, on the validation samples.
        forget_accuracy: The original's.
    """

    best: Candidate
    candidates: tuple[Candidate, ...]
    retain_accuracy: float
    forget_accuracy: float


@swift_products()
def choose(
    model: nn.Module,
    retain: LayerStatistics,
    forget: LayerStatistics,
    *,
    inputs: Tensor,
    labels: NDArray[Any] | Tensor,
    classes: Collection[int],
    excluded: Collection[int] = (),
    alphas_r: Sequence[float] = ALPHAS_R,
    alphas_f: Sequence[float] = ALPHAS_F,
    depths: Sequence[float] = DEPTHS,
    layers: Collection[str] | None = None,
    allowed_drop: float = 0.01,
    batch_size: int = 128,
    cache_bytes: int = 2 << 30,
    progress: Progress | None = None,
) -> Choice:
    """Search the grid of alphas and depths on validation samples and return the best edit by the rule above.

    Statistics are reused, and so is each half of an update (see `LayerUpdate`): a pair costs one solve per layer. A
    candidate's retain samples are evaluated, the least certain first, only as long as it can still win; that never
    changes the winner. Of a grid with more than three values on an axis not every pair is tried: every second value
    first, then what lies beside the best pair, because the score changes slowly along both axes (a factor of three
    between neighbours) and a pair costs seconds on a large model.

    Args:
        model: The original; never changed (candidate weights are passed beside it).
        retain: Statistics of the retain side.
        forget: Statistics of the forget side.
        inputs: Validation inputs (n, ...), retained and forgotten classes. They must be neither test samples nor, if it
            can be had, samples the statistics come from: that is the caller's duty, nothing here can check it.
        labels: Their classes (n,).
        classes: The classes to forget.
        excluded: Classes forgotten earlier; their samples are ignored.
        alphas_r: Candidates for alpha_r.
        alphas_f: Candidates for alpha_f.
        depths: Where the edit begins, as shares of the layers in order of execution: 0 edits all, 0.5 the later half.
        layers: Keys of the layers that may be edited; None for all with statistics.
        allowed_drop: Retain accuracy that an edit may lose before every further point costs ten.
        batch_size: Samples per forward.
        cache_bytes: Memory for what the candidates' forwards share (see `replay`); 0 computes each in full.
        progress: Called as progress("tune", candidates done, candidates in total).

    Returns:
        The choice; deterministic for a given device and thread count.

    Raises:
        OptionOutOfRange: the grid is empty, or a value lies outside its range.
        EmptySide: the validation samples lack one side.
    """
    bench = Bench.of(model, inputs, labels, classes, excluded=excluded, batch_size=batch_size)
    bench.budget = Budget(cache_bytes)
    allowed = chosen_layers(retain, forget, layers)
    updates = {
        layer.weight: LayerUpdate(
            layer, read_rows(model, layer), retain.moments[layer.weight], forget.moments[layer.weight]
        )
        for layer in allowed
    }
    grid, tails = _Grid(alphas_r, alphas_f), _tails(allowed, depths)
    tried: list[Candidate] = []

    def attempt(pairs: Iterable[tuple[float, float]], best: Candidate | None) -> Candidate | None:
        for alpha_r, alpha_f in pairs:
            rows = {name: update.at(alpha_r, alpha_f) for name, update in updates.items()}
            for tail in tails:
                edit = assemble(model, {name: rows[name] for name in tail}, allowed)
                found = bench.judge(edit, goal=best.score if best else 0.0, allowed_drop=allowed_drop)
                tried.append(Candidate(alpha_r, alpha_f, tail, *found))
                best = max(best or tried[-1], tried[-1], key=Candidate.rank)
                if progress is not None:
                    progress("tune", len(tried), grid.most_pairs * len(tails))
        return best

    best = attempt(grid.coarse(), None)
    if best is not None:
        best = attempt(grid.beside(best), best)
    if best is None:
        raise OptionOutOfRange("the grid of alphas", "at least one pair", ())
    return Choice(best, tuple(tried), bench.retain_accuracy, bench.forget_accuracy)


class _Grid:
    """The pairs to try: first every second value of either axis, then what lies beside the best pair.

    An axis of up to three values is taken whole. Pairs come from the middle outwards, since a good candidate early on
    spares the others their evaluation, and with alpha_f outermost, because of what a `LayerUpdate` keeps.
    """

    def __init__(self, alphas_r: Sequence[float], alphas_f: Sequence[float]) -> None:
        self._r = sorted({checked_alpha("alpha_r", value) for value in checked_several("alphas_r", alphas_r)})
        self._f = sorted({checked_alpha("alpha_f", value) for value in checked_several("alphas_f", alphas_f)})
        self._tried: set[tuple[float, float]] = set()

    @property
    def most_pairs(self) -> int:
        """As many pairs as may come in all."""
        return min(len(self._r) * len(self._f), len(_thinned(self._r)) * len(_thinned(self._f)) + 4)

    def coarse(self) -> list[tuple[float, float]]:
        return self._new(_thinned(self._r), _thinned(self._f))

    def beside(self, best: Candidate) -> list[tuple[float, float]]:
        """Return the untried pairs that differ from the best one by one place on one axis."""
        return [
            *self._new([best.alpha_r], _neighbours(self._f, best.alpha_f)),
            *self._new(_neighbours(self._r, best.alpha_r), [best.alpha_f]),
        ]

    def _new(self, values_r: list[float], values_f: list[float]) -> list[tuple[float, float]]:
        pairs = [(r, f) for f in _from_the_middle(values_f) for r in _from_the_middle(values_r)]
        new = [pair for pair in pairs if pair not in self._tried]
        self._tried.update(new)
        return new


def _thinned(values: list[float]) -> list[float]:
    return values if len(values) <= 3 else values[::2]


def _neighbours(values: list[float], value: float) -> list[float]:
    place = values.index(value)
    return values[max(0, place - 1) : place + 2]


def _from_the_middle(values: list[float]) -> list[float]:
    middle = (len(values) - 1) / 2
    return [value for _, value in sorted(enumerate(values), key=lambda item: abs(item[0] - middle))]


def _tails(layers: tuple[Layer, ...], depths: Sequence[float]) -> list[tuple[str, ...]]:
    """Return the distinct sets of edited layers, from the deepest edit to the shallowest."""
    names = tuple(layer.weight for layer in layers)
    shares = checked_several("depths", depths)
    for share in shares:
        if not (isinstance(share, (int, float)) and 0 <= share < 1):
            raise OptionOutOfRange("a depth", "at least 0 and below 1", share)
    starts = sorted({int(share * len(names) + 1e-9) for share in shares})
    return [names[start:] for start in starts]
