"""Gathering an audit: from the records of all shadow models to every measure by name.

Pure: nothing is read or written, and the order in which records arrive changes nothing. A measure that cannot be taken
is absent with its reason; records that do not belong together are refused as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

import numpy as np

from unlearning.errors import UnlearningError
from unlearning.evaluation.audit.challenge import Windows
from unlearning.evaluation.audit.confidences import Matrix
from unlearning.evaluation.audit.findings import Findings
from unlearning.evaluation.audit.klom import klom_measures
from unlearning.evaluation.audit.quality import Accuracies, challenge_measures
from unlearning.evaluation.audit.records import ShadowRecord
from unlearning.evaluation.audit.resampling import RESAMPLES
from unlearning.evaluation.audit.rmia import rmia_measures
from unlearning.evaluation.audit.ulira import u_lira_measures


class RecordsDoNotFit(UnlearningError):
    """The records are not of one audit: other samples, other labels, or a model that occurs twice."""

    def __init__(self, what: str) -> None:
        super().__init__(f"Expected records of different models on the same samples: {what}.")


@dataclass(frozen=True)
class Shadows:
    """Records that belong together, each population in the order of its indices.

    Attributes:
        unlearned: Records of models trained with the forget classes, then unlearned.
        retrained: Records of models trained without them.
        released: The record of the model that is about to be released; None when it was not measured.
    """

    unlearned: tuple[ShadowRecord, ...]
    retrained: tuple[ShadowRecord, ...]
    released: ShadowRecord | None

    @classmethod
    def of(cls, records: Iterable[ShadowRecord]) -> Shadows:
        """Sort records into populations.

        Args:
            records: In any order.

        Raises:
            RecordsDoNotFit: samples or labels differ, an index or a seed occurs twice (seeds must differ between the
                populations too, or a target would have a twin among the models that teach the attack), two models of a
                population have the same outputs, there is more than one released model, or no shadow model.
        """
        given = sorted(records, key=lambda record: record.index)
        unlearned, retrained, released = (
            tuple(one for one in given if one.population == name) for name in ("unlearned", "retrained", "released")
        )
        if not (unlearned or retrained):
            raise RecordsDoNotFit("there is no shadow model")
        if len(released) > 1:
            raise RecordsDoNotFit(f"there are {len(released)} released models")
        for other in given[1:]:
            _refuse_other_samples(given[0], other)
        for side in (unlearned, retrained):
            _refuse_repeated("index", [(one.population, one.index) for one in side])
            if len({one.logits.tobytes() for one in side}) < len(side):
                raise RecordsDoNotFit(f"two {side[0].population} models have the same outputs")
        _refuse_repeated("seed", [one.seed for one in (*unlearned, *retrained)])
        return cls(unlearned, retrained, next(iter(released), None))

    def confidences(self) -> tuple[Matrix, Matrix]:
        """Return phi of both populations on the samples under audit, (N, n) and (N', n)."""
        n = len((*self.unlearned, *self.retrained)[0].logits)
        unlearned, retrained = (
            np.array([one.phi for one in side]).reshape(-1, n) for side in (self.unlearned, self.retrained)
        )
        return unlearned, retrained

    def population_confidences(self) -> tuple[Matrix, Matrix]:
        """Return phi of both populations on the population samples, (N, m) and (N', m)."""
        m = len((*self.unlearned, *self.retrained)[0].z_logits)
        unlearned, retrained = (
            np.array([one.z_phi for one in side]).reshape(-1, m) for side in (self.unlearned, self.retrained)
        )
        return unlearned, retrained

    def accuracies(self) -> Accuracies:
        """Return retain and test accuracy of all shadow models."""
        unlearned, retrained = (
            np.array([[one.retain_accuracy, one.test_accuracy] for one in side]).reshape(-1, 2)
            for side in (self.unlearned, self.retrained)
        )
        return Accuracies(unlearned, retrained)


def gather(
    records: Iterable[ShadowRecord],
    *,
    seed: int,
    gamma: float = 1.0,
    windows: Windows = "all",
    resamples: int = RESAMPLES,
) -> Findings:
    """Return every measure of the audit tier.

    Args:
        records: Of all shadow models, at least 4 of each population, and of the released model if it is to be measured;
            in any order.
        seed: Seed of everything that is drawn.
        gamma: Of RMIA.
        windows: Of the challenge's metric, see `challenge_epsilons`.
        resamples: Resamples behind each interval.

    Returns:
        The measures of `u_lira_measures`, `rmia_measures`, `klom_measures` and `challenge_measures`. What one of them
        refuses (too few models or samples) is absent by its main names, with the refusal as the reason.

    Raises:
        RecordsDoNotFit: the records are not of one audit.
    """
    shadows = Shadows.of(records)
    u, r = shadows.confidences()
    u_z, r_z = shadows.population_confidences()
    last = shadows.released
    options: dict[str, int] = {"seed": seed, "resamples": resamples}
    attempts: tuple[tuple[tuple[str, ...], Callable[[], Findings]], ...] = (
        (("u_lira_auc",), lambda: u_lira_measures(u, r, released=last.phi if last else None, **options)),
        (
            ("rmia_auc",),
            lambda: rmia_measures(
                u, r, u_z, r_z, released=(last.phi, last.z_phi) if last else None, gamma=gamma, **options
            ),
        ),
        (("klom", "klom_excess"), lambda: klom_measures(u, r, **options)),
        (
            ("challenge_epsilon", "challenge_quality", "challenge_score"),
            lambda: challenge_measures(u, r, accuracies=shadows.accuracies(), windows=windows, **options),
        ),
    )
    found = Findings()
    for names, attempt in attempts:
        found = found.joined(_attempted(names, attempt))
    return found


def _attempted(names: tuple[str, ...], attempt: Callable[[], Findings]) -> Findings:
    try:
        return attempt()
    except UnlearningError as error:
        return Findings((), dict.fromkeys(names, str(error)))


def _refuse_other_samples(first: ShadowRecord, other: ShadowRecord) -> None:
    if first.samples != other.samples:
        raise RecordsDoNotFit(f"one is of the samples {first.samples!r}, another of {other.samples!r}")
    for name in ("labels", "z_labels"):
        if not np.array_equal(getattr(first, name), getattr(other, name)):
            raise RecordsDoNotFit(f"the {name} of {other.population} model {other.index} differ from the others'")
    for name in ("logits", "z_logits"):
        if getattr(first, name).shape != getattr(other, name).shape:
            raise RecordsDoNotFit(f"the {name} of {other.population} model {other.index} have another shape")


def _refuse_repeated(what: str, values: Iterable[Hashable]) -> None:
    counted = Counter(values)
    if twice := [value for value, count in counted.items() if count > 1]:
        raise RecordsDoNotFit(f"the {what} {twice[0]} occurs {counted[twice[0]]} times")
