"""How good an edit is on validation samples, by a score that a shallow edit cannot fool, as cheaply as it can be known.

Forget and retain accuracy alone are best served by touching nothing but the last layer, which leaves the class intact
in the features. So the score also puts parts of the ORIGINAL back on the edited features, its last layer and its whole
classifier, and counts what returns.

    score = max(0, r - 10 max(0, r_0 - r - allowed)) (1 - f) (1 - min(1, h / f_0))

with, on the validation samples, r = retain accuracy, f = forget accuracy, h = the larger forget accuracy with a part of
the original back, r_0 and f_0 = the original's retain and forget accuracy (h / f_0 is 0 when f_0 is 0), and `allowed`
the drop in retain accuracy that costs nothing extra. Every point beyond it costs ten: a hard floor would, on a few
hundred samples, reject a good edit for two images.

Three things make it cheap: what comes before the first edited weight is computed once (`replay`), the last layer is put
back in the same forward, and retain samples are evaluated only as long as the edit can still win.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unlearning.checks import checked_classes, checked_finite, checked_indices, checked_labels
from unlearning.errors import EmptySide, ShapeError
from unlearning.evaluation.accuracy import predict_logits
from unlearning.evaluation.controls import classifier_layers, last_layer
from unlearning.replay import Budget, Replay

_COST_OF_EXCESS = 10.0


class Judgement(NamedTuple):
    """What was measured of one edit.

    Attributes:
        retain_accuracy: On the validation samples; None when the score could not reach the goal whatever it was.
        forget_accuracy: On the validation samples.
        recovered: Largest share of the original's forget accuracy that returns with its last layer or its classifier.
        score: By the rule of this module; an upper bound when retain_accuracy is None.
    """

    retain_accuracy: float | None
    forget_accuracy: float
    recovered: float
    score: float


@dataclass
class Bench:
    """The validation samples, and what the original does on them.

    Attributes:
        model: The original; never changed.
        retain: Batches of retained classes, the least certain samples first: an edit's errors show early that way.
        retain_labels: Their classes.
        forget: Batches of the classes to forget.
        forget_labels: Their classes.
        retain_accuracy: The original's.
        forget_accuracy: The original's.
        budget: Memory for what forwards share.
        classifier: Names of the modules after the features (see `classifier_layers`).
    """

    model: nn.Module
    retain: tuple[Tensor, ...]
    retain_labels: NDArray[np.int64]
    forget: tuple[Tensor, ...]
    forget_labels: NDArray[np.int64]
    retain_accuracy: float
    forget_accuracy: float
    budget: Budget = field(default_factory=Budget)
    classifier: tuple[str, ...] = ()
    _last: str = ""
    _last_is_output: bool = False
    _replays: dict[frozenset[str], Replay] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: nn.Module,
        inputs: Tensor,
        labels: NDArray[Any] | Tensor,
        classes: Collection[int],
        *,
        excluded: Iterable[int] = (),
        batch_size: int = 128,
    ) -> Bench:
        """Sort the samples into sides and measure the original.

        Raises:
            ShapeError: there are not as many labels as inputs.
            EmptySide: the samples lack one side.
            OptionOutOfRange: a class, an excluded one or a label is no whole number.
            ClassIndexOutOfRange: the model does not have it.
        """
        vector = checked_labels(labels)
        if len(vector) != len(inputs):
            raise ShapeError("labels", f"({len(inputs)},)", vector.shape)
        num_classes = predict_logits(model, inputs[:1]).shape[1]
        wanted = checked_classes(classes, num_classes)
        checked_labels(vector, num_classes)
        gone_at = np.flatnonzero(np.isin(vector, wanted))
        missing = [*wanted, *checked_indices("excluded", excluded, num_classes)]
        kept_at = np.flatnonzero(~np.isin(vector, missing))
        for side, chosen in (("retain validation", kept_at), ("forget validation", gone_at)):
            if not chosen.size:
                raise EmptySide(side)
        retain_logits = predict_logits(model, inputs[kept_at], batch_size=batch_size)
        forget_logits = predict_logits(model, inputs[gone_at], batch_size=batch_size)
        last = last_layer(model, inputs)
        order = _least_certain_first(retain_logits, vector[kept_at])
        return cls(
            model,
            inputs[kept_at[order]].split(batch_size),
            vector[kept_at[order]],
            inputs[gone_at].split(batch_size),
            vector[gone_at],
            _accuracy(retain_logits, vector[kept_at]),
            _accuracy(forget_logits, vector[gone_at]),
            classifier=classifier_layers(model, inputs[:1]),
            _last=last,
            _last_is_output=_is_output(model, last, inputs[:1]),
        )

    def judge(self, edit: Mapping[str, Tensor], *, goal: float = 0.0, allowed_drop: float = 0.01) -> Judgement:
        """Return what `edit` does, leaving out measurements that cannot bring its score up to `goal`.

        Args:
            edit: New parameters by name, in the shape, dtype and device of the model's.
            goal: A score that must be reached to matter; 0 measures everything.
            allowed_drop: Retain accuracy that an edit may lose before every further point costs ten.
        """
        replay = self.replay(edit.keys())
        forgotten, last_back = self._forget_accuracies(replay, edit)
        back = max(last_back, self._with_classifier_back(replay, edit))
        recovered = min(1.0, back / self.forget_accuracy) if self.forget_accuracy else 0.0
        bound = (1 - forgotten) * (1 - recovered)

        def score(kept: float) -> float:
            excess = max(0.0, self.retain_accuracy - kept - allowed_drop)
            return max(0.0, kept - _COST_OF_EXCESS * excess) * bound

        kept, is_known = self._retain_accuracy(replay, edit, lambda at_most: score(at_most) < goal)
        return Judgement(kept if is_known else None, forgotten, recovered, score(kept))

    def replay(self, edited: Collection[str]) -> Replay:
        """Return the forwards for edits of these parameters; batches count the forget side's first."""
        names = frozenset(edited)
        if names not in self._replays:
            self._replays[names] = Replay(self.model, (*self.forget, *self.retain), names, self.budget)
        return self._replays[names]

    def _forget_accuracies(self, replay: Replay, edit: Mapping[str, Tensor]) -> tuple[float, float]:
        """Forget accuracy of the edit, and with the original's last layer back: one forward for both if possible."""
        numbers = range(len(self.forget))
        if not self._last_is_output:
            below = {name: value for name, value in edit.items() if not name.startswith(f"{self._last}.")}
            both = [torch.cat([_logits(replay, number, weights) for number in numbers]) for weights in (edit, below)]
        else:
            head = self.model.get_submodule(self._last)
            with _inputs_of(head) as features:
                edited = torch.cat([_logits(replay, number, edit) for number in numbers])
            both = [edited, predict_logits(head, features)]
        forgotten, back = (_accuracy(logits, self.forget_labels) for logits in both)
        return forgotten, back

    def _with_classifier_back(self, replay: Replay, edit: Mapping[str, Tensor]) -> float:
        parts = tuple(f"{name}." for name in self.classifier)
        below = {name: value for name, value in edit.items() if not name.startswith(parts)}
        if not below:
            return self.forget_accuracy
        logits = torch.cat([_logits(replay, number, below) for number in range(len(self.forget))])
        return _accuracy(logits, self.forget_labels)

    def _retain_accuracy(
        self, replay: Replay, edit: Mapping[str, Tensor], is_hopeless: Callable[[float], bool]
    ) -> tuple[float, bool]:
        """Retain accuracy of the edit, or a bound as soon as all the rest being right would not help; and which."""
        total, at_most, start = len(self.retain_labels), 1.0, 0
        for number, batch in enumerate(self.retain, start=len(self.forget)):
            if is_hopeless(at_most):
                return at_most, False
            truth = self.retain_labels[start : start + len(batch)]
            start += len(batch)
            at_most -= int((_logits(replay, number, edit).argmax(dim=1).numpy() != truth).sum()) / total
        return at_most, True


def _logits(replay: Replay, number: int, weights: Mapping[str, Tensor]) -> Tensor:
    return checked_finite(replay.logits(number, weights).float().cpu(), "the model's outputs")


@contextmanager
def _inputs_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what `module` is called with."""
    seen: list[Tensor] = []
    hook = module.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    try:
        yield seen
    finally:
        hook.remove()


def _least_certain_first(logits: Tensor, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places of the samples by how far the true class is ahead."""
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
