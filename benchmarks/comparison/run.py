"""The loop over requests and methods: one JSON file each, skipped when it exists."""

import argparse
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.comparison.data import Materials, Request, in_threads, load, reference_files
from benchmarks.comparison.evaluate import evaluate
from benchmarks.comparison.methods import METHODS, WITHOUT_SEED
from benchmarks.comparison.requests import Plan, class_index, planned
from benchmarks.comparison.tables import RETRAINED, render, write_between_markers

KEPT = Path(__file__).resolve().parents[1] / "results" / "quality"
"""The rows behind docs/quality.md, which are part of the repository."""


@dataclass(frozen=True)
class Row:
    """One line of the comparison, and the file it is kept in."""

    plan: Plan
    method: str
    seed: int

    def path(self, out: Path) -> Path:
        return out / f"{self.plan.name}.{self.method}.seed{self.seed}.json"

    def __str__(self) -> str:
        return f"{self.plan.name}, {self.method}, seed {self.seed}"


def main() -> None:
    """Measure what is missing, then print or write the tables."""
    arguments = _arguments()
    if arguments.data is None or arguments.models is None:
        print("not measured: no --data and --models")
    else:
        in_threads(arguments.threads)
        arguments.out.mkdir(parents=True, exist_ok=True)
        _measure_all(_rows(arguments), arguments)
    results = [json.loads(path.read_text()) for path in sorted(arguments.out.glob("*.json"))]
    if not results:
        return
    text = render(results, [*METHODS, RETRAINED])
    if arguments.write is not None:
        write_between_markers(arguments.write, text)
    else:
        print(text)


def _rows(arguments: argparse.Namespace) -> list[Row]:
    """All rows that are asked for, in the order in which they are measured."""
    classes = arguments.classes
    groups = classes is None if arguments.groups is None else arguments.groups
    methods = arguments.methods or [*METHODS, RETRAINED]
    if unknown := set(methods) - {*METHODS, RETRAINED}:
        sys.exit(f"Expected methods among {', '.join([*METHODS, RETRAINED])}, got {', '.join(sorted(unknown))}.")
    first, references = arguments.seeds[0], reference_files(arguments.models)
    return [
        Row(plan, method, seed)
        for plan, seed in planned(classes, arguments.seeds, groups=groups, full=arguments.full)
        for method in methods
        if (seed == first or method not in WITHOUT_SEED) and (method != RETRAINED or plan.gone in references)
    ]


def _measure_all(rows: list[Row], arguments: argparse.Namespace) -> None:
    missing = [row for row in rows if not row.path(arguments.out).exists()]
    print(f"{len(rows)} rows, {len(rows) - len(missing)} of them measured before", flush=True)
    if not missing:
        return
    materials = load(arguments.data, arguments.models, arguments.test_per_class)
    began = time.monotonic()
    for done, row in enumerate(missing, start=1):
        found = measure(materials, row, arguments.threads, arguments.orders)
        store(row.path(arguments.out), found)
        left = (time.monotonic() - began) / done * (len(missing) - done) / 60
        print(f"[{done}/{len(missing)}] {row}: {gist(found)}; {left:.0f} min left", flush=True)


def measure(materials: Materials, row: Row, threads: int, orders: int) -> dict[str, Any]:
    """Unlearn and judge. Seconds are those of the method alone, from images in memory to the new model."""
    began = time.monotonic()
    model = _unlearned(materials, row)
    seconds = time.monotonic() - began
    began = time.monotonic()
    found = evaluate(materials, model, row.plan.gone, row.seed, orders)
    return {
        "request": row.plan.name,
        "kind": row.plan.kind,
        "steps": row.plan.steps,
        "method": row.method,
        "seed": row.seed,
        "seconds": round(seconds, 2),
        "evaluation_seconds": round(time.monotonic() - began, 2),
        "threads": threads,
        "orders": orders,
        "torch": torch.__version__,
        **found,
    }


def _unlearned(materials: Materials, row: Row) -> nn.Module:
    if row.method == RETRAINED:
        return materials.references[row.plan.gone]
    inputs, labels = materials.usable
    request = Request(materials.original, inputs, labels, (), (), row.seed)
    for step in row.plan.steps:
        request = replace(request, forget=step)
        model = METHODS[row.method](request)
        request = replace(request, model=model, excluded=(*request.excluded, *step))
    return request.model


def store(path: Path, found: dict[str, Any]) -> None:
    """Whole or not at all: a run that is stopped here leaves no half file."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(found, indent=1) + "\n")
    part.replace(path)


def gist(found: dict[str, Any]) -> str:
    values = {name: 100 * measure["value"] for name, measure in found["measures"].items()}
    told = {
        "retain": "test_retain_accuracy",
        "forget": "test_forget_accuracy",
        "probe": "probe_forget_accuracy",
        "relearned": "relearn_all_20_forget_accuracy",
    }
    parts = ", ".join(f"{name} {values[key]:.2f}" for name, key in told.items())
    return f"{parts}; {found['seconds']:.0f} s + {found['evaluation_seconds']:.0f} s"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with cifar10-train-20k.zip and cifar10-test.zip")
    parser.add_argument("--models", type=Path, help="folder with the safetensors files")
    parser.add_argument("--out", type=Path, default=KEPT, help="one JSON file per row (%(default)s)")
    parser.add_argument("--write", type=Path, help="document whose figures are replaced by the tables")
    parser.add_argument(
        "--classes", nargs="+", type=class_index, help="only these single classes, by name or index, with every seed"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="the first is used for everything")
    parser.add_argument("--methods", nargs="+", help=f"among {', '.join([*METHODS, RETRAINED])}")
    parser.add_argument(
        "--groups", action=argparse.BooleanOptionalAction, help="several classes at once, in succession"
    )
    parser.add_argument("--full", action="store_true", help="every class with every seed")
    parser.add_argument("--test-per-class", type=int, help="fewer test images; all by default")
    parser.add_argument("--orders", type=int, default=1, help="orders that relearning is averaged over (%(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()
