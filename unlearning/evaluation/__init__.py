"""Measuring a classifier before and after: accuracies, membership, the paper's score, recovery, routing, controls.

Every measure says its value, its interval, how many samples it stands on, its seed and which direction is good. Which
of them decide, and with what margins, is the caller's policy.

    outputs              accuracy, top_k, class_drops, membership, membership_change, svc_score, zrf, calibration
    at the border        over_unlearning
    ways back            recovery: controls, neutral, probes, few_shot, prototype, relearning; stages says where to look
    weights              head, edits
    beside a reference   gaps, tow, routing, distances, cka, information
"""

from unlearning.evaluation.accuracy import (
    accuracy_measures,
    composite_score,
    confusion_matrix,
    mean_of_shares,
    paired_drop,
    predict_logits,
    wilson_interval,
)
from unlearning.evaluation.calibration import calibration_error, confidence_measures, entropy_histogram
from unlearning.evaluation.cka import cka_measures, linear_cka
from unlearning.evaluation.class_drops import accuracy_among, class_drops, nearest_classes, worst_class_drop
from unlearning.evaluation.controls import (
    classifier_back,
    classifier_layers,
    last_layer,
    last_layer_back,
    mask_bias,
)
from unlearning.evaluation.distances import activation_distance, js_distance
from unlearning.evaluation.edits import Edit, edits
from unlearning.evaluation.features import Trace, trace
from unlearning.evaluation.few_shot import few_shot
from unlearning.evaluation.gaps import gap, paired_gap, recovery_gaps, retain_accuracy_gap
from unlearning.evaluation.head import bias_measures, head_outlier
from unlearning.evaluation.information import Readable, idi, information_gap, readable_information
from unlearning.evaluation.measure import Measure
from unlearning.evaluation.membership import membership_auc, membership_measures, membership_scores
from unlearning.evaluation.membership_change import membership_change
from unlearning.evaluation.neutral import reset_head, zero_bias
from unlearning.evaluation.outcomes import Outcome
from unlearning.evaluation.over_unlearning import border_samples, over_unlearning, over_unlearning_measure
from unlearning.evaluation.probes import LinearProbe, fit_probe, probe_accuracy
from unlearning.evaluation.prototype import Prototyped, prototype_attack
from unlearning.evaluation.recovery import recovery_measures, recovery_outcomes
from unlearning.evaluation.relearning import relearned, relearning_course, relearning_measures
from unlearning.evaluation.relearning_time import RelearningTime, relearning_time_ratio
from unlearning.evaluation.routing import retained_probabilities, routing_distance, routing_table
from unlearning.evaluation.siege import Attacker
from unlearning.evaluation.stages import early_stage, stages
from unlearning.evaluation.svc_score import svc_score
from unlearning.evaluation.top_k import top_k_forget_accuracy
from unlearning.evaluation.tow import tow
from unlearning.evaluation.zrf import RandomCopy, random_copy, zrf

__all__ = [
    "Attacker",
    "Edit",
    "LinearProbe",
    "Measure",
    "Outcome",
    "Prototyped",
    "RandomCopy",
    "Readable",
    "RelearningTime",
    "Trace",
    "accuracy_among",
    "accuracy_measures",
    "activation_distance",
    "bias_measures",
    "border_samples",
    "calibration_error",
    "cka_measures",
    "class_drops",
    "classifier_back",
    "classifier_layers",
    "composite_score",
    "confidence_measures",
    "confusion_matrix",
    "early_stage",
    "edits",
    "entropy_histogram",
    "few_shot",
    "fit_probe",
    "gap",
    "head_outlier",
    "idi",
    "information_gap",
    "js_distance",
    "last_layer",
    "last_layer_back",
    "linear_cka",
    "mask_bias",
    "mean_of_shares",
    "membership_auc",
    "membership_change",
    "membership_measures",
    "membership_scores",
    "nearest_classes",
    "over_unlearning",
    "over_unlearning_measure",
    "paired_drop",
    "paired_gap",
    "predict_logits",
    "probe_accuracy",
    "prototype_attack",
    "random_copy",
    "readable_information",
    "recovery_gaps",
    "recovery_measures",
    "recovery_outcomes",
    "relearned",
    "relearning_course",
    "relearning_measures",
    "relearning_time_ratio",
    "reset_head",
    "retain_accuracy_gap",
    "retained_probabilities",
    "routing_distance",
    "routing_table",
    "stages",
    "svc_score",
    "top_k_forget_accuracy",
    "tow",
    "trace",
    "wilson_interval",
    "worst_class_drop",
    "zero_bias",
    "zrf",
]
