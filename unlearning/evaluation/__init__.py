"""Measuring a classifier before and after: accuracies, the membership attack, the paper's score, and controls.

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
from unlearning.evaluation.controls import last_layer, last_layer_back, mask_bias
from unlearning.evaluation.measure import Measure
from unlearning.evaluation.membership import membership_auc, membership_measures, membership_scores
from unlearning.evaluation.svc_score import svc_score

__all__ = [
    "Measure",
    "accuracy_measures",
    "confusion_matrix",
    "last_layer",
    "last_layer_back",
    "mask_bias",
    "membership_auc",
    "membership_measures",
    "membership_scores",
    "paired_drop",
    "predict_logits",
    "svc_score",
    "wilson_interval",
]
