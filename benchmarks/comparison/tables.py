"""Markdown tables of the results: the methods side by side, then each class, seed and group."""

import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Result = dict[str, Any]
RETRAINED = "retrained"


@dataclass(frozen=True)
class Column:
    """One figure: its heading, how it is read from a result (None where it was not measured), and its digits."""

    title: str
    read: Callable[[Result], float | None]
    digits: int = 2


def value_of(name: str, scale: float = 100.0) -> Callable[[Result], float | None]:
    def read(result: Result) -> float | None:
        measure = result["measures"].get(name)
        return None if measure is None else scale * measure["value"]

    return read


def share_of_original(name: str) -> Callable[[Result], float | None]:
    def read(result: Result) -> float | None:
        if result["method"] == RETRAINED:
            return None  # the original's layers do not fit onto features that were learned without them
        part, whole = (value_of(key)(result) for key in (name, "original_forget_accuracy"))
        return None if part is None or not whole else 100 * part / whole

    return read


COLUMNS = (
    Column("retain", value_of("test_retain_accuracy")),
    Column("drop", value_of("test_retain_accuracy_drop")),
    Column("forget, test", value_of("test_forget_accuracy")),
    Column("forget, train", value_of("train_forget_accuracy")),
    Column("SVC score", value_of("svc_score"), 1),
    Column("membership AUC", value_of("membership_auc", 1.0), 3),
    Column("false forget", value_of("test_false_forget_rate")),
    Column("last layer back, share", share_of_original("last_layer_back_forget_accuracy"), 1),
    Column("classifier back, share", share_of_original("classifier_back_forget_accuracy"), 1),
    Column("probe", value_of("probe_forget_accuracy"), 1),
    Column("5-shot", value_of("few_shot_5_forget_accuracy"), 1),
    Column("relearn last", value_of("relearn_last_20_forget_accuracy"), 1),
    Column("relearn last after reset", value_of("relearn_last_after_reset_20_forget_accuracy"), 1),
    Column("relearn all", value_of("relearn_all_20_forget_accuracy"), 1),
    Column("relearn all after reset", value_of("relearn_all_after_reset_20_forget_accuracy"), 1),
    Column("TV to retrained", value_of("routing_to_retrained", 1.0), 3),
    Column("TV to masked original", value_of("routing_to_masked_original", 1.0), 3),
    Column("seconds", lambda result: float(result["seconds"]), 1),
)


def render(results: Sequence[Result], methods: Sequence[str]) -> str:
    """All tables, of whatever is there."""
    first = min(result["seed"] for result in results)
    singles = [result for result in results if result["kind"] == "single"]
    base = [result for result in singles if result["seed"] == first]
    parts = [_side_by_side(base, methods, "All classes one by one")]
    referenced = [r for r in base if value_of("routing_to_retrained")(r) is not None]
    parts += [
        _side_by_side(
            [r for r in referenced if r["request"] == name], methods, f"Class {name}, beside a retrained model"
        )
        for name in _names(referenced)
    ]
    seeds = {seed for result in singles if (seed := result["seed"]) != first}
    several = {result["request"] for result in singles if result["seed"] in seeds}
    if several:
        title = f"With {1 + len(seeds)} seeds: {', '.join(sorted(several))}"
        repeated = [result for result in singles if result["request"] in several]
        parts.append(_side_by_side(repeated, methods, title))
    for kind in ("at once", "in succession"):
        for name in _names(r for r in results if r["kind"] == kind):
            group = [r for r in results if r["request"] == name and r["seed"] == first]
            parts.append(_side_by_side(group, methods, f"Several classes {kind}: {name}"))
    parts += [_per_class([r for r in base if r["method"] == method], method) for method in methods]
    return "\n\n".join(part for part in [*parts, _conditions(results)] if part)


def _side_by_side(results: Sequence[Result], methods: Sequence[str], title: str) -> str:
    """Figures as rows, methods as columns: mean and sample standard deviation over the results of a method."""
    by_method = {name: [r for r in results if r["method"] == name] for name in methods}
    present = {name: found for name, found in by_method.items() if found}
    if not present:
        return ""
    counted = [f"{name} ({len(found)})" if len(results) > len(present) else name for name, found in present.items()]
    lines = [table_line(["figure", *counted]), table_line(["---"] * (1 + len(counted)))]
    for column in COLUMNS:
        cells = [mean_and_spread(column, found) for found in present.values()]
        if any(cells):
            lines.append(table_line([column.title, *cells]))
        if column.title == "drop" and any(len(found) > 1 for found in present.values()):
            lines.append(table_line(["drop, largest", *(_largest(column, found) for found in present.values())]))
    return "\n".join([f"### {title}", "", *lines])


def _per_class(results: Sequence[Result], method: str) -> str:
    if len(results) < 2:
        return ""
    read = [column for column in COLUMNS if any(column.read(result) is not None for result in results)]
    lines = [table_line(["class", *(column.title for column in read)]), table_line(["---"] * (1 + len(read)))]
    lines += [
        table_line([result["request"], *(mean_and_spread(column, [result]) for column in read)]) for result in results
    ]
    return "\n".join([f"### {method}, class by class", "", *lines])


def mean_and_spread(column: Column, results: Iterable[Result]) -> str:
    values = [value for result in results if (value := column.read(result)) is not None]
    if not values:
        return ""
    mean = f"{statistics.fmean(values):.{column.digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{column.digits}f}"


def _largest(column: Column, results: Iterable[Result]) -> str:
    values = [value for result in results if (value := column.read(result)) is not None]
    return f"{max(values):.{column.digits}f}" if values else ""


def _conditions(results: Sequence[Result]) -> str:
    """How many images the figures stand on, and what they were measured with."""
    names = ("test_retain_accuracy", "test_forget_accuracy", "train_forget_accuracy", "membership_auc", "svc_score")
    one = next((result for result in results if result["kind"] == "single"), results[0])
    counted = ", ".join(f"{name} {one['measures'][name]['n']}" for name in names if name in one["measures"])
    with_what = {(result["torch"], result["threads"]) for result in results}
    told = "; ".join(f"PyTorch {version}, {threads} thread(s)" for version, threads in sorted(with_what))
    median = statistics.median(result["evaluation_seconds"] for result in results)
    notes = Counter(result["note"] for result in results if "note" in result)
    return " ".join([
        f"Images behind the figures of one class: {counted}. {told}. Judging one model: {median:.0f} s (median).",
        *(f"{count} of {len(results)} rows: {note}." for note, count in notes.items()),
    ])


def _names(results: Iterable[Result]) -> list[str]:
    return list(dict.fromkeys(result["request"] for result in results))


def table_line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def write_between_markers(document: Path, text: str, name: str = "figures") -> None:
    """Replace what stands between the two markers of a name in a document.

    Raises:
        ValueError: the document has no markers of that name.
    """
    old = document.read_text()
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    pattern = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", re.DOTALL)
    if not pattern.search(old):
        raise ValueError(f"Expected the markers {begin} and {end} in {document}, got none.")
    document.write_text(pattern.sub(lambda _: f"{begin}\n{text}\n{end}", old))
