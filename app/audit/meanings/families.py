"""Measures whose names hold a number, a split, a class or a layer."""

import re
from collections.abc import Callable
from dataclasses import replace

from app.audit.meanings.meaning import Group, Meaning
from app.audit.meanings.recovery import few_shot, relearning, relearning_time, relearning_time_ratio

Find = Callable[[str], Meaning | None]
SUFFIX = "_forget_accuracy"
_SPLITS = {"test": "test images", "train": "training images"}


def found_in_family(name: str, find: Find) -> Meaning | None:
    """The meaning of a name that is made of parts, or None.

    Args:
        name: of a measure.
        find: the meaning of another name; asked for the parts.
    """
    for pattern, told in _FAMILIES:
        match = re.fullmatch(pattern, name)
        if match:
            meaning = told(match, find)
            if meaning is not None:
                return meaning
    return None


def _relearning(match: re.Match[str], _find: Find) -> Meaning:
    return relearning(match["what"], bool(match["reset"]), bool(match["best"]), match["steps"])


def _relearning_time(match: re.Match[str], _find: Find) -> Meaning:
    told = relearning_time_ratio if match["ratio"] else relearning_time
    return told(match["what"], bool(match["reset"]))


def _top_k(match: re.Match[str], find: Find) -> Meaning | None:
    split = match["split"] or "test"
    base = find(f"forget_accuracy_{split}")
    return base and replace(
        base,
        title=f"{base.title}, among the first {match['k']}",
        sentence=f"Share of the deleted classes' {_SPLITS[split]} whose class is among the {match['k']} "
        "largest outputs: whether it was only pushed out of first place.",
        retrained="Above 0: with few classes any of them is often among the first.",
    )


def _split_first(match: re.Match[str], find: Find) -> Meaning | None:
    """`<split>_<name>`, which is the same as `<name>_<split>`."""
    return find(f"{match['name']}_{match['split']}")


def _split_last(match: re.Match[str], find: Find) -> Meaning | None:
    """A measure of one split that is explained for both."""
    base = find(match["name"])
    return base and replace(base, title=f"{base.title}, {_SPLITS[match['split']]}")


def _class_drop(match: re.Match[str], _find: Find) -> Meaning:
    return Meaning(
        group=Group.ACCURACY,
        title=f"Loss of accuracy, class index {match['index']}",
        sentence="What the deletion cost this class: accuracy on its test images before minus after.",
        direction="lower",
        retrained="About 0, sometimes below.",
    )


def _at_layer(match: re.Match[str], find: Find) -> Meaning | None:
    base = find(match["name"])
    return base and replace(base, title=f"{base.title}, layer {match['layer']}")


def _cka(match: re.Match[str], _find: Find) -> Meaning:
    return Meaning(
        group=Group.REFERENCE,
        title=f"Likeness of the features (CKA{match['of'].replace('_', ' ')})",
        sentence="How alike two models' features of the same images are, up to rotation and scale; 1 means equal.",
        direction="none",
        retrained="Close to 1 on images of classes that stay, clearly less on images of the deleted ones.",
    )


def _hits(match: re.Match[str], find: Find) -> Meaning | None:
    base, rate = find(f"{match['name']}_auc"), {"1": "1", "01": "0.1"}[match["rate"]]
    return base and replace(
        base,
        title=f"{base.title.removesuffix('AUC')}hits at {rate} % false alarms",
        sentence=f"Share of the unlearned models found by that attack when it wrongly accuses {rate} % of the others.",
        direction="lower",
        retrained="As many hits as false alarms, up to chance.",
    )


def _gap(match: re.Match[str], find: Find) -> Meaning | None:
    base = find(match["name"] + SUFFIX) or find(match["name"])
    return base and replace(
        base,
        group=Group.REFERENCE,
        title=f"{base.title}, beside the reference",
        sentence=f"{base.sentence.removesuffix('.')}; unlearned minus reference.",
        direction="two-sided",
        retrained="About 0: two retrained models differ only by chance.",
    )


def _together(match: re.Match[str], _find: Find) -> Meaning:
    """Measures that are made together stand under one name if that went wrong."""
    group, title = _TOGETHER[match["name"]]
    return Meaning(
        group=group,
        title=title,
        sentence="Stands here only because these measures, which are made together, could not be made.",
        direction="none",
        retrained="Says nothing.",
    )


_TOGETHER = {
    "membership": (Group.MEMBERSHIP, "Membership attack, all other scores"),
    "head_bias": (Group.WEIGHTS, "Biases of the deleted classes beside the others"),
    "confidence": (Group.ACCURACY, "Confidence and indecision on the deleted classes"),
    "few_shot": (Group.RECOVERY, "What a few images of a class recover"),
    "relearn_last_after_reset": (Group.RECOVERY, "What relearning recovers: the last layer alone"),
    "relearn_all_after_reset": (Group.RECOVERY, "What relearning recovers: all weights"),
    "cka_original": (Group.REFERENCE, "Likeness of the features to the original's (CKA)"),
    "relearning_time": (Group.REFERENCE, "Relearning time beside the reference"),
    "beside_reference": (Group.REFERENCE, "Further distances from the reference"),
}


def _attack(match: re.Match[str], find: Find) -> Meaning | None:
    """An attack by its own name, without what is measured after it."""
    return None if match["name"].endswith(SUFFIX) else find(match["name"] + SUFFIX)


_FAMILIES: tuple[tuple[str, Callable[[re.Match[str], Find], Meaning | None]], ...] = (
    (rf"(?P<name>{'|'.join(_TOGETHER)})", _together),
    (rf"few_shot_(?P<shots>\d+){SUFFIX}", lambda match, _find: few_shot(match["shots"])),
    (
        rf"relearn_(?P<what>last|all)_(?P<reset>after_reset_)?(?P<best>best_)?(?P<steps>\d+){SUFFIX}",
        _relearning,
    ),
    (r"relearn_(?P<what>last|all)_(?P<reset>after_reset_)?steps(?P<ratio>_ratio)?", _relearning_time),
    (r"forget_accuracy_top(?P<k>\d+)(_(?P<split>test|train))?", _top_k),
    (r"accuracy_drop_class_(?P<index>\d+)", _class_drop),
    (r"(?P<name>u_lira|rmia)_tpr_at_(?P<rate>1|01)pct_fpr", _hits),
    (r"(?P<name>.+)_gap", _gap),
    (r"(?P<split>test|train)_(?P<name>.+)", _split_first),
    (r"(?P<name>.+)_(?P<split>test|train)", _split_last),
    (r"(?P<name>.+?)_at_(?P<layer>.+)", _at_layer),
    (r"cka(?P<of>(_[a-z]+)*)", _cka),
    (r"(?P<name>.+)", _attack),
)
"""Patterns in the order in which they are tried."""
