"""The audit tier: unlearning judged over many models trained for the purpose.

One population was trained with the samples and then unlearned, the other was trained without them. Everything here
compares the two by phi, the logit-scaled confidence of the true class: matrices (N models, n samples), float64. Nothing
trains a model; `ShadowRecord` is what a model leaves behind, `gather` turns all records into measures.

An audit is empirical: it says what these attacks found over these models, and guarantees nothing.
"""

from unlearning.evaluation.audit.challenge import challenge_epsilons, forgetting_quality
from unlearning.evaluation.audit.confidences import (
    LEAST_MODELS,
    LEAST_SAMPLES,
    clipped_margin,
    logit_scaled_confidence,
)
from unlearning.evaluation.audit.findings import Findings
from unlearning.evaluation.audit.klom import klom_measures, klom_per_sample
from unlearning.evaluation.audit.quality import Accuracies, challenge_measures
from unlearning.evaluation.audit.records import MalformedRecord, Population, ShadowRecord
from unlearning.evaluation.audit.rmia import rmia_measures
from unlearning.evaluation.audit.shadows import RecordsDoNotFit, Shadows, gather
from unlearning.evaluation.audit.ulira import u_lira_measures

__all__ = [
    "LEAST_MODELS",
    "LEAST_SAMPLES",
    "Accuracies",
    "Findings",
    "MalformedRecord",
    "Population",
    "RecordsDoNotFit",
    "ShadowRecord",
    "Shadows",
    "challenge_epsilons",
    "challenge_measures",
    "clipped_margin",
    "forgetting_quality",
    "gather",
    "klom_measures",
    "klom_per_sample",
    "logit_scaled_confidence",
    "rmia_measures",
    "u_lira_measures",
]
