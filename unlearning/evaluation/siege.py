"""One unlearned model under attack, with everything that several attacks need, computed once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor, nn

from unlearning.checks import checked_classes, checked_labels
from unlearning.errors import EmptySide, ShapeError
from unlearning.evaluation.accuracy import predict_logits
from unlearning.evaluation.controls import last_layer
from unlearning.evaluation.features import Trace, trace
from unlearning.evaluation.neutral import reset_head
from unlearning.evaluation.outcomes import Outcome, single
from unlearning.evaluation.probes import Labels, fit_probe
from unlearning.evaluation.prototype import prototype_attack
from unlearning.evaluation.relearning import relearning_course
from unlearning.evaluation.relearning_time import Course
from unlearning.evaluation.stages import early_stage


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


@dataclass(frozen=True)
class Siege:
    """The model, its features on the attacker's samples and on the forgotten test samples.

    Attributes:
        model: The unlearned model.
        last: Name of its last layer.
        early: Name of the module whose input the earlier probe reads; None where there is none, or none is asked for.
        x: The attacker's samples.
        labels: Their classes.
        x_test: Test samples of the forgotten classes.
        y_test: Their classes.
        classes: The forgotten classes.
        train: Outputs and features of the attacker's samples.
        test: The same of the test samples.
        batch_size: Samples per forward.
    """

    model: nn.Module
    last: str
    early: str | None
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
        *,
        is_early: bool,
        batch_size: int,
    ) -> Siege:
        """Run the model once over the attacker's and once over the test samples.

        Raises:
            ShapeError: as many labels as samples are needed.
            EmptySide: there is no test sample of the classes.
        """
        labels, y_test = (torch.from_numpy(checked_labels(vector)) for vector in (attacker.labels, test[1]))
        for inputs, vector in ((attacker.inputs, labels), (test[0], y_test)):
            if len(inputs) != len(vector):
                raise ShapeError("labels", f"({len(inputs)},)", vector.shape)
        chosen = torch.from_numpy(np.flatnonzero(np.isin(y_test.numpy(), list(classes))))
        if not len(chosen):
            raise EmptySide("forget test")
        x_test, y_test = test[0][chosen], y_test[chosen]
        last = last_layer(model, x_test)
        # Of the original, so that all models of a comparison are probed at the same place.
        early = early_stage(attacker.original, x_test) if is_early else None
        run = partial(trace, model, modules={last} if early is None else {last, early}, batch_size=batch_size)
        traces = run(attacker.inputs), run(x_test)
        return cls.traced(model, attacker, (x_test, y_test.numpy()), classes, traces, (last, early), batch_size)

    @classmethod
    def traced(
        cls,
        model: nn.Module,
        attacker: Attacker,
        test: tuple[Tensor, Labels],
        classes: Collection[int],
        traces: tuple[Trace, Trace],
        places: tuple[str, str | None],
        batch_size: int,
    ) -> Siege:
        """The same of what was seen already.

        Args:
            model: See the class.
            attacker: See there.
            test: Test samples of the classes alone, and their classes.
            classes: See the class.
            traces: Outputs and features of the attacker's and of the test samples.
            places: `last` and `early`.
            batch_size: See the class.
        """
        labels, y_test = (torch.from_numpy(checked_labels(vector)) for vector in (attacker.labels, test[1]))
        wanted = checked_classes(classes, traces[0].logits.shape[1])
        return cls(model, *places, attacker.inputs, labels, test[0], y_test, wanted, *traces, batch_size)

    @property
    def features(self) -> Tensor:
        """The attacker's samples as the last layer gets them, (n, p)."""
        return self.train.features[self.last]

    @property
    def test_features(self) -> Tensor:
        """The test samples as the last layer gets them, (n, p)."""
        return self.test.features[self.last]

    def outputs(self, model: nn.Module, name: str) -> Outcome:
        """Return what another model, made of this one, puts into their classes."""
        logits = predict_logits(model, self.x_test, batch_size=self.batch_size)
        return single(name, logits.argmax(dim=1) == self.y_test)

    def probe(self, module: str, name: str, l2: float) -> Outcome:
        """Return what a fresh linear head reads from the inputs of a traced module."""
        num_classes = self.train.logits.shape[1]
        probe = fit_probe(self.train.features[module], self.labels, num_classes=num_classes, l2=l2)
        return single(name, probe.logits(self.test.features[module]).argmax(dim=1) == self.y_test)

    def prototype(self, seed: int) -> tuple[Outcome, ...]:
        """Return the prototype attack's outcome; nothing where the last layer's outputs are not the model's."""
        head = self.linear_head
        if head is None:
            return ()
        train, test = (self.features, self.labels), (self.test_features, self.y_test)
        return (prototype_attack(head, train, test, self.classes, seed=seed).forgotten,)

    def relearning(self, kind: str, steps: Sequence[int], watched: int, orders: int, seed: int) -> Course:
        """Return what training brings back; `kind` is one of `recovery.RELEARNINGS`."""
        model = reset_head(self.model, self.last, self.classes) if kind.endswith("after_reset") else self.model
        x, x_test, only = self.x, self.x_test, None
        if kind.startswith("last"):
            only = [self.last]
            if self.linear_head is not None:
                # Frozen features need no second forward: the last layer alone is the model.
                model, only = model.get_submodule(self.last), None
                x, x_test = self.features, self.test_features
        train, test = (x, self.labels), (x_test, self.y_test)
        name = f"relearn_{kind}"
        return relearning_course(
            model, train, test, name=name, at_steps=steps, only=only, watched=watched, orders=orders, seed=seed
        )

    @cached_property
    def linear_head(self) -> nn.Linear | None:
        """The last layer, if it is a Linear and the outputs are what it makes of the features, unchanged."""
        head = self.model.get_submodule(self.last)
        if not isinstance(head, nn.Linear):
            return None
        again = predict_logits(head, self.test_features[:16])
        return head if torch.allclose(again, self.test.logits[:16], rtol=1e-4, atol=1e-4) else None
