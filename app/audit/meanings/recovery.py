"""Ways back: what an attacker who holds the weights can bring back, and with what."""

from functools import partial

from app.audit.meanings.meaning import Group, Meaning

_told = partial(Meaning, group=Group.RECOVERY, direction="lower")
_NOT_BLANK = (
    "Well above chance: a network reads much of a class it never saw by what it learned from the others, so only the "
    "difference from a reference counts."
)
_OTHER_FEATURES = "Low: the original's layer does not fit features that were trained separately."

_DISCOUNT = "as a part of the original's own, discounted by what that model can no longer do with the other classes"

MEANINGS: dict[str, Meaning] = {
    "restored_head_forget_accuracy": _told(
        title="What the old last layer, put back, recovers",
        sentence="Share of the deleted classes' test images recognised when the original's last layer reads the new "
        f"features, {_DISCOUNT}: whether the knowledge was only hidden behind the last layer.",
        retrained=_OTHER_FEATURES,
        attack="the original's last layer put back",
    ),
    "restored_classifier_forget_accuracy": _told(
        title="What the old classifier, put back, recovers",
        sentence="Share of the deleted classes' test images recognised when the original's whole classifier, not its "
        f"last layer alone, reads the new features, {_DISCOUNT}.",
        retrained=_OTHER_FEATURES,
        attack="the original's whole classifier put back",
    ),
    "realigned_head_forget_accuracy": _told(
        title="What the old last layer recovers from features turned back, in a working model",
        sentence="Share of the deleted classes' test images recognised when the original's last layer reads the new "
        "features behind a linear map, fitted on images of the other classes, that leads them to where the old ones "
        f"were, {_DISCOUNT}: whether the knowledge was only moved or turned.",
        retrained="From nothing to a third; up to 0.6 where training began with the original's first weights.",
        attack="the original's last layer put back behind a linear map from the new features to the old ones",
    ),
    "aligned_head_forget_accuracy": _told(
        title="What the old last layer recovers from features turned back",
        sentence="Share of the deleted classes' test images recognised when the original's last layer reads the new "
        "features after a linear map, fitted on images of the other classes, has led them to where the old ones were: "
        "whether the knowledge was only moved.",
        retrained="From nothing to a good part, by how the model was trained, so only the difference from a reference "
        "counts.",
        attack="the original's last layer put back behind a linear map from the new features to the old ones",
    ),
    "last_layer_back_forget_accuracy": _told(
        title="Forget accuracy with the old last layer put back",
        sentence="Share of the deleted classes' test images recognised when the original's last layer reads the new "
        "features, however little else that model can do.",
        retrained="Anything: foreign features may all fall on one class, and it may be a deleted one.",
        attack="the original's last layer put back",
    ),
    "classifier_back_forget_accuracy": _told(
        title="Forget accuracy with the old classifier put back",
        sentence="Share of the deleted classes' test images recognised when the original's whole classifier reads the "
        "new features, however little else that model can do.",
        retrained="Anything: foreign features may all fall on one class, and it may be a deleted one.",
        attack="the original's whole classifier put back",
    ),
    "bias_zeroed_forget_accuracy": _told(
        title="Forget accuracy with the deleted classes' biases set to 0",
        sentence="Share of the deleted classes' test images recognised once their biases in the last layer are 0: "
        "whether they were merely pushed down.",
        retrained="Low, though not always 0: their rows of the last layer have never seen an image of theirs.",
        attack="the deleted classes' biases set to 0",
    ),
    "probe_forget_accuracy": _told(
        title="What a fresh last layer recovers (linear probe)",
        sentence="Share of the deleted classes' test images recognised by a new last layer that is fitted, with "
        "training images of all classes, on the frozen features.",
        retrained=_NOT_BLANK,
        attack="a linear probe on the last features",
    ),
    "early_probe_forget_accuracy": _told(
        title="What a fresh layer recovers one stage earlier",
        sentence="Share of the deleted classes' test images recognised by a new layer that is fitted on the frozen "
        "features before the classifier, where an edit of the last layers changes nothing.",
        retrained=_NOT_BLANK,
        attack="a linear probe on earlier features",
    ),
    "prototype_forget_accuracy": _told(
        title="What writing prototypes into the last layer recovers",
        sentence="Share of the deleted classes' test images recognised once their rows of the last layer are made from "
        "the mean features of a few images, without any training.",
        retrained=_NOT_BLANK,
        attack="prototypes written into the last layer",
    ),
    "prototype_retain_accuracy_drop": _told(
        title="What that attack costs the classes that stay",
        sentence="Loss of accuracy on the classes that stay when prototypes are written into the last layer: how "
        "visible the attack would be.",
        retrained="A few points at most, as for every network.",
    ),
}


def few_shot(shots: str) -> Meaning:
    """Accuracy of class centres made of `shots` images."""
    images = "one image" if shots == "1" else f"{shots} images"
    return _told(
        title=f"What {images} of a class recover{'s' if shots == '1' else ''}",
        sentence=f"Share of the deleted classes' test images that lie closest to a class centre made of {images}, "
        "without any training.",
        retrained=_NOT_BLANK,
        attack="class centres made of a few images",
    )


_LAYERS = {"last": "the last layer alone", "all": "all weights"}
_RESET = ", its rows of the deleted classes made neutral first"


def relearning(what: str, is_reset: bool, best: bool, steps: str) -> Meaning:
    """Accuracy after training: `what` is "last" for the last layer alone, or "all"."""
    layers = _LAYERS[what]
    when = f"at the best of the first {steps} training steps" if best else f"after {steps} training steps"
    reset = _RESET if is_reset else ""
    return _told(
        title=f"What relearning recovers: {layers}, {when}{', after a reset' if is_reset else ''}",
        sentence=f"Share of the deleted classes' test images recognised {when} on {layers}, with images of all "
        f"classes{reset}.",
        retrained="It learns a class it never saw in some steps too, so only the difference from a reference counts.",
        attack=f"relearning of {layers}",
    )


def relearning_time(what: str, is_reset: bool) -> Meaning:
    """Steps of training until half is back: `what` is "last" for the last layer alone, or "all"."""
    layers = _LAYERS[what]
    return _told(
        title=f"Training steps until half is back: {layers}{', after a reset' if is_reset else ''}",
        sentence=f"Steps of training on {layers}, with images of all classes{_RESET if is_reset else ''}, until the "
        "deleted classes are recognised half as often as the original did; if they never are, the number of steps that "
        "were made.",
        direction="higher",
        retrained="It learns a class it never saw in some steps too, so only the comparison with a reference counts.",
        attack=f"relearning of {layers}",
    )


def relearning_time_ratio(what: str, is_reset: bool) -> Meaning:
    """The same as a multiple of the reference's."""
    layers = _LAYERS[what]
    return _told(
        group=Group.REFERENCE,
        title=f"Relearning time of {layers} beside the reference{', after a reset' if is_reset else ''}",
        sentence=f"Steps of training on {layers} until half is back, divided by the reference's (the Anamnesis Index): "
        "below 1 something of the deleted classes was left; if neither came back in the steps that were made, it is 1.",
        direction="two-sided",
        retrained="About 1; far above it a model resists, which is a trace too.",
        attack=f"relearning of {layers}",
    )
