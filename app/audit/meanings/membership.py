"""Attacks that ask: was this image among the training images?"""

from functools import partial

from app.audit.meanings.meaning import Group, Meaning

_told = partial(Meaning, group=Group.MEMBERSHIP)
_EVEN = "About 0.5: it trained on neither side, so nothing sets them apart."
_THRESHOLD = "a threshold on the margin of the true class, training against test images of the deleted classes"
_OTHER_SCORES = "the same with other scores of the outputs (loss, confidence, entropy)"
_SCORES = {
    "loss": "the loss",
    "confidence": "the largest probability",
    "entropy": "the entropy of the outputs",
    "modified_entropy": "the modified entropy of the outputs",
    "margin": "the margin of the true class",
}

MEANINGS: dict[str, Meaning] = {
    "membership_auc": _told(
        title="Membership attack, AUC",
        sentence="How often an attacker who sees the outputs ranks a training image of the deleted classes above an "
        "unseen one; 0.5 is a coin toss, and far below 0.5 betrays the deletion just as far above does.",
        direction="two-sided",
        retrained=_EVEN,
        attack=_THRESHOLD,
    ),
    **{
        f"membership_auc_{score}": _told(
            title=f"Membership attack on {words}, AUC",
            sentence=f"How often a training image of the deleted classes ranks above an unseen one by {words}.",
            direction="two-sided",
            retrained=_EVEN,
            attack=_OTHER_SCORES,
        )
        for score, words in _SCORES.items()
    },
    "membership_balanced_accuracy": _told(
        title="Membership attack, share of right guesses",
        sentence="How often a membership attack guesses right, its threshold chosen on half of the images and judged "
        "on the other half.",
        direction="two-sided",
        retrained=_EVEN,
        attack=_THRESHOLD,
    ),
    "membership_advantage": _told(
        title="Membership attack, advantage",
        sentence="The largest lead of a membership attack's hits over its false alarms at any threshold, picked on the "
        "very images that judge it and so too high when there are few.",
        direction="lower",
        retrained="Slightly above 0, because the best of many thresholds is picked.",
        attack=_THRESHOLD,
    ),
    "membership_tpr_at_1pct_fpr": _told(
        title="Membership attack, hits at 1 % false alarms",
        sentence="Share of the training images that an attacker finds who wrongly accuses at most one unseen image in "
        "a hundred.",
        direction="lower",
        retrained="About 0.01: as many hits as false alarms.",
        attack=_THRESHOLD,
    ),
    "membership_tpr_at_01pct_fpr": _told(
        title="Membership attack, hits at 0.1 % false alarms",
        sentence="Share of the training images that an attacker finds who wrongly accuses at most one unseen image in "
        "a thousand; there must be a thousand of each class to tell.",
        direction="lower",
        retrained="About 0.001: as many hits as false alarms.",
        attack=_THRESHOLD,
    ),
    "retain_membership_change": _told(
        title="Membership attack on the classes that stay, change",
        sentence="AUC of a membership attack on the classes that stay, after minus before: whether deleting one class "
        "exposed the others.",
        direction="lower",
        retrained="About 0: the classes that stay were trained on as before.",
        attack="the same threshold on the classes that stay, before and after",
    ),
    "svc_score": _told(
        title="SVC score of the published method: not a membership test",
        sentence="Share of the deleted classes' test images that a support vector classifier calls forgotten; both "
        "groups it learned from were trained on, so it says nothing about membership, and any mask over the outputs "
        "reaches 1.",
        direction="higher",
        retrained="About 1, as every model does that no longer answers with the classes.",
    ),
}
