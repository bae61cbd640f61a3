"""The loop over originals, classes and methods: one JSON file each, skipped when it was made with the same settings."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.baselines.method import Diverged
from benchmarks.baselines.plot import svg
from benchmarks.baselines.registry import Baseline
from benchmarks.baselines.search import search
from benchmarks.baselines.subjects import (
    Problem,
    Subject,
    cifar_problem,
    digits_problem,
    keep_reference,
    kept_reference,
)
from benchmarks.baselines.tables import beside_retrained, render, settings_table
from benchmarks.comparison.data import in_threads
from benchmarks.comparison.evaluate import evaluate
from benchmarks.comparison.run import gist, store
from benchmarks.comparison.tables import RETRAINED, write_between_markers
from unlearning.errors import NonFinite


@dataclass(frozen=True)
class Row:
    """One model of the comparison, and the file its figures are kept in."""

    problem: Problem
    index: int
    seed: int
    baseline: Baseline

    @property
    def label(self) -> str:
        return self.problem.class_names[self.index]

    @property
    def is_supplied(self) -> bool:
        """Whether the model is one that came with the originals."""
        return self.baseline.name == RETRAINED and (self.index,) in self.problem.supplied

    def path(self, out: Path) -> Path:
        return out / f"{self.problem.name}.{self.label}.{self.baseline.name}.seed{self.seed}.json"

    def reference_path(self, out: Path) -> Path:
        return out / f"{self.problem.name}.{self.label}.{RETRAINED}.seed{self.seed}.safetensors"

    def told(self) -> dict[str, Any]:
        """What decides the figures, beside the code."""
        return {
            "settings": {} if self.is_supplied else asdict(self.baseline.settings),
            "steps": list(self.problem.steps),
            "orders": self.problem.orders,
            "test_per_class": self.problem.test_per_class,
        }

    def is_measured(self, out: Path) -> bool:
        """Whether the file is there and was made as it would be now."""
        if not self.path(out).exists():
            return False
        found = json.loads(self.path(out).read_text())
        return all(found.get(name) == value for name, value in self.told().items())

    def __str__(self) -> str:
        return f"{self.problem.name}, {self.label}, seed {self.seed}, {self.baseline.name}"


def main(description: str) -> None:
    """Measure what is missing, then print the tables, or write them and the plot."""
    arguments = _arguments(description)
    in_threads(arguments.threads)
    problem = _problem(arguments)
    if arguments.search:
        search(problem, arguments.methods)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = list(_rows(problem, arguments))
    failed = _measure_all(rows, arguments)
    paths = sorted(arguments.out.glob(f"{problem.name}.*.json"))
    results = beside_retrained([json.loads(path.read_text()) for path in paths])
    if results:
        text = "\n\n".join([render(results, problem.baselines), settings_table(problem.baselines)])
        _show(text, svg(results, problem.baselines), problem, arguments.write)
    if failed:
        sys.exit(f"{failed} of {len(rows)} rows failed; they are tried again the next time.")


def _problem(arguments: argparse.Namespace) -> Problem:
    given = arguments.data, arguments.models
    device = torch.device(arguments.device)
    if all(path is None for path in given):
        return digits_problem(device)
    if any(path is None for path in given):
        sys.exit(f"Expected --data and --models together, got {' and '.join(map(str, given))}.")
    return cifar_problem(*given, device, arguments.test_per_class)


def _rows(problem: Problem, arguments: argparse.Namespace) -> Iterator[Row]:
    """All rows asked for, the retrained model of each original and class first: the others are set beside it."""
    names = arguments.methods or list(problem.baselines)
    if unknown := set(names) - set(problem.baselines):
        sys.exit(f"Expected methods among {', '.join(problem.baselines)}, got {', '.join(sorted(unknown))}.")
    try:
        classes = [problem.class_index(text) for text in arguments.classes or map(str, problem.classes)]
    except ValueError as error:
        sys.exit(str(error))
    for seed in arguments.seeds or problem.seeds:
        for index in classes:
            for name in sorted(names, key=lambda name: name != RETRAINED):
                yield Row(problem, index, seed, problem.baselines[name])


def _measure_all(rows: list[Row], arguments: argparse.Namespace) -> int:
    """Measure the missing rows and return how many failed."""
    missing = [row for row in rows if not row.is_measured(arguments.out)]
    print(f"{len(rows)} rows, {len(rows) - len(missing)} of them measured before", flush=True)
    subjects: dict[int, Subject] = {}
    failed, began = 0, time.monotonic()
    for done, row in enumerate(missing, start=1):
        if row.seed not in subjects:
            subjects = {row.seed: row.problem.subject(row.seed)}
        try:
            found = measure(subjects[row.seed], row, arguments)
        except (Diverged, NonFinite) as error:
            failed += 1
            print(f"[{done}/{len(missing)}] {row}: {error}", flush=True)
            continue
        store(row.path(arguments.out), found)
        left = (time.monotonic() - began) / done * (len(missing) - done) / 60
        print(f"[{done}/{len(missing)}] {row}: {gist(found)}; {left:.0f} min left", flush=True)
    return failed


def measure(subject: Subject, row: Row, arguments: argparse.Namespace) -> dict[str, Any]:
    """Unlearn and judge. Seconds are those of the method alone, from images in memory to the new model."""
    classes, materials = (row.index,), subject.materials
    if classes not in subject.references and row.reference_path(arguments.out).exists():
        subject.references[classes] = kept_reference(row.reference_path(arguments.out), materials.original)
    began = time.monotonic()
    model = subject.references[classes] if row.is_supplied else _unlearned(subject, row)
    seconds = time.monotonic() - began
    if row.baseline.name == RETRAINED and not row.is_supplied:
        subject.references[classes] = model
        keep_reference(row.reference_path(arguments.out), model)
    began = time.monotonic()
    found = evaluate(materials, model, classes, row.seed, row.problem.orders, row.problem.steps)
    return {
        "data_set": row.problem.name,
        "request": row.label,
        "kind": "single",
        "method": row.baseline.name,
        "seed": row.seed,
        **row.told(),
        "is_supplied": row.is_supplied,
        "seconds": round(seconds, 3),
        "evaluation_seconds": round(time.monotonic() - began, 2),
        "threads": arguments.threads,
        "device": arguments.device,
        "torch": torch.__version__,
        **found,
    }


def _unlearned(subject: Subject, row: Row) -> nn.Module:
    data = subject.everything if row.baseline.sees_all else subject.usable
    return row.baseline(subject.materials.original, data, (row.index,), row.seed)


def _show(text: str, drawing: str, problem: Problem, document: Path | None) -> None:
    if document is None:
        print(text)
        return
    plot = document.with_suffix(".svg")
    if problem.name != "digits":
        plot = plot.with_stem(f"{plot.stem}_{problem.name}")
    plot.write_text(drawing)
    picture = f"![Retained accuracy against recovery, {problem.name}]({plot.name})"
    write_between_markers(document, f"{picture}\n\n{text}", problem.name)


def _arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with cifar10-train-20k.zip and cifar10-test.zip")
    parser.add_argument("--models", type=Path, help="folder with the safetensors files")
    parser.add_argument("--out", type=Path, default=Path("build/baselines"), help="one JSON file per row (%(default)s)")
    parser.add_argument("--write", type=Path, help="document whose figures are replaced; the plot is put beside it")
    parser.add_argument("--classes", nargs="+", help="classes to forget, one after the other, by name or index")
    parser.add_argument("--seeds", nargs="+", type=int, help="of originals (digits) and methods")
    parser.add_argument("--methods", nargs="+", help="only these")
    parser.add_argument("--test-per-class", type=int, help="fewer test images of CIFAR-10; all by default")
    parser.add_argument("--search", action="store_true", help="try the learning rates on training images instead")
    parser.add_argument("--device", default="cpu", help="where models run (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch (%(default)s)")
    return parser.parse_args()
