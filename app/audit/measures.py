"""The measures of a result in the order a reader wants them, each with what it means in one sentence."""

from typing import Any

from pydantic import Field

from app.schemas import Out

MEANINGS: dict[str, tuple[str, str]] = {
    "forget_accuracy_test": (
        "Forget accuracy, test images",
        "How many images of the deleted classes, never seen in training, are still recognised as theirs.",
    ),
    "forget_accuracy_train": (
        "Forget accuracy, training images",
        "How many of the training images that were to be forgotten are still recognised as theirs.",
    ),
    "restored_head_forget_accuracy": (
        "Forget accuracy with the old last layer put back",
        "Whether the knowledge is only hidden: the original's last layer on top of the new features.",
    ),
    "retain_accuracy_test": (
        "Retain accuracy, test images",
        "How many images of the classes that stay, never seen in training, are recognised.",
    ),
    "retain_accuracy_train": (
        "Retain accuracy, training images",
        "How many training images of the classes that stay are recognised.",
    ),
    "retain_accuracy_drop": (
        "Loss of retain accuracy",
        "What the deletion cost the classes that stay: accuracy on their test images before minus after.",
    ),
    "false_forget_rate": (
        "False-forget rate",
        "How many test images of the classes that stay are now taken for a deleted class.",
    ),
    "membership_auc": (
        "Membership attack, AUC",
        "Whether an attacker can tell training from unseen images of the deleted classes; 0.5 is a coin toss.",
    ),
    "svc_score": (
        "Membership score of the paper (SVC)",
        "The membership classifier of Kodge et al.; once a class is gone it says 'not a member' of nearly all.",
    ),
}
DIRECTIONS = {
    "lower": "lower is better",
    "higher": "higher is better",
    "two-sided": "neither high nor low",
    "none": "informs only",
}


class Measure(Out):
    """One number with its 95 % interval."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None


class MeasureRow(Out):
    name: str
    title: str
    meaning: str
    direction: str = Field(description="Which way is better.")
    before: Measure | None = Field(description="Of the base version.")
    after: Measure | None = Field(description="Of the new weights.")


def measure_rows(result: dict[str, Any]) -> list[MeasureRow]:
    """Every measure of a result that has a value before or after, known ones first."""
    measures = result.get("measures") or {}
    before, after = measures.get("original") or {}, measures.get("unlearned") or {}
    tests = {one["name"]: one for one in (result.get("verdict") or {}).get("tests", [])}
    # What is measured of both at once, such as a loss, stands only among the tests.
    after = {**{name: one for name, one in tests.items() if name not in before}, **after}
    names = [name for name in MEANINGS if name in before or name in after]
    names += sorted(
        name for name in {*before, *after} - set(MEANINGS) if _is_measure(before.get(name, after.get(name)))
    )
    return [_row(name, before.get(name), after.get(name)) for name in names]


def _row(name: str, before: Any, after: Any) -> MeasureRow:
    title, meaning = MEANINGS.get(name, (name.replace("_", " ").capitalize(), ""))
    told = next((one["direction"] for one in (after, before) if _is_measure(one) and "direction" in one), "lower")
    return MeasureRow(
        name=name,
        title=title,
        meaning=meaning,
        direction=DIRECTIONS.get(told, told),
        before=_measure(before),
        after=_measure(after),
    )


def _is_measure(value: object) -> bool:
    return isinstance(value, dict) and "value" in value


def _measure(value: Any) -> Measure | None:
    if not _is_measure(value):
        return None
    return Measure(value=value["value"], low=value.get("low"), high=value.get("high"), n=value.get("n"))
