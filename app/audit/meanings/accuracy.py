"""What is read from the outputs alone: who is recognised, who is mistaken for whom, and how surely."""

from functools import partial

from app.audit.meanings.meaning import Group, Meaning

_told = partial(Meaning, group=Group.ACCURACY)
_ANSWERS = "Close to 0: it never learned to answer with these classes."
_AS_GOOD = "About what the original scores, or slightly more: its task is a little easier."
_LITTLE = "About 0, and often slightly below: without the classes the others are a little easier to tell apart."

MEANINGS: dict[str, Meaning] = {
    "forget_accuracy_test": _told(
        title="Forget accuracy, test images",
        sentence="Share of the deleted classes' images, never seen in training, that are still recognised as theirs.",
        direction="lower",
        retrained=_ANSWERS,
    ),
    "forget_accuracy_train": _told(
        title="Forget accuracy, training images",
        sentence="Share of the training images that were to be forgotten which are still recognised as theirs.",
        direction="lower",
        retrained=_ANSWERS,
    ),
    "retain_accuracy_test": _told(
        title="Retain accuracy, test images",
        sentence="Share of the images of the classes that stay, never seen in training, that are recognised.",
        direction="higher",
        retrained=_AS_GOOD,
    ),
    "retain_accuracy_train": _told(
        title="Retain accuracy, training images",
        sentence="Share of the training images of the classes that stay that are recognised.",
        direction="higher",
        retrained="About what the original scores: both were trained on these images.",
    ),
    "retain_accuracy_macro": _told(
        title="Retain accuracy, every class counted alike",
        sentence="The accuracies of the classes that stay, averaged over classes instead of images.",
        direction="higher",
        retrained=_AS_GOOD,
    ),
    "retain_accuracy_worst_class": _told(
        title="Retain accuracy of the worst class",
        sentence="The accuracy of the one class that stays and is recognised least.",
        direction="higher",
        retrained="About what the original scores on its own worst class.",
    ),
    "retain_accuracy_drop": _told(
        title="Loss of retain accuracy",
        sentence="What the deletion cost the classes that stay: accuracy on their test images before minus after.",
        direction="lower",
        retrained=_LITTLE,
    ),
    "worst_class_drop": _told(
        title="Loss of the class that paid most",
        sentence="Accuracy before minus after for the one remaining class that lost most, which an average would hide.",
        direction="lower",
        retrained="Above 0 even for a flawless deletion: the largest of many chance differences is never 0.",
    ),
    "nearest_class_accuracy": _told(
        title="Accuracy of the most similar classes",
        sentence="Share recognised among the remaining classes that the original confused most with the deleted ones.",
        direction="higher",
        retrained="Often more than the original: what these classes were confused with is gone.",
    ),
    "false_forget_rate": _told(
        title="False-forget rate",
        sentence="Share of the images of the classes that stay which are now taken for a deleted class.",
        direction="lower",
        retrained=_ANSWERS,
    ),
    "composite": _told(
        title="Composite score of the published method",
        sentence="Retain accuracy times one minus forget accuracy; a mask over the outputs scores as well as "
        "forgetting does.",
        direction="higher",
        retrained="About its retain accuracy, since its forget accuracy is close to 0.",
    ),
    "over_unlearning": _told(
        title="Damage at the border of the deleted classes",
        sentence="Distance, in bits, between the outputs and those of the original without the deleted classes, on "
        "images moved towards the border between them and their neighbours.",
        direction="lower",
        retrained="Above 0: a separately trained network draws its borders a little differently.",
    ),
    "retain_calibration_error": _told(
        title="Calibration error on the classes that stay",
        sentence="How far stated confidence and actual accuracy are apart on the images of the classes that stay.",
        direction="lower",
        retrained="About what the original scores.",
    ),
    "forget_max_probability": _told(
        title="Confidence on the deleted classes",
        sentence="Mean of the largest output probability on images of the deleted classes.",
        direction="two-sided",
        retrained="Below its confidence on classes it knows, but far from even: it takes most for a similar class.",
    ),
    "forget_entropy": _told(
        title="Indecision on the deleted classes",
        sentence="Mean entropy of the outputs on images of the deleted classes, from 0 (sure) to 1 (all alike).",
        direction="two-sided",
        retrained="Above that on classes it knows, but far from 1; outputs that are nearly even give a deletion away.",
    ),
    "zrf": _told(
        title="Likeness to a network that knows nothing (ZRF)",
        sentence="One minus the distance between the outputs and those of an untrained network on the deleted classes.",
        direction="two-sided",
        retrained="Well below 1: it sends these images to similar classes, an untrained network anywhere.",
    ),
}
