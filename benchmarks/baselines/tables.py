"""Markdown tables of the comparison: methods as rows, mean and standard deviation over classes and seeds."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.baselines.registry import Baseline
from benchmarks.comparison.tables import (
    RETRAINED,
    Column,
    Result,
    mean_and_spread,
    share_of_original,
    table_line,
    value_of,
)

RECOVERIES = ("probe", "few_shot_5", "relearn_last_after_reset", "relearn_all_after_reset")
"""The ways back that mean something for every model, a retrained one too; recovery is their mean."""


def _way(name: str) -> Callable[[Result], float | None]:
    """The forget accuracy that a way brings back; of relearning, after the first of the steps looked at."""
    return lambda result: value_of(_named(name, result))(result)


def _named(name: str, result: Result) -> str:
    step = f"_{result['steps'][0]}" if name.startswith("relearn") else ""
    return f"{name}{step}_forget_accuracy"


OUTPUTS = (
    Column("retain", value_of("test_retain_accuracy"), 1),
    Column("drop", value_of("test_retain_accuracy_drop"), 1),
    Column("worst class", value_of("test_retain_accuracy_worst_class"), 1),
    Column("forget, test", value_of("test_forget_accuracy"), 1),
    Column("forget, train", value_of("train_forget_accuracy"), 1),
    Column("false forget", value_of("test_false_forget_rate"), 1),
    Column("membership AUC", value_of("membership_auc", 1.0), 3),
    Column("SVC score", value_of("svc_score"), 1),
)
WAYS_BACK = (
    Column("last layer back, share", share_of_original("last_layer_back_forget_accuracy"), 1),
    Column("classifier back, share", share_of_original("classifier_back_forget_accuracy"), 1),
    Column("probe", _way("probe"), 1),
    Column("5-shot", _way("few_shot_5"), 1),
    Column("relearn last after reset", _way("relearn_last_after_reset"), 1),
    Column("relearn all", _way("relearn_all"), 1),
    Column("relearn all after reset", _way("relearn_all_after_reset"), 1),
    Column("recovery", value_of("recovery"), 1),
)
BESIDE = (
    Column("ToW", value_of("tow", 1.0), 3),
    Column("probe gap", value_of("probe_gap"), 1),
    Column("recovery gap", value_of("recovery_gap"), 1),
    Column("TV to retrained", value_of("routing_to_retrained", 1.0), 3),
    Column("JS to retrained", value_of("jensen_shannon_to_retrained", 1.0), 3),
    Column("TV to masked original", value_of("routing_to_masked_original", 1.0), 3),
    Column("seconds", lambda result: None if result["is_supplied"] else float(result["seconds"]), 2),
    Column("times faster", value_of("speed_up", 1.0), 1),
)
TITLES = {"The outputs": OUTPUTS, "Ways back": WAYS_BACK, "Beside the retrained model, and the cost": BESIDE}


def beside_retrained(results: Sequence[Result]) -> list[Result]:
    """Add what follows from a model's figures and those of the retrained one of the same class and seed.

    recovery: mean of the four accuracies of `RECOVERIES`. tow: the product over S of 1 - |accuracy - the retrained's|,
    S being the forgotten training images, the retained training images and the retained test images ("tug of war";
    Zhao, Kurmanji, Barbulescu, Triantafillou, Triantafillou, "What makes unlearning hard and what to do about it",
    NeurIPS 2024). speed_up: seconds of retraining for each of the method.
    """
    references = {_key(result): result for result in results if result["method"] == RETRAINED}
    return [{**one, "measures": one["measures"] | _derived(one, references.get(_key(one)))} for one in results]


def _derived(result: Result, reference: Result | None) -> dict[str, Any]:
    found = {"recovery": _recovery(result)}
    if reference is not None:
        found["tow"] = 1.0
        for name in ("train_forget_accuracy", "train_retain_accuracy", "test_retain_accuracy"):
            found["tow"] *= 1 - abs(_of(result, name) - _of(reference, name))
        found["probe_gap"] = _of(result, "probe_forget_accuracy") - _of(reference, "probe_forget_accuracy")
        found["recovery_gap"] = found["recovery"] - _recovery(reference)
        if not reference["is_supplied"] and result["seconds"] and result["method"] != "original":
            found["speed_up"] = reference["seconds"] / result["seconds"]
    return {name: {"value": value} for name, value in found.items()}


def render(results: Sequence[Result], baselines: Mapping[str, Baseline]) -> str:
    """All tables, and what they stand on."""
    by_method = {name: [result for result in results if result["method"] == name] for name in baselines}
    most = max(len(found) for found in by_method.values())
    parts = []
    for title, columns in TITLES.items():
        lines = [table_line(["method", *(c.title for c in columns)]), table_line(["---"] * (1 + len(columns)))]
        for name, found in by_method.items():
            if found:
                counted = name if len(found) == most else f"{name} ({len(found)})"
                lines.append(table_line([counted, *(mean_and_spread(column, found) for column in columns)]))
        parts.append("\n".join([f"### {title}", "", *lines]))
    return "\n\n".join([*parts, _conditions(results)])


def settings_table(baselines: Mapping[str, Baseline]) -> str:
    """What each method was told."""
    lines = [table_line(["method", "settings"]), table_line(["---"] * 2)]
    lines += [table_line([name, _flat(asdict(one.settings)) or "none"]) for name, one in baselines.items()]
    return "\n".join(["### Settings", "", *lines])


def _conditions(results: Sequence[Result]) -> str:
    classes = list(dict.fromkeys(result["request"] for result in results))
    seeds = sorted({result["seed"] for result in results})
    counted = ", ".join(
        f"{name} {results[0]['measures'][name]['n']}"
        for name in ("test_retain_accuracy", "test_forget_accuracy", "train_forget_accuracy", "membership_auc")
    )
    with_what = sorted({f"PyTorch {r['torch']}, {r['threads']} thread(s), {r['device']}" for r in results})
    judging = statistics.median(result["evaluation_seconds"] for result in results)
    return (
        f"Classes {', '.join(classes)}; seeds {', '.join(map(str, seeds))}. Images behind the figures of the first: "
        f"{counted}. Relearning: {results[0]['steps'][0]} steps, mean of {results[0]['orders']} order(s). "
        f"{'; '.join(with_what)}. Judging one model: {judging:.1f} s (median)."
    )


def _flat(settings: Mapping[str, Any]) -> str:
    parts = []
    left_out = {"at_once", "momentum"} if settings.get("optimiser") == "adam" else {"at_once"}
    for name, value in settings.items():
        if name in left_out or value is None:
            continue
        text = f"({_flat(value)})" if isinstance(value, dict) else f"{value:g}" if isinstance(value, float) else value
        parts.append(f"{name.replace('_', ' ')} {text}")
    return ", ".join(parts)


def _key(result: Result) -> tuple[str, int]:
    return result["request"], result["seed"]


def _of(result: Result, name: str) -> float:
    return float(result["measures"][name]["value"])


def _recovery(result: Result) -> float:
    return statistics.fmean(_of(result, _named(name, result)) for name in RECOVERIES)
