"""How far a model's outputs are from a reference's on the same samples, over all classes."""

from __future__ import annotations

from torch import Tensor

from unlearning.evaluation.divergences import jensen_shannon, paired_probabilities
from unlearning.evaluation.intervals import mean_measure
from unlearning.evaluation.measure import Measure


def js_distance(logits: Tensor, reference: Tensor, *, name: str = "js_distance") -> Measure:
    """Return the mean Jensen-Shannon divergence of the two softmax outputs, over all K classes, in bits.

    JS(p, q) = H((p + q) / 2) - (H(p) + H(q)) / 2 per sample, and the mean over samples. (A mean over samples and
    classes, which a library's default reduction may be, shrinks with the number of classes.) `routing_distance` is the
    same over the retained classes alone.

    Args:
        logits: Outputs (n, K) of the model that is judged.
        reference: Outputs (n, K) of the reference.
        name: Name of the measure.

    Returns:
        In [0, 1] with the normal interval of a mean; lower is better.
    """
    p, q = paired_probabilities(logits, reference)
    return mean_measure(name, jensen_shannon(p, q), direction="lower")


def activation_distance(logits: Tensor, reference: Tensor, *, name: str = "activation_distance") -> Measure:
    """Return the mean over samples of the Euclidean distance of the two softmax outputs, in [0, sqrt 2].

    "Activation" in the literature's sense: of the final, softmaxed outputs, not of the features, whose axes two
    networks do not share.

    Args:
        logits: Outputs (n, K) of the model that is judged.
        reference: Outputs (n, K) of the reference.
        name: Name of the measure.

    References:
        Golatkar, Achille, Soatto, "Eternal sunshine of the spotless net", CVPR 2020; Chundawat et al., "Can bad
        teaching induce forgetting?", AAAI 2023.
    """
    p, q = paired_probabilities(logits, reference)
    return mean_measure(name, (p - q).norm(dim=1), direction="lower", within=(0.0, 2**0.5))
