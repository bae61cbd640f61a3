"""What the service itself would publish: its default method, run by the worker's own code."""

import copy
from dataclasses import dataclass

from torch import nn

from cli.selftest.ground import Ground
from core.policy.policies import STANDARD
from core.requests.spec import Method, UnlearnSpec
from worker.pipeline.materials import Blueprint, Materials
from worker.pipeline.methods import method_of, sides_of
from worker.pipeline.outputs import Loaded
from worker.progress import Progress


@dataclass(frozen=True)
class Work:
    """As much of an attempt as a method needs."""

    materials: Materials
    loaded: Loaded
    spec: UnlearnSpec
    progress: Progress


def silent() -> Progress:
    """Progress that nobody follows and nothing stops."""
    return Progress(lambda _step, _percent: None, lambda: False)


def service_default(ground: Ground) -> nn.Module:
    """The original with the edit that a request without a method gets."""
    labels = tuple(map(str, range(ground.num_classes)))
    blueprint = Blueprint("in memory", {}, labels, ground.train.spec)
    spec = UnlearnSpec(
        model="selftest",
        version=None,
        alias=None,
        class_indices=[ground.forget],
        dataset="selftest",
        method=Method.model_validate({}),
        seed=ground.seed,
        policy=STANDARD,
    )
    classes = [ground.forget]
    loaded = Loaded(
        model_id=0,
        base_version_id=0,
        base_version=1,
        base_sha256="",
        dataset_id=0,
        files={},
        forget=classes,
        erase=classes,
    )
    work = Work(Materials(blueprint, ground.original, ground.train, ground.test, None), loaded, spec, silent())
    made = method_of(work)(work, sides_of(work), (0.0, 1.0))
    edited = copy.deepcopy(ground.original)
    made.erasure.apply_to(edited)
    return edited.eval()
