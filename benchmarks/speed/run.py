"""The order of the measurements, each in a fresh process, and the file they are kept in."""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from benchmarks.comparison.tables import write_between_markers
from benchmarks.speed.measures import MEASURES, Task
from benchmarks.speed.subjects import CUDA_SUBJECTS, SUBJECTS, prepare
from benchmarks.speed.tables import render

Json = dict[str, Any]
KEPT = Path(__file__).resolve().parents[1] / "results" / "engine.json"
"""The figures behind docs/engine.md, which are part of the repository."""
_RESULT = "result: "


@dataclass(frozen=True)
class Runner:
    """Starts children."""

    script: Path
    folder: Path
    arguments: argparse.Namespace

    def __call__(self, measure: str, subject: str = "vgg11_bn", **more: str) -> Json:
        task = {
            "images": str(self.folder / "images.safetensors"),
            "models": str(self.arguments.models) if self.arguments.models else "",
            "device": self.arguments.device,
            "subject": subject,
            **more,
        }
        print(f"  {measure} {subject}", flush=True)
        command = [sys.executable, str(self.script), "--threads", str(self.arguments.threads), "--child", measure]
        process = subprocess.Popen([*command, json.dumps(task)], stdout=subprocess.PIPE, text=True)
        result = ""
        for line in process.stdout or ():
            if line.startswith(_RESULT):
                result = line.removeprefix(_RESULT)
            else:
                print(line, end="", flush=True)
        if process.wait() or not result:
            raise SystemExit(f"{measure} of {subject} failed.")
        found: Json = json.loads(result)
        return found


def main(script: Path, description: str) -> None:
    """Measure what is asked for, keep it, print the tables."""
    arguments = _arguments(description)
    if arguments.child:
        _be_child(arguments)
        return
    found: Json = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
    with tempfile.TemporaryDirectory(prefix="expunge-engine-") as folder:
        run = Runner(script, Path(folder), arguments)
        if arguments.only:
            prepare(arguments.data, Path(folder) / "images.safetensors")
        for name, part in _PARTS.items():
            if name in arguments.only:
                print(name, flush=True)
                about = {place: _about(arguments) for place in _places(name, arguments)}
                part(run, found.setdefault(name, {}))
                found.setdefault("about", {}).update(about)
                arguments.json.parent.mkdir(parents=True, exist_ok=True)
                arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    text = render(found)
    print(text)
    if arguments.write:
        write_between_markers(arguments.write, text)


def _against_textbook(run: Runner, found: Json) -> None:
    for subject in _subjects(run.arguments):
        files = {name: run.folder / f"{subject}.{name}.safetensors" for name in ("engine", "textbook")}
        results = {name: run(f"{name}_erase", subject, weights=str(path)) for name, path in files.items()}
        ours, theirs = (safetensors.torch.load_file(path) for path in files.values())
        differences = {name: _difference(ours[name], theirs[name]) for name in theirs}
        found[subject] = {
            **results,
            "time_ratio": results["textbook"]["seconds"] / results["engine"]["seconds"],
            "memory_share": _share(results["engine"]["extra_mb"], results["textbook"]["extra_mb"]),
            "largest_difference": max(differences.values()),
            "differences": differences,
        }


def _difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())


def _share(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours is not None and theirs else None


def _against_machine(run: Runner, found: Json) -> None:
    for subject in _subjects(run.arguments):
        found[subject] = run("machine", subject)


def _growth(run: Runner, found: Json) -> None:
    for axis in ("samples", "width", "classes"):
        found[axis] = run(f"growth_{axis}")


def _cuda(run: Runner, found: Json) -> None:
    if run.arguments.device != "cuda" or not torch.cuda.is_available():
        command = "python benchmarks/engine.py --device cuda --only cuda"
        print(f"  not measured: there is no CUDA device, or --device is not cuda. On a machine that has one: {command}")
        return
    found["device"] = torch.cuda.get_device_name()
    for subject in CUDA_SUBJECTS:
        found[subject] = run("engine_erase", subject) | {"machine": run("machine", subject)}


def _one(measure: str) -> Callable[[Runner, Json], None]:
    def part(run: Runner, found: Json) -> None:
        found.clear()
        found.update(run(measure))

    return part


_PARTS: dict[str, Callable[[Runner, Json], None]] = {
    "textbook": _against_textbook,
    "machine": _against_machine,
    "kernels": _one("kernels"),
    "pairs": _one("pairs"),
    "evaluation": _one("evaluation"),
    "growth": _growth,
    "cuda": _cuda,
}


_BY_SUBJECT = ("textbook", "machine")


def _places(part: str, arguments: argparse.Namespace) -> list[str]:
    """Names of what is measured at one time, which has its conditions in common."""
    return [f"{part} of {name}" for name in _subjects(arguments)] if part in _BY_SUBJECT else [part]


def _subjects(arguments: argparse.Namespace) -> list[str]:
    return [name for name in SUBJECTS if name in arguments.subjects]


def _be_child(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    measure, told = arguments.child[0], json.loads(arguments.child[1])
    paths = {name: Path(told[name]) if told.get(name) else None for name in ("images", "models", "weights")}
    print(_RESULT + json.dumps(MEASURES[measure](Task(**{**told, **paths}))))


def _about(arguments: argparse.Namespace) -> Json:
    return {
        "processor": _processor(),
        "threads": arguments.threads,
        "device": arguments.device,
        "torch": torch.__version__,
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "load_before": round(os.getloadavg()[0], 2),
        "images": "CIFAR-10" if arguments.data else "noise",
        "weights": "trained" if arguments.models else "random",
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", information.read_text()) if information.exists() else None
    return found[1] if found else platform.processor()


def _arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with cifar10-train-20k.zip")
    parser.add_argument("--models", type=Path, help="folder with cifar10_vgg11_bn.safetensors")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, default=KEPT, help="what is measured is put in here (%(default)s)")
    parser.add_argument("--write", type=Path, help="put the tables between this document's markers")
    parser.add_argument("--only", nargs="*", choices=_PARTS, default=list(_PARTS), help="none: just the tables")
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()
