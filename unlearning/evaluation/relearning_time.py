"""How many training steps it takes until a forgotten class is back, and how many a reference needs.

The number of steps is capped: whoever has not relearned the class by then is said to need the cap. Beside a reference
the quotient is the Anamnesis Index of Chundawat et al., "Zero-shot machine unlearning", IEEE TIFS 2023: below 1 the
model still holds what the reference has to learn; far above 1 it resists, which is a trace of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unlearning.errors import EmptySide, ShapeError
from unlearning.evaluation.intervals import resampled_means
from unlearning.evaluation.measure import Measure
from unlearning.evaluation.outcomes import Outcome

BACK = 0.5
"""A class counts as back once this share of the original's accuracy on it is reached."""
RESAMPLES = 1000


@dataclass(frozen=True)
class Course:
    """One relearning, and how it went; never to leave the machine that measured it.

    Attributes:
        name: Name of the attack.
        outcomes: All test samples at the steps asked for.
        best: The watched samples at their best step; nothing where none are watched.
        watched: Indices of the watched test samples (m,).
        steps: Was each of them right after step 1, 2, ...? bool (orders, steps, m).
        seed: Seed of orders and watched samples.
        is_finite: Whether the outputs stayed finite whenever they were looked at. Where they did not, training
            diverged, and that nothing came back says nothing of what was there.
    """

    name: str
    outcomes: tuple[Outcome, ...]
    best: tuple[Outcome, ...]
    watched: NDArray[np.int64]
    steps: NDArray[np.bool_]
    seed: int
    is_finite: bool

    def time(self, before: NDArray[np.bool_]) -> RelearningTime | None:
        """Return how long the classes took to come back.

        Args:
            before: Was each test sample right in the original? bool (n,), in the order of the outcomes'.

        Returns:
            None where nothing was watched, or the original knew none of the watched samples: then nothing can return.
        """
        known = before[self.watched]
        return RelearningTime(self.name, known, self.steps, self.seed) if self.steps.size and known.any() else None


@dataclass(frozen=True)
class RelearningTime:
    """Watched samples, step by step, beside what the original made of them.

    Attributes:
        name: Name of the attack; the measure's is `<name>_steps`.
        before: Was each sample right in the original? bool (m,).
        steps: Was it right after step 1, 2, ...? bool (orders, steps, m).
        seed: Seed of the bootstrap, and of what was drawn before.
    """

    name: str
    before: NDArray[np.bool_]
    steps: NDArray[np.bool_]
    seed: int

    def measure(self) -> Measure:
        """Return the first step at which half of the original's accuracy is back, a mean over orders, at most the cap.

        The interval is a percentile bootstrap over the samples: each resample has its own curve, and its own accuracy
        of the original to reach half of. A curve that swings close below the half is crossed earlier in resamples than
        in the samples; the interval is widened to hold the value.
        """
        (value,), drawn = _needed([self])
        low, high = _around(value, drawn[:, 0])
        return Measure(f"{self.name}_steps", value, low, high, len(self.before), self.seed, "higher")


def relearning_time_ratio(ours: RelearningTime, reference: RelearningTime) -> Measure:
    """Return the steps of the unlearned model over those of the reference: the Anamnesis Index.

    Both numbers of steps are capped: with both at the cap the quotient is 1 and says only that neither came back.

    Args:
        ours: Of the unlearned model.
        reference: Of the reference, on the same samples, orders and steps.

    Returns:
        `<name>_steps_ratio` with a percentile bootstrap interval, its resamples paired by sample.

    Raises:
        ShapeError: the two were not watched alike.
    """
    if ours.steps.shape != reference.steps.shape:
        raise ShapeError("two relearnings", f"{reference.steps.shape}", ours.steps.shape)
    (one, other), drawn = _needed([ours, reference])
    low, high = _around(one / other, drawn[:, 0] / drawn[:, 1])
    return Measure(f"{ours.name}_steps_ratio", one / other, low, high, len(ours.before), ours.seed, "two-sided")


def _around(value: float, drawn: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return min(value, float(low)), max(value, float(high))


def _needed(times: list[RelearningTime]) -> tuple[list[float], NDArray[np.float64]]:
    """Return the steps that each needed, and the same on resamples of the samples, (resamples, number of times)."""
    orders, steps, m = times[0].steps.shape
    if not m:
        raise EmptySide("watched")
    columns = [times[0].before[None], *(time.steps.reshape(orders * steps, m) for time in times)]
    table = np.concatenate(columns).astype(np.float64).T
    rng = np.random.default_rng([times[0].seed, m])
    shares = np.concatenate([table.mean(axis=0)[None], resampled_means(table, rng, RESAMPLES)])
    reached = shares[:, 1:].reshape(-1, len(times), orders, steps) >= BACK * shares[:, :1, None, None]
    first = np.where(reached.any(axis=3), reached.argmax(axis=3) + 1, steps).mean(axis=2)
    # A resample in which the original knows nothing has nothing that could return.
    drawn = first[1:][shares[1:, 0] > 0]
    return [float(value) for value in first[0]], drawn
