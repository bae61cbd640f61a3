"""Choosing how strong and how deep the edit is, on validation samples, with a rule that a shallow edit cannot fool.

Forget and retain accuracy alone are best served by touching nothing but the last layer, which leaves the class intact
in the features. So the rule also puts the ORIGINAL's last layer back on the edited features and counts what returns.

    score = max(0, r - 10 max(0, r_0 - r - allowed)) (1 - f) (1 - min(1, h / f_0))

with, on the validation samples, r = retain accuracy, f = forget accuracy, h = forget accuracy with the original's last
layer back, r_0 and f_0 = the original's retain and forget accuracy (h / f_0 is 0 when f_0 is 0), and `allowed` the drop
in retain accuracy that costs nothing extra. Every point beyond it costs ten: a hard floor would, on a few hundred
samples, reject a good edit for two images. The highest score wins; ties go to the higher r, then to more edited layers,
then to the larger alpha_r, then to the smaller alpha_f.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unlearning.capture import Progress
from unlearning.checks import checked_alpha, checked_classes, checked_labels
from unlearning.errors import EmptySide, OptionOutOfRange, ShapeError
from unlearning.evaluation.accuracy import predict_logits
from unlearning.evaluation.controls import last_layer
from unlearning.inventory import Layer
from unlearning.projection import LayerUpdate
from unlearning.statistics import LayerStatistics, chosen_layers

ALPHAS_R = (10.0, 30.0, 100.0, 300.0, 1000.0)
ALPHAS_F = (1.0, 3.0, 10.0, 30.0, 100.0)
DEPTHS = (0.0, 0.5, 2 / 3)
_COST_OF_EXCESS = 10.0


@dataclass(frozen=True)
class Candidate:
    """One edit that was tried.

    Attributes:
        alpha_r: Strength with which retained directions are kept.
        alpha_f: Strength of removal.
        layers: Parameter names of the edited weights, in order of execution.
        retain_accuracy: On the validation samples; None when the score could not win whatever it was.
        forget_accuracy: On the validation samples.
        recovered: Share of the original's forget accuracy that returns with its last layer.
        score: By the rule of this module; an upper bound when retain_accuracy is None.
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
        layers: Parameter names that may be edited; None for all with statistics.
        allowed_drop: Retain accuracy that an edit may lose before every further point costs ten.
        batch_size: Samples per forward.
        progress: Called as progress("tune", candidates done, candidates in total).

    Returns:
        The choice; deterministic for a given device and thread count.

    Raises:
        OptionOutOfRange: the grid is empty, or a value lies outside its range.
        EmptySide: the validation samples lack one side.
    """
    bench = _Bench.of(model, inputs, labels, classes, excluded, batch_size)
    allowed = chosen_layers(retain, forget, layers)
    updates = {
        layer.weight: LayerUpdate(
            layer, model.get_parameter(layer.weight), retain.moments[layer.weight], forget.moments[layer.weight]
        )
        for layer in allowed
    }
    grid, tails = _Grid(alphas_r, alphas_f), _tails(allowed, depths)
    tried: list[Candidate] = []

    def attempt(pairs: Iterable[tuple[float, float]], best: Candidate | None) -> Candidate | None:
        for alpha_r, alpha_f in pairs:
            weights = {name: update.at(alpha_r, alpha_f) for name, update in updates.items()}
            for tail in tails:
                edit = {name: weights[name] for name in tail}
                tried.append(bench.judge(alpha_r, alpha_f, edit, best, allowed_drop))
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
        self._r = sorted({checked_alpha("alpha_r", value) for value in alphas_r})
        self._f = sorted({checked_alpha("alpha_f", value) for value in alphas_f})
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
    for depth in depths:
        if not 0 <= depth < 1:
            raise OptionOutOfRange("a depth", "at least 0 and below 1", depth)
    starts = sorted({int(depth * len(names) + 1e-9) for depth in depths})
    if not starts:
        raise OptionOutOfRange("depths", "at least one share", ())
    return [names[start:] for start in starts]


@dataclass(frozen=True)
class _Bench:
    """The validation samples, and what the original does on them."""

    model: nn.Module
    retain_inputs: Tensor
    retain_labels: NDArray[np.int64]
    forget_inputs: Tensor
    forget_labels: NDArray[np.int64]
    last: str
    last_is_output: bool
    batch_size: int
    retain_accuracy: float
    forget_accuracy: float

    @classmethod
    def of(
        cls,
        model: nn.Module,
        inputs: Tensor,
        labels: NDArray[Any] | Tensor,
        classes: Collection[int],
        excluded: Iterable[int],
        batch_size: int,
    ) -> _Bench:
        vector = checked_labels(labels)
        if len(vector) != len(inputs):
            raise ShapeError("labels", f"({len(inputs)},)", vector.shape)
        num_classes = predict_logits(model, inputs[:1]).shape[1]
        wanted = checked_classes(classes, num_classes)
        checked_labels(vector, num_classes)
        gone = np.isin(vector, wanted)
        kept = ~np.isin(vector, [*wanted, *excluded])
        for side, chosen in (("retain validation", kept), ("forget validation", gone)):
            if not chosen.any():
                raise EmptySide(side)
        predict = partial(predict_logits, model, batch_size=batch_size)
        kept_at, gone_at = np.flatnonzero(kept), np.flatnonzero(gone)
        retain_logits, forget_logits = predict(inputs[kept_at]), predict(inputs[gone_at])
        order = _least_certain_first(retain_logits, vector[kept_at])
        last = last_layer(model, inputs)
        return cls(
            model,
            inputs[kept_at[order]],
            vector[kept_at[order]],
            inputs[gone_at],
            vector[gone_at],
            last,
            _is_output(model, last, inputs[:1]),
            batch_size,
            _accuracy(retain_logits, vector[kept_at]),
            _accuracy(forget_logits, vector[gone_at]),
        )

    def judge(
        self, alpha_r: float, alpha_f: float, edit: Mapping[str, Tensor], best: Candidate | None, allowed_drop: float
    ) -> Candidate:
        """Return the candidate, leaving out measurements that cannot change the outcome."""
        goal = best.score if best is not None else 0.0
        forgotten, back = self._forget_accuracies(edit)
        recovered = min(1.0, back / self.forget_accuracy) if self.forget_accuracy else 0.0
        bound = (1 - forgotten) * (1 - recovered)

        def score(kept: float) -> float:
            excess = max(0.0, self.retain_accuracy - kept - allowed_drop)
            return max(0.0, kept - _COST_OF_EXCESS * excess) * bound

        kept, is_known = self._retain_accuracy(edit, lambda at_most: score(at_most) < goal)
        measured = kept if is_known else None
        return Candidate(alpha_r, alpha_f, tuple(edit), measured, forgotten, recovered, score(kept))

    def _forget_accuracies(self, edit: Mapping[str, Tensor]) -> tuple[float, float]:
        """Forget accuracy of the edit, and with the original's last layer back: one forward for both if possible."""
        predict = partial(predict_logits, self.model, self.forget_inputs, batch_size=self.batch_size)
        if not self.last_is_output:
            below = {name: weight for name, weight in edit.items() if name.rpartition(".")[0] != self.last}
            both = predict(weights=edit), predict(weights=below)
        else:
            head, features = self.model.get_submodule(self.last), list[Tensor]()
            hook = head.register_forward_pre_hook(lambda _module, args: features.append(args[0]))
            try:
                edited = predict(weights=edit)
            finally:
                hook.remove()
            both = edited, predict_logits(head, features)
        forgotten, back = (_accuracy(logits, self.forget_labels) for logits in both)
        return forgotten, back

    def _retain_accuracy(self, edit: Mapping[str, Tensor], is_hopeless: Callable[[float], bool]) -> tuple[float, bool]:
        """Retain accuracy of the edit, or a bound as soon as all the rest being right would not help; and which."""
        total, at_most = len(self.retain_labels), 1.0
        for start in range(0, total, self.batch_size):
            if is_hopeless(at_most):
                return at_most, False
            part = slice(start, start + self.batch_size)
            logits = predict_logits(self.model, self.retain_inputs[part], batch_size=self.batch_size, weights=edit)
            at_most -= int((logits.argmax(dim=1).numpy() != self.retain_labels[part]).sum()) / total
        return at_most, True


def _least_certain_first(logits: Tensor, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places of the samples by how far the true class is ahead: an edit's errors show early that way."""
    true = torch.from_numpy(labels)[:, None]
    ahead = logits.gather(1, true).squeeze(1) - logits.scatter(1, true, -torch.inf).amax(dim=1)
    return np.argsort(ahead.numpy(), kind="stable")


def _is_output(model: nn.Module, name: str, example: Tensor) -> bool:
    """Whether the model returns what the module `name` returns, unchanged, and calls it once."""
    outputs: list[Tensor] = []
    hook = model.get_submodule(name).register_forward_hook(lambda _module, _args, output: outputs.append(output))
    try:
        logits = predict_logits(model, example)
    finally:
        hook.remove()
    return len(outputs) == 1 and torch.equal(outputs[0].float().cpu(), logits)


def _accuracy(logits: Tensor, labels: NDArray[np.int64]) -> float:
    return float((logits.argmax(dim=1).numpy() == labels).mean())
