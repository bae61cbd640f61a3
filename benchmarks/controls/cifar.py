"""The controls on CIFAR-10, beside the one retrained reference that is supplied, and what a whole examination takes."""

import json
from pathlib import Path

import torch

from benchmarks.comparison.data import LABELS, SPEC, network, reference_files
from benchmarks.comparison.run import store
from benchmarks.controls.records import is_kept, measure_missing, rows_of
from benchmarks.controls.text import controls_section, room_section
from cli.selftest.controls import MUST_FAIL, Control, Expected, retrained_controls
from cli.selftest.gate import Trial
from cli.selftest.ground import Ground
from cli.selftest.service import service_default, silent
from core.policy.policies import SHIPPED
from models_store.datasets import Source, load_split
from worker.pipeline.data import Images
from worker.pipeline.verification import Case, Deletion, Looked, Scene, Subject, examine

CONTROLS = (
    *MUST_FAIL,
    *retrained_controls(1),
    Control("the service's default", Expected.REPORTED, service_default),
)
SEED = 0


def cifar_text(data: Path, models: Path, out: Path) -> str:
    """Everything about CIFAR-10 as markdown; measures what is missing."""
    ((absent,), reference), *_ = reference_files(models).items()
    label = LABELS[absent]
    prefix, timing = f"cifar10.{label}", out / f"cifar10.{label}.seconds.json"
    if not (timing.exists() and all(is_kept(out, prefix, control) for control in CONTROLS)):
        ground = _ground(data, models, absent, reference)
        if not timing.exists():
            store(timing, _seconds(ground))
        measure_missing(out, prefix, Trial(ground, CONTROLS))
    rows = rows_of(out, prefix, CONTROLS)
    parts = [controls_section(f"Class {label}", rows)]
    parts += [room_section(f"Room, `{name}`", rows, name) for name in SHIPPED]
    return "\n\n".join([*parts, _told(json.loads(timing.read_text()))])


def _ground(data: Path, models: Path, absent: int, reference: Path) -> Ground:
    train = load_split([Source(data / "cifar10-train-20k.zip", "train")], "train", LABELS, SPEC)
    test = load_split([Source(data / "cifar10-test.zip", "test")], "test", LABELS, SPEC)
    original, retrained = network(models / "cifar10_vgg11_bn.safetensors"), network(reference)
    sides = Images.whole(train, SPEC), Images.whole(test, SPEC)
    return Ground(original, *sides, absent, len(LABELS), (retrained,), retrained, SEED)


def _seconds(ground: Ground) -> dict[str, float | int | str]:
    """How long a whole examination takes beside a reference: of the reference itself, which is as long as any other."""
    deletion = Deletion([ground.forget], [ground.forget], ground.num_classes, ground.seed)
    scene = Scene(deletion, Looked.at(ground.train, ground.test, deletion), ground.original)
    original, unlearned, reference = (
        Subject(scene, model, silent(), (0.0, 1.0))
        for model in (ground.original, ground.retrained[0], ground.reference)
    )
    print("timing a whole examination", flush=True)
    alone = examine(Case(original, unlearned), SHIPPED["standard"].deciding, silent(), 0.0)
    original, unlearned = (Subject(scene, model, silent(), (0.0, 1.0)) for model in (ground.original, ground.reference))
    beside = examine(Case(original, unlearned, reference), SHIPPED["with-reference"].deciding, silent(), 0.0)
    images = sum(len(images) for images in (scene.looked.train, scene.looked.test))
    return {
        "deciding": alone.seconds["deciding"],
        "all": alone.seconds["all"],
        "deciding_beside": beside.seconds["deciding"],
        "all_beside": beside.seconds["all"],
        "images": images,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _told(seconds: dict[str, float | int | str]) -> str:
    return (
        f"Seconds of a verification with {seconds['images']:,} images looked at by each network, "
        f"{seconds['threads']} thread(s), PyTorch {seconds['torch']}: {seconds['deciding']:.0f} until the tests of "
        f"`standard` are made, {seconds['all']:.0f} for everything; with a reference {seconds['deciding_beside']:.0f} "
        f"until those of `with-reference` are made, {seconds['all_beside']:.0f} for everything."
    )
