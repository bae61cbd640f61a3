"""Comparisons with a model that was trained without the classes. Differences are unlearned minus reference."""

from functools import partial

from app.audit.meanings.meaning import Group, Meaning

_told = partial(Meaning, group=Group.REFERENCE)
_gap = partial(_told, direction="two-sided", retrained="About 0: two retrained models differ only by chance.")
_ANOTHER_SEED = "A little above 0: models retrained with different seeds differ as well, and less cannot be asked for."
_LOST = "unlearned minus reference."

_ROUTING = _told(
    title="Where forgotten images are sent",
    sentence="Share of the output probability over the remaining classes that goes elsewhere than in the reference, on "
    "images of the deleted classes.",
    direction="lower",
    retrained=_ANOTHER_SEED,
)

MEANINGS: dict[str, Meaning] = {
    "tow": _told(
        title="Tug of war (ToW)",
        sentence="One number for how close the accuracies on deleted, remaining and unseen images all are to the "
        "reference's; 1 means equal.",
        direction="higher",
        retrained="Slightly below 1: accuracies of models retrained with different seeds differ a little.",
    ),
    "probe_gap": _gap(
        title="Linear probe beside the reference",
        sentence=f"What a fresh last layer recovers of the deleted classes: {_LOST}",
        attack="a linear probe on the last features",
    ),
    "early_probe_gap": _gap(
        title="Earlier probe beside the reference",
        sentence=f"What a fresh layer recovers of the deleted classes one stage earlier: {_LOST}",
        attack="a linear probe on earlier features",
    ),
    "aligned_head_gap": _gap(
        title="Old last layer behind a linear map, beside the reference",
        sentence="What the original's last layer recovers of the deleted classes once a linear map, fitted on images "
        f"of the other classes, has led the new features to the old ones: {_LOST}",
        attack="the original's last layer put back behind a linear map from the new features to the old ones",
    ),
    "few_shot_gap": _gap(
        title="Few-shot recovery beside the reference",
        sentence=f"What class centres made of a few images recover of the deleted classes: {_LOST}",
        attack="class centres made of a few images",
    ),
    "prototype_gap": _gap(
        title="Prototype attack beside the reference",
        sentence=f"What prototypes written into the last layer recover of the deleted classes: {_LOST}",
        attack="prototypes written into the last layer",
    ),
    "relearning_gap": _gap(
        title="Relearning of all weights beside the reference",
        sentence="What a few training steps on all weights bring back of the deleted classes, their rows of the last "
        f"layer made neutral first: {_LOST}",
        attack="relearning of all weights",
    ),
    "relearning_head_gap": _gap(
        title="Relearning of the last layer beside the reference",
        sentence="What a few training steps on the last layer alone bring back of the deleted classes, their rows made "
        f"neutral first: {_LOST}",
        attack="relearning of the last layer alone",
    ),
    "retain_accuracy_gap": _gap(
        title="Retain accuracy beside the reference",
        sentence=f"Accuracy on the test images of the classes that stay: {_LOST}",
    ),
    "routing_distance": _ROUTING,
    "routing_total_variation": _ROUTING,
    "routing_jensen_shannon": _told(
        title="Where forgotten images are sent (Jensen-Shannon)",
        sentence="Jensen-Shannon divergence, in bits, between the outputs over the remaining classes and the "
        "reference's, on images of the deleted classes.",
        direction="lower",
        retrained=_ANOTHER_SEED,
    ),
    "js_distance": _told(
        title="Distance of the outputs (Jensen-Shannon)",
        sentence="Jensen-Shannon divergence, in bits, between the outputs and the reference's on images of the deleted "
        "classes.",
        direction="lower",
        retrained=_ANOTHER_SEED,
    ),
    "activation_distance": _told(
        title="Distance of the outputs (Euclidean)",
        sentence="Mean Euclidean distance between the output probabilities and the reference's on images of the "
        "deleted classes.",
        direction="lower",
        retrained=_ANOTHER_SEED,
    ),
    "cka_reference": _told(
        title="Likeness of the features (CKA)",
        sentence="How alike the features of forgotten images are to the reference's, up to rotation and scale; 1 means "
        "equal.",
        direction="higher",
        retrained="Below 1: models retrained with different seeds have different features, most of all deep ones.",
    ),
    "cka_original_retained": _told(
        title="Likeness of the features of the other classes to the original's (CKA)",
        sentence="How alike the features of images of the classes that stay are to the original's, up to rotation and "
        "scale; 1 means equal.",
        direction="higher",
        retrained="Below 1: it was trained separately.",
    ),
    "cka_original_forgotten": _told(
        title="Likeness of the features of forgotten images to the original's (CKA)",
        sentence="How alike the features of images of the deleted classes are to the original's, up to rotation and "
        "scale; 1 means equal.",
        direction="two-sided",
        retrained="Clearly below 1, and lower than for the classes that stay.",
    ),
    "idi": _told(
        title="Information difference index (IDI)",
        sentence="Which share of the readable information about the deleted classes is left: 1 as in the original, 0 "
        "as in the reference, below 0 less than even that.",
        direction="two-sided",
        retrained="About 0: two retrained models differ only by chance.",
        attack="probes for the deleted classes at several layers",
    ),
    "information_gap": _told(
        title="Readable information beside the reference",
        sentence="Bits about the deleted classes that probes read from the features above what they read from the "
        "reference's.",
        direction="two-sided",
        retrained="About 0: two retrained models differ only by chance.",
        attack="probes for the deleted classes at several layers",
    ),
    "forget_max_probability_gap": _gap(
        title="Confidence on the deleted classes beside the reference",
        sentence=f"Largest output probability on images of the deleted classes: {_LOST}",
    ),
    "forget_entropy_gap": _gap(
        title="Indecision on the deleted classes beside the reference",
        sentence=f"Entropy of the outputs on images of the deleted classes: {_LOST}",
    ),
}
