"""The controls on CIFAR-10, beside the one retrained reference that is supplied, and what a whole examination takes."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.comparison.data import LABELS, SPEC, network, reference_files
from benchmarks.controls.records import is_kept, measure_missing, rows_of
from benchmarks.controls.text import controls_section, room_section
from benchmarks.controls.timing import measure_seconds, seconds_section
from cli.selftest.controls import MUST_FAIL, Control, Expected, retrained_controls
from cli.selftest.gate import Trial
from cli.selftest.ground import Ground
from cli.selftest.service import service_default
from core.policy.policies import SHIPPED
from models_store.datasets import Source, load_split
from worker.pipeline.data import Images

CONTROLS = (
    *MUST_FAIL,
    *retrained_controls(1),
    Control("the service's default", Expected.REPORTED, service_default),
)
SEED = 0


def cifar_text(data: Path, models: Path, out: Path, timed: Sequence[str] = ()) -> str:
    """Everything about CIFAR-10 as markdown; measures the controls that are missing, or how long a verification takes.

    Args:
        data: folder of the images.
        models: folder of the networks.
        out: where measurements are kept.
        timed: parts of `TOLD` whose seconds are measured, again if they were, and then no control.
    """
    ((absent,), reference), *_ = reference_files(models).items()
    label = LABELS[absent]
    prefix = f"cifar10.{label}"
    missing = not all(is_kept(out, prefix, control) for control in CONTROLS)
    if timed or missing:
        ground = _ground(data, models, absent, reference)
        if timed:
            measure_seconds(ground, out, prefix, timed)
        else:
            measure_missing(out, prefix, Trial(ground, CONTROLS))
    kept = [control for control in CONTROLS if is_kept(out, prefix, control)]
    rows = rows_of(out, prefix, kept)
    parts = [controls_section(f"Class {label}", rows)]
    parts += [room_section(f"Room, `{name}`", rows, name) for name in SHIPPED]
    return "\n\n".join(filter(None, [*parts, seconds_section(out, prefix)]))


def _ground(data: Path, models: Path, absent: int, reference: Path) -> Ground:
    train = load_split([Source(data / "cifar10-train-20k.zip", "train")], "train", LABELS, SPEC)
    test = load_split([Source(data / "cifar10-test.zip", "test")], "test", LABELS, SPEC)
    original, retrained = network(models / "cifar10_vgg11_bn.safetensors"), network(reference)
    sides = Images.whole(train, SPEC), Images.whole(test, SPEC)
    return Ground(original, *sides, absent, len(LABELS), (retrained,), retrained, SEED)
