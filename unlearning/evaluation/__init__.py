"""Measuring a classifier before and after: accuracies, membership, the paper's score, recovery, routing, controls.

Every measure says its value, its interval, how many samples it stands on, its seed and which direction is good. Which
of them decide, and with what margins, is the caller's policy.
"""

from unlearning.evaluation.accuracy import (
    accuracy_measures,
    confusion_matrix,
    paired_drop,
    predict_logits,
    wilson_interval,
)
from unlearning.evaluation.controls import (
    classifier_back,
    classifier_layers,
    last_layer,
    last_layer_back,
    mask_bias,
)
from unlearning.evaluation.features import Trace, trace
from unlearning.evaluation.measure import Measure
from unlearning.evaluation.membership import membership_auc, membership_measures, membership_scores
from unlearning.evaluation.probes import LinearProbe, few_shot, fit_probe, probe_accuracy
from unlearning.evaluation.recovery import Attacker, recovery_measures
from unlearning.evaluation.relearning import relearned, relearning_measures, reset_head
from unlearning.evaluation.routing import retained_probabilities, routing_distance, routing_table
from unlearning.evaluation.svc_score import svc_score

__all__ = [
    "Attacker",
    "LinearProbe",
    "Measure",
    "Trace",
    "accuracy_measures",
    "classifier_back",
    "classifier_layers",
    "confusion_matrix",
    "few_shot",
    "fit_probe",
    "last_layer",
    "last_layer_back",
    "mask_bias",
    "membership_auc",
    "membership_measures",
    "membership_scores",
    "paired_drop",
    "predict_logits",
    "probe_accuracy",
    "recovery_measures",
    "relearned",
    "relearning_measures",
    "reset_head",
    "retained_probabilities",
    "routing_distance",
    "routing_table",
    "svc_score",
    "trace",
    "wilson_interval",
]
