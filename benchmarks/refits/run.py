"""The loop over variations, one JSON file each, and the table."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.comparison.data import LABELS, in_threads, reference_files
from benchmarks.comparison.requests import class_index
from benchmarks.comparison.run import store
from benchmarks.comparison.tables import (
    RETRAINED,
    Column,
    Result,
    mean_and_spread,
    share_of_original,
    table_line,
    value_of,
    write_between_markers,
)
from benchmarks.refits.measure import UNCHANGED, load, measure
from benchmarks.refits.variations import VARIATIONS

KEPT = Path(__file__).resolve().parents[1] / "results" / "ablation"
"""The rows behind docs/quality.md, which are part of the repository."""
ROWS = (*UNCHANGED, *VARIATIONS)
COLUMNS = (
    Column("depth", lambda result: result["depth"], 0),
    Column("drop", value_of("test_retain_accuracy_drop")),
    Column("forget", value_of("test_forget_accuracy")),
    Column("last layer back, share", share_of_original("last_layer_back_forget_accuracy"), 1),
    Column("classifier back, share", share_of_original("classifier_back_forget_accuracy"), 1),
    Column("probe", value_of("probe_forget_accuracy"), 1),
    Column("5-shot", value_of("few_shot_5_forget_accuracy"), 1),
    Column("relearn all", value_of("relearn_all_20_forget_accuracy"), 1),
    Column("relearn all after reset", value_of("relearn_all_after_reset_20_forget_accuracy"), 1),
    Column("seconds", lambda result: float(result["seconds"]), 0),
)


def main(description: str) -> None:
    """Measure what is missing, then print or write the tables."""
    arguments = _arguments(description)
    if arguments.data is None or arguments.models is None:
        print("not measured: no --data and --models")
    else:
        in_threads(arguments.threads)
        arguments.out.mkdir(parents=True, exist_ok=True)
        _measure_missing(arguments)
    results = [json.loads(path.read_text()) for path in sorted(arguments.out.glob("*.json"))]
    if not results:
        return
    text = render(results)
    if arguments.write is None:
        print(text)
    else:
        write_between_markers(arguments.write, text, "ablation")


def render(results: Sequence[Result]) -> str:
    """One table per class, in the order of the variations."""
    names = sorted({result["class"] for result in results}, key=LABELS.index)
    return "\n\n".join(_table([result for result in results if result["class"] == name], name) for name in names)


def _table(results: Sequence[Result], class_name: str) -> str:
    by_row = {result["method"]: result for result in results}
    lines = [
        table_line(["variation", "what differs", *(column.title for column in COLUMNS)]),
        table_line(["---"] * (2 + len(COLUMNS))),
    ]
    for row in ROWS:
        if (result := by_row.get(row)) is not None:
            note = VARIATIONS[row].note if row in VARIATIONS else ""
            lines.append(table_line([f"`{row}`", note, *(mean_and_spread(column, [result]) for column in COLUMNS)]))
    one = results[0]
    counts = (one["measures"][name]["n"] for name in ("test_retain_accuracy", "test_forget_accuracy"))
    told = (
        "Class {}, seed {}, judged on {} retained and {} forgotten training images; {} order(s) of relearning.".format(
            class_name, one["seed"], *counts, one["orders"]
        )
    )
    with_what = f"PyTorch {one['torch']}, {one['threads']} thread(s), beside other programs."
    return "\n".join([*lines, "", f"{told} {with_what}"])


def _measure_missing(arguments: argparse.Namespace) -> None:
    references = reference_files(arguments.models)
    rows = [
        (name, index, arguments.out / f"{LABELS[index]}.{name}.json")
        for index in arguments.classes
        for name in arguments.rows
        if name != RETRAINED or (index,) in references
    ]
    missing = [row for row in rows if not row[2].exists()]
    print(f"{len(rows)} rows, {len(rows) - len(missing)} of them measured before", flush=True)
    materials = load(arguments.data, arguments.models) if missing else None
    for done, (name, index, path) in enumerate(missing, start=1):
        if materials is not None:
            found = measure(materials, name, index, arguments.seed, arguments.orders)
            store(path, found)
            told = ", ".join(f"{column.title} {mean_and_spread(column, [found]) or '-'}" for column in COLUMNS)
            print(f"[{done}/{len(missing)}] {LABELS[index]}, {name}: {told}", flush=True)


def _arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with cifar10-train-20k.zip")
    parser.add_argument("--models", type=Path, help="folder with the safetensors files")
    parser.add_argument("--out", type=Path, default=KEPT, help="one JSON file per row (%(default)s)")
    parser.add_argument("--write", type=Path, help="document whose table is replaced")
    parser.add_argument("--classes", nargs="+", type=class_index, default=[LABELS.index("cat")])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--orders", type=int, default=1, help="orders that relearning is averaged over (%(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()
