"""Do the labels of the data set fit the original? If not, no measure made with them says anything."""

import numpy as np
from numpy.typing import NDArray

from unlearning.errors import UnlearningError
from unlearning.evaluation import confusion_matrix, mean_of_shares, wilson_interval
from worker.pipeline.verification.subject import Subject

LEAST_RECOGNISED = 0.1
"""An original that knows less of a class would nearly pass the tests of forgetting as it is."""


def why_unfit(original: Subject) -> str | None:
    """Why the labels of the test split cannot be those that the original learned; None where they can.

    The mean over classes of the original's accuracy must lie above chance with its whole 95 % interval: whatever says
    the same of all images, or has its classes in another order, reaches one part in the number of classes at most.
    Classes that were deleted before are left out.

    Its accuracy on each class of the request must lie above `LEAST_RECOGNISED`, and above the share of other images
    that it calls so. Where the original recognises nothing of a class, every attack looks for something that was never
    there under this name: what is not found then says nothing. The images may be of other classes, or nobody may have
    learned this one. Classes deleted before may be gone from the base by other means than ours, such as an upload that
    was trained without them.

    A set with some wrong labels passes, and so does one in which two classes are swapped where they are alike: what is
    put back then brings back classes that it should not, and the verdict is for that to reach.

    Args:
        original: what was deleted from.
    """
    images, gone = original.images("test"), original.scene.deletion.erased_before
    try:
        confusion = confusion_matrix(images.labels, original.outputs("test"))
    except UnlearningError:
        return None  # every test says itself what is wrong with the outputs
    totals = confusion.sum(axis=1)
    present = [index for index in np.flatnonzero(totals).tolist() if index not in gone]
    if len(present) < 2:
        return None  # chance is right about the only class there is
    found, chance = mean_of_shares(confusion.diagonal()[present], totals[present], name="accuracy"), 1 / len(present)
    if found.low is None or found.low > chance:
        return _why_unknown(confusion, original.scene.deletion.named, present)
    return (
        "Expected test images with the labels that the original was trained on, got an original "
        f"that recognises {found.value:.1%} of a class on average (95 % interval from {found.low:.1%}), "
        f"where chance gives {chance:.1%}."
    )


def _why_unknown(confusion: NDArray[np.int64], named: list[int], present: list[int]) -> str | None:
    """Why a class of the request cannot be looked for: the first of them that the original does not recognise."""
    for index in named:
        hits, n = int(confusion[index, index]), int(confusion[index].sum())
        others = [other for other in present if other != index]
        called_so = confusion[others, index].sum() / max(1, confusion[others].sum())
        least = max(LEAST_RECOGNISED, float(called_so))
        if n and wilson_interval(hits, n)[0] <= least:
            return (
                f"Expected an original that recognises the test images of class {index}, got {hits} of {n} right; "
                f"the whole 95 % interval must lie above {least:.1%}. Either they are images of other classes, or it "
                "never learned this one. What no attack finds then was never there to be found."
            )
    return None
