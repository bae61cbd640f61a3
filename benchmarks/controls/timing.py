"""How long a verification takes: images through a network, seconds of the processors, and seconds on the clock."""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from benchmarks.comparison.run import store
from cli.selftest import tables
from cli.selftest.ground import Ground
from cli.selftest.service import silent
from core.policy.policies import SHIPPED
from worker.pipeline.verification import Case, Deletion, Looked, Scene, Subject, decide, examine

HEAD = ("what", "images through a network", "CPU seconds", "seconds", "threads", "load before", "PyTorch")
TOLD = {
    "standard": "the tests that decide by `standard`",
    "with-reference": "those by `with-reference`",
    "everything": "everything, beside a reference",
}


def measure_seconds(ground: Ground, folder: Path, prefix: str, names: Iterable[str]) -> None:
    """Time parts of `TOLD` on networks that nobody has looked at yet; the reference is judged, as slowly as any."""
    for name in names:
        print(f"{prefix}: timing {TOLD[name]}", flush=True)
        store(_path(folder, prefix, name), _taken(ground, name))


def seconds_section(folder: Path, prefix: str) -> str:
    """What was measured, as a table; a line for each part that was."""
    kept = {name: _path(folder, prefix, name) for name in TOLD}
    lines = [_line(name, json.loads(path.read_text())) for name, path in kept.items() if path.exists()]
    return f"### Seconds\n\n{tables.markdown(HEAD, lines)}" if lines else ""


def _taken(ground: Ground, name: str) -> dict[str, Any]:
    run = _prepared(ground, name)
    load, cpu, began = os.getloadavg()[0], time.process_time(), time.monotonic()
    with counted(ground.train.spec.channels) as images:
        run()
    return {
        "images": sum(images),
        "cpu_seconds": time.process_time() - cpu,
        "seconds": time.monotonic() - began,
        "load": load,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _prepared(ground: Ground, name: str) -> Callable[[], object]:
    deletion = Deletion([ground.forget], [ground.forget], ground.num_classes, ground.seed)
    scene = Scene(deletion, Looked.at(ground.train, ground.test, deletion), ground.original)
    original, unlearned, reference = (
        Subject(scene, model, silent(), (0.0, 1.0))
        for model in (ground.original, ground.retrained[0], ground.reference)
    )
    if name == "standard":
        return lambda: decide(Case(original, unlearned), SHIPPED[name].deciding)
    case = Case(original, unlearned, reference)
    if name == "everything":
        return lambda: examine(case, SHIPPED["with-reference"].deciding, silent(), 0.0)
    return lambda: decide(case, SHIPPED[name].deciding)


@contextmanager
def counted(channels: int) -> Iterator[list[int]]:
    """The sizes of all batches that enter a convolution of so many channels, as the first of a network has."""
    sizes: list[int] = []

    def count(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, nn.Conv2d) and module.in_channels == channels:
            sizes.append(len(inputs[0]))

    hook = register_module_forward_pre_hook(count)
    try:
        yield sizes
    finally:
        hook.remove()


def _line(name: str, taken: dict[str, Any]) -> tuple[str, ...]:
    return (
        TOLD[name],
        f"{taken['images']:,}",
        f"{taken['cpu_seconds']:.0f}",
        f"{taken['seconds']:.0f}",
        str(taken["threads"]),
        f"{taken['load']:.1f}",
        taken["torch"],
    )


def _path(folder: Path, prefix: str, name: str) -> Path:
    return folder / f"{prefix}.seconds.{name}.json"
