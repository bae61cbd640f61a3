"""Every way back in one call: what of the forgotten classes returns, and at what price.

    measure                                    what is done to the unlearned model
    last_layer_back_forget_accuracy            the original's last layer is put on it
    classifier_back_forget_accuracy            the original's whole classifier is put on it
    probe_forget_accuracy                      a fresh linear head is fitted on its frozen features
    few_shot_<k>_forget_accuracy               class centres of k images each
    relearn_last_<t>_forget_accuracy           t SGD steps on the last layer
    relearn_last_after_reset_<t>_...           the same after the forgotten rows of the last layer are made neutral
    relearn_all_<t>_forget_accuracy            t SGD steps on all weights
    relearn_all_after_reset_<t>_...            the same after that reset
    relearn_<...>_best_<t>_...                 the same at the best of the first t steps, when samples are watched

All are accuracies on the forgotten classes' test samples; lower is better, down to the retrained model's values.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from unlearning.checks import checked_classes, checked_labels
from unlearning.errors import EmptySide, OptionOutOfRange, ShapeError
from unlearning.evaluation.accuracy import predict_logits
from unlearning.evaluation.controls import classifier_back, last_layer, last_layer_back
from unlearning.evaluation.features import Trace, trace
from unlearning.evaluation.measure import Measure
from unlearning.evaluation.probes import PROBE_L2, Labels, few_shot, fit_probe, probe_accuracy, share_measure
from unlearning.evaluation.relearning import STEPS, relearning_measures, reset_head

RELEARNINGS = ("last", "last_after_reset", "all", "all_after_reset")
ATTACKS = ("last_layer_back", "classifier_back", "probe", "few_shot", *RELEARNINGS)


@dataclass(frozen=True)
class Attacker:
    """What the one who wants the classes back has: some training images of all classes, and the original's weights.

    Attributes:
        inputs: Training samples (n, ...), the forgotten classes among them; 200 per class are the tables' choice.
        labels: Their classes.
        original: The model before unlearning.
    """

    inputs: Tensor
    labels: Labels
    original: nn.Module


def recovery_measures(
    model: nn.Module,
    attacker: Attacker,
    test: tuple[Tensor, Labels],
    classes: Collection[int],
    *,
    attacks: Collection[str] = ATTACKS,
    shots: Sequence[int] = (1, 5, 10, 50),
    steps: Sequence[int] = (STEPS,),
    watched: int = 0,
    orders: int = 1,
    l2: float = PROBE_L2,
    batch_size: int = 256,
    seed: int,
) -> tuple[Measure, ...]:
    """Return how much of the forgotten classes each attack brings back.

    The features are computed once for probe, prototypes and relearning of the last layer.

    Args:
        model: The unlearned model; not changed.
        attacker: See there.
        test: Test samples and their classes; only those of `classes` are looked at.
        classes: The forgotten classes (all of them, after several requests).
        attacks: Which to run, of `ATTACKS`; relearning all weights is by far the dearest.
        shots: Images per class of the prototypes.
        steps: After how many SGD steps to look; 0 is allowed.
        watched: Test samples that are looked at after every step, for the best one; 0 leaves it out.
        orders: Orders of the training samples that relearning is averaged over.
        l2: Penalty of the probe.
        batch_size: Samples per forward.
        seed: Seed of the prototypes' images and of the training orders.

    Returns:
        The measures, in the order of the module's table.

    Raises:
        OptionOutOfRange: an attack is unknown.
        EmptySide: there is no test sample of the classes.

    Note:
        Errors of the parts pass through.
    """
    if unknown := set(attacks) - set(ATTACKS):
        raise OptionOutOfRange("attacks", f"among {list(ATTACKS)}", sorted(unknown))
    siege = _Siege.of(model, attacker, test, classes, batch_size)
    found: list[Measure] = []
    if "last_layer_back" in attacks:
        restored = last_layer_back(model, attacker.original, siege.x_test)
        found.append(siege.accuracy(restored, "last_layer_back"))
    if "classifier_back" in attacks:
        restored = classifier_back(model, attacker.original, siege.x_test)
        found.append(siege.accuracy(restored, "classifier_back"))
    if "probe" in attacks:
        probe = fit_probe(siege.features, siege.labels, num_classes=siege.num_classes, l2=l2)
        found.append(probe_accuracy(probe, siege.test_features, siege.y_test))
    if "few_shot" in attacks:
        train = siege.features, siege.labels
        found += few_shot(train, (siege.test_features, siege.y_test), siege.classes, shots=shots, seed=seed)
    for kind in RELEARNINGS:
        if kind in attacks:
            found += siege.relearning(kind, steps, watched, orders, seed)
    return tuple(found)


@dataclass(frozen=True)
class _Siege:
    """The model with everything that several attacks need, computed once."""

    model: nn.Module
    last: str
    x: Tensor
    labels: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: tuple[int, ...]
    train: Trace
    test: Trace
    batch_size: int

    @classmethod
    def of(
        cls,
        model: nn.Module,
        attacker: Attacker,
        test: tuple[Tensor, Labels],
        classes: Collection[int],
        batch_size: int,
    ) -> _Siege:
        labels, y_test = (torch.from_numpy(checked_labels(vector)) for vector in (attacker.labels, test[1]))
        for inputs, vector in ((attacker.inputs, labels), (test[0], y_test)):
            if len(inputs) != len(vector):
                raise ShapeError("labels", f"({len(inputs)},)", vector.shape)
        chosen = torch.from_numpy(np.flatnonzero(np.isin(y_test.numpy(), list(classes))))
        if not len(chosen):
            raise EmptySide("forget test")
        x_test, y_test = test[0][chosen], y_test[chosen]
        last = last_layer(model, x_test)
        run = partial(trace, model, modules=[last], batch_size=batch_size)
        train, tested = run(attacker.inputs), run(x_test)
        wanted = checked_classes(classes, train.logits.shape[1])
        return cls(model, last, attacker.inputs, labels, x_test, y_test, wanted, train, tested, batch_size)

    @property
    def num_classes(self) -> int:
        return self.train.logits.shape[1]

    @property
    def features(self) -> Tensor:
        return self.train.features[self.last]

    @property
    def test_features(self) -> Tensor:
        return self.test.features[self.last]

    def accuracy(self, model: nn.Module, name: str) -> Measure:
        logits = predict_logits(model, self.x_test, batch_size=self.batch_size)
        return share_measure(logits.argmax(dim=1) == self.y_test, f"{name}_forget_accuracy")

    def relearning(self, kind: str, steps: Sequence[int], watched: int, orders: int, seed: int) -> tuple[Measure, ...]:
        model = reset_head(self.model, self.last, self.classes) if kind.endswith("after_reset") else self.model
        x, x_test, only = self.x, self.x_test, None
        if kind.startswith("last"):
            only = [self.last]
            if self._last_is_all_that_follows:
                # Frozen features need no second forward: the last layer alone is the model.
                model, only = model.get_submodule(self.last), None
                x, x_test = self.features, self.test_features
        train, test = (x, self.labels), (x_test, self.y_test)
        name = f"relearn_{kind}"
        return relearning_measures(
            model, train, test, name=name, at_steps=steps, only=only, watched=watched, orders=orders, seed=seed
        )

    @property
    def _last_is_all_that_follows(self) -> bool:
        """Whether the outputs are what the last layer makes of the features, unchanged."""
        head = self.model.get_submodule(self.last)
        if not isinstance(head, nn.Linear):
            return False
        again = predict_logits(head, self.test_features[:16])
        return torch.allclose(again, self.test.logits[:16], rtol=1e-4, atol=1e-4)
