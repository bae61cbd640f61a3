"""The ground of the self-test: scikit-learn's bundled digits, trained as the demonstration trains them."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from cli.demo import training
from cli.demo.digits import LABELS, MEAN, SIDE, STD, Digits, Split, load_digits
from cli.selftest.controls import MUST_FAIL, Control, Expected, original, retrained_controls
from cli.selftest.gate import Row, Trial, judged, measured
from cli.selftest.ground import Ground
from cli.selftest.service import service_default
from core.policy.policies import TestName
from models_store.architectures import build, initialise
from models_store.datasets import ImageSet
from models_store.input_spec import InputSpec
from worker.pipeline.data import Images

SPEC = InputSpec(height=SIDE, width=SIDE, channels=1, mean=(MEAN,), std=(STD,))
NUM_RETRAINED = 3
NOISE = 180.0
"""Standard deviation of the noise on the images that are learned by heart, of 255. Nothing but the noise tells one such
image from its like, so who recognises one has seen it."""
BY_HEART_EPOCHS, BY_HEART_BATCH, BY_HEART_RATE = 20, 64, 2e-3
ALONE = (
    *MUST_FAIL,
    *retrained_controls(NUM_RETRAINED),
    Control("the service's default", Expected.REPORTED, service_default),
)
BY_HEART = (
    Control("learned by heart", Expected.FAIL, original),
    Control("the same without the class", Expected.PASS, retrained_controls(1)[0].make),
)
"""The pair that the membership attack has to tell apart."""

Watch = Callable[[str], None]


def trials(digit: int, seed: int, watch: Watch) -> Iterator[Trial]:
    """All controls for one digit, then the pair that tells whether the membership attack works at all."""
    digits = load_digits(seed)
    watch("training the original")
    trained = training.fitted(digits.train, seed, _nobody)
    without = []
    for number in range(1, NUM_RETRAINED + 2):
        watch(f"training without the digit, {number} of {NUM_RETRAINED + 1}")
        without.append(training.fitted(_without(digits.train, digit), seed + number, _nobody))
    ground = _ground(digits, digit, seed, trained, tuple(without[:-1]), without[-1])
    yield Trial(ground, ALONE)
    yield learned_by_heart(digits, digit, seed, watch)


def judged_digits(digit: int, seed: int, watch: Watch) -> list[Row]:
    """Every control for one digit, judged.

    Args:
        digit: the class to be deleted.
        seed: of split, training and everything else.
        watch: is told what comes next.
    """
    return [
        judged(control, evidence, trial.only)
        for trial in trials(digit, seed, watch)
        for control, evidence in measured(trial, watch)
    ]


def learned_by_heart(digits: Digits, digit: int, seed: int, watch: Watch) -> Trial:
    """An original that leaks its training images, and one trained the same way without the digit.

    They are judged by the membership attack alone: with so much noise nothing else about them is of interest.
    """
    watch("learning noisy digits by heart")
    noisy = Digits(_noisy(digits.train, seed, 0), _noisy(digits.test, seed, 1))
    leaking = _by_heart(noisy.train, seed)
    retrained = _by_heart(_without(noisy.train, digit), seed + 1)
    ground = _ground(noisy, digit, seed, leaking, (retrained,), retrained)
    return Trial(ground, BY_HEART, frozenset({TestName.MEMBERSHIP_AUC}))


def _ground(
    digits: Digits, digit: int, seed: int, trained: nn.Module, retrained: tuple[nn.Module, ...], reference: nn.Module
) -> Ground:
    train, test = (Images.whole(ImageSet(split.x, split.y), SPEC) for split in (digits.train, digits.test))
    return Ground(trained, train, test, digit, len(LABELS), retrained, reference, seed)


def _without(split: Split, digit: int) -> Split:
    kept = split.y != digit
    return Split(split.x[kept], split.y[kept])


def _noisy(split: Split, seed: int, stream: int) -> Split:
    noise = np.random.default_rng([seed, stream]).normal(0, NOISE, split.x.shape)
    return Split(np.clip(split.x + noise, 0, 255).astype(np.uint8), split.y)


def _by_heart(split: Split, seed: int) -> nn.Module:
    """The demonstration's network, trained without anything that keeps it from learning single images."""
    generator = torch.Generator().manual_seed(seed)
    network = build(training.ARCHITECTURE, {}, num_classes=len(LABELS), channels=1)
    initialise(network, generator)
    images, labels = training.as_input(split.x), torch.from_numpy(split.y)
    optimiser = torch.optim.AdamW(network.train().parameters(), lr=BY_HEART_RATE)
    for _ in range(BY_HEART_EPOCHS):
        for part in torch.randperm(len(labels), generator=generator).split(BY_HEART_BATCH):
            optimiser.zero_grad()
            functional.cross_entropy(network(images[part]), labels[part]).backward()
            optimiser.step()
    return network.eval()


def _nobody(_epoch: int, _loss: float) -> None:
    """Nobody looks at the loss here."""
