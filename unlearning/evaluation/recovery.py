"""Every way back in one call: what of the forgotten classes returns, and at what price.

    measure                                    what is done to the unlearned model
    last_layer_back_forget_accuracy            the original's last layer is put on it
    classifier_back_forget_accuracy            the original's whole classifier is put on it
    bias_zeroed_forget_accuracy                the forgotten classes' biases in its last layer become 0
    probe_forget_accuracy                      a fresh linear head is fitted on its frozen features
    early_probe_forget_accuracy                the same one stage earlier, see `early_stage`
    few_shot_<k>_forget_accuracy               class centres of k images each
    prototype_forget_accuracy                  the last layer's forgotten rows are made from 5 images each
    relearn_last_<t>_forget_accuracy           t SGD steps on the last layer
    relearn_last_after_reset_<t>_...           the same after the forgotten rows of the last layer are made neutral
    relearn_all_<t>_forget_accuracy            t SGD steps on all weights
    relearn_all_after_reset_<t>_...            the same after that reset
    relearn_<...>_best_<t>_...                 the same at the best of the first t steps, when samples are watched

All are accuracies on the forgotten classes' test samples; lower is better, down to the retrained model's values. What
both models make of each sample is in the outcomes, from which `recovery_gaps` makes the paired differences.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import Tensor, nn

from unlearning.errors import OptionOutOfRange
from unlearning.evaluation.controls import classifier_back, last_layer_back
from unlearning.evaluation.few_shot import SHOTS, few_shot_outcomes
from unlearning.evaluation.measure import Measure
from unlearning.evaluation.neutral import has_bias, zero_bias
from unlearning.evaluation.outcomes import Outcome
from unlearning.evaluation.probes import PROBE_L2, Labels
from unlearning.evaluation.relearning import STEPS
from unlearning.evaluation.siege import Attacker, Siege

RELEARNINGS = ("last", "last_after_reset", "all", "all_after_reset")
ATTACKS = (
    "last_layer_back",
    "classifier_back",
    "bias_zeroed",
    "probe",
    "early_probe",
    "few_shot",
    "prototype",
    *RELEARNINGS,
)


def recovery_measures(
    model: nn.Module,
    attacker: Attacker,
    test: tuple[Tensor, Labels],
    classes: Collection[int],
    *,
    attacks: Collection[str] = ATTACKS,
    shots: Sequence[int] = SHOTS,
    steps: Sequence[int] = (STEPS,),
    watched: int = 0,
    orders: int = 1,
    l2: float = PROBE_L2,
    batch_size: int = 256,
    seed: int,
) -> tuple[Measure, ...]:
    """Return how much of the forgotten classes each attack brings back.

    The features are computed once for probes, prototypes and relearning of the last layer.

    Args:
        model: The unlearned model; not changed.
        attacker: See there.
        test: Test samples and their classes; only those of `classes` are looked at.
        classes: The forgotten classes (all of them, after several requests).
        attacks: Which to run, of `ATTACKS`; relearning all weights is by far the dearest.
        shots: Images per class of the class centres.
        steps: After how many SGD steps to look; 0 is allowed.
        watched: Test samples that are looked at after every step, for the best one; 0 leaves it out.
        orders: Orders of the training samples that relearning is averaged over.
        l2: Penalty of the probes.
        batch_size: Samples per forward.
        seed: Seed of the prototypes' images and of the training orders.

    Returns:
        The measures, in the order of the module's table. Left out are attacks that the model has no place for: the
        biases of a last layer without any, a probe before the only layer, prototypes where something follows the last
        layer.

    Raises:
        OptionOutOfRange: an attack is unknown.
        EmptySide: there is no test sample of the classes.

    Note:
        Errors of the parts pass through.
    """
    outcomes = recovery_outcomes(
        model,
        attacker,
        test,
        classes,
        attacks=attacks,
        shots=shots,
        steps=steps,
        watched=watched,
        orders=orders,
        l2=l2,
        batch_size=batch_size,
        seed=seed,
    )
    return tuple(outcome.measure() for outcome in outcomes)


def recovery_outcomes(
    model: nn.Module,
    attacker: Attacker,
    test: tuple[Tensor, Labels],
    classes: Collection[int],
    *,
    attacks: Collection[str] = ATTACKS,
    shots: Sequence[int] = SHOTS,
    steps: Sequence[int] = (STEPS,),
    watched: int = 0,
    orders: int = 1,
    l2: float = PROBE_L2,
    batch_size: int = 256,
    seed: int,
) -> tuple[Outcome, ...]:
    """Return what `recovery_measures` measures, sample by sample; for differences between models, see `recovery_gaps`.

    Args:
        model: See `recovery_measures`, as for all others.
        attacker: Equal for the models that are compared, as are test samples and seed.
        test: Test samples and their classes.
        classes: The forgotten classes.
        attacks: Which to run.
        shots: Images per class of the class centres.
        steps: After how many SGD steps to look.
        watched: Test samples that are looked at after every step.
        orders: Orders of the training samples.
        l2: Penalty of the probes.
        batch_size: Samples per forward.
        seed: Seed of images and orders.

    Raises:
        OptionOutOfRange: an attack is unknown.
    """
    if unknown := set(attacks) - set(ATTACKS):
        raise OptionOutOfRange("attacks", f"among {list(ATTACKS)}", sorted(unknown))
    siege = Siege.of(model, attacker, test, classes, is_early="early_probe" in attacks, batch_size=batch_size)
    found = [*_restored(siege, attacker, attacks)]
    if "probe" in attacks:
        found.append(siege.probe(siege.last, "probe", l2))
    if siege.early is not None:
        found.append(siege.probe(siege.early, "early_probe", l2))
    if "few_shot" in attacks:
        train, judged = (siege.features, siege.labels), (siege.test_features, siege.y_test)
        found += few_shot_outcomes(train, judged, siege.classes, shots=shots, seed=seed)
    if "prototype" in attacks:
        found += siege.prototype(seed)
    for kind in RELEARNINGS:
        if kind in attacks:
            course = siege.relearning(kind, steps, watched, orders, seed)
            found += (*course.outcomes, *course.best)
    return tuple(found)


def _restored(siege: Siege, attacker: Attacker, attacks: Collection[str]) -> list[Outcome]:
    """Return what comes back by putting or setting weights, without any training sample."""
    found = []
    if "last_layer_back" in attacks:
        restored = last_layer_back(siege.model, attacker.original, siege.x_test)
        found.append(siege.outputs(restored, "last_layer_back"))
    if "classifier_back" in attacks:
        restored = classifier_back(siege.model, attacker.original, siege.x_test)
        found.append(siege.outputs(restored, "classifier_back"))
    if "bias_zeroed" in attacks and has_bias(siege.model, siege.last):
        found.append(siege.outputs(zero_bias(siege.model, siege.last, siege.classes), "bias_zeroed"))
    return found
