"""The heavy things behind a job's ids and digests: network, weights, images. Read once per attempt, checked as read."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from models_store.architectures import build
from models_store.datasets import DatasetLimits, Source, load_split
from models_store.input_spec import InputSpec
from models_store.storage import LocalStorage
from models_store.tables import Model
from models_store.weights import load_state
from worker.pipeline.data import Images


@dataclass(frozen=True)
class Blueprint:
    """How to make the network of a registered model, and what its outputs are called."""

    architecture: str
    options: dict[str, bool | int | float | str]
    labels: tuple[str, ...]
    input_spec: InputSpec

    @classmethod
    def of(cls, model: Model) -> "Blueprint":
        spec = InputSpec.model_validate(model.input_spec)
        return cls(model.architecture, model.architecture_options, tuple(map(str, model.labels)), spec)

    @property
    def num_classes(self) -> int:
        return len(self.labels)

    def network(self, storage: LocalStorage, sha256: str, device: torch.device) -> nn.Module:
        """The network with the stored weights, checked, in evaluation mode."""
        network = build(self.architecture, self.options, self.num_classes, self.input_spec.channels)
        load_state(storage.path(sha256), sha256, network)
        return network.to(device).eval()

    def images(self, sources: Sequence[Source], split: str, limits: DatasetLimits) -> Images:
        """One split of a data set, as this network takes it."""
        return Images.whole(load_split(sources, split, self.labels, self.input_spec, limits), self.input_spec)


@dataclass(frozen=True)
class Materials:
    """Everything the mathematics needs."""

    blueprint: Blueprint
    base: nn.Module
    train: Images
    test: Images
    validation: Images | None
