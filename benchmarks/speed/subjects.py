"""What is measured: three networks, and images for them. The images are decoded once and handed on as a file."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from models_store.convnets import CifarResNet18, CifarVgg11
from models_store.datasets import Source, load_split
from models_store.input_spec import InputSpec
from models_store.normalise import normalise
from models_store.weights import load_state
from unlearning import draw_samples

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FORGET = 3
SAMPLES = 900
MAX_ROWS = 10_000
MOST_SAMPLES = 3600
"""The largest size in the table of growth: 400 per retained class. Other classes help out on the forget side."""
VALIDATION = 2000


@dataclass(frozen=True)
class Subject:
    """A network and the size of its inputs.

    Attributes:
        build: Makes it, with random weights.
        side: Height and width of its inputs.
        batch: Samples per forward.
        weights: File under `--models`, if it has trained ones.
        samples: Samples a side.
        max_rows: Most rows per layer and side.
    """

    build: Callable[[], nn.Module]
    side: int
    batch: int
    weights: str = ""
    samples: int = SAMPLES
    max_rows: int = MAX_ROWS

    def network(self, models: Path | None) -> nn.Module:
        """Return the network in evaluation mode, its weights trained or drawn with a fixed seed."""
        network = self.build()
        path = models / self.weights if models and self.weights else None
        if path is None:
            _draw(network)
        else:
            load_state(path, hashlib.sha256(path.read_bytes()).hexdigest(), network)
        return network.eval()


SUBJECTS = {
    "vgg11_bn": Subject(partial(CifarVgg11, 10), 32, 128, "cifar10_vgg11_bn.safetensors"),
    "resnet18": Subject(partial(CifarResNet18, 10), 32, 128),
    # Fewer than of the others: at full size the textbook's 96 decompositions take most of an hour on two cores.
    "vit_b_16": Subject(torchvision.models.vit_b_16, 224, 30, samples=60, max_rows=4_000),
}
CUDA_SUBJECTS = {
    "vgg11_bn": SUBJECTS["vgg11_bn"],
    "resnet50": Subject(torchvision.models.resnet50, 224, 50),
    "vit_b_16": Subject(torchvision.models.vit_b_16, 224, 50),
    "vit_l_16": Subject(torchvision.models.vit_l_16, 224, 50),
}


@dataclass(frozen=True)
class Images:
    """Inputs (n, 3, 32, 32) of both sides, and validation inputs with labels."""

    retain: Tensor
    forget: Tensor
    validation: Tensor
    labels: Tensor

    @classmethod
    def read(cls, path: Path) -> "Images":
        """Return what `prepare` wrote."""
        return cls(**safetensors.torch.load_file(path))

    def batches(self, side: str, subject: Subject, samples: int | None = None) -> list[Tensor]:
        """Return one side's batches in the size that a subject takes, as many as it takes unless told otherwise."""
        images = getattr(self, side)[: samples or subject.samples]
        if subject.side != images.shape[-1]:
            images = functional.interpolate(images, size=subject.side, mode="bilinear", antialias=True)
        return list(images.split(subject.batch))


def prepare(data: Path | None, path: Path) -> None:
    """Decode the images, or draw noise, and write them to one file."""
    if data is None:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(2 * MOST_SAMPLES + VALIDATION, 3, 32, 32, generator=generator)
        y = np.arange(len(x)) % len(LABELS)
        kept, gone, rest = np.split(np.arange(len(x)), [MOST_SAMPLES, 2 * MOST_SAMPLES])
    else:
        spec = InputSpec(height=32, width=32, channels=3, mean=(0.491, 0.482, 0.447), std=(0.247, 0.243, 0.262))
        split = load_split([Source(data / "cifar10-train-20k.zip", "train")], "train", LABELS, spec)
        x, y = normalise(split.x, spec), split.y
        first = draw_samples(y, {FORGET}, num_classes=len(LABELS), num_samples=SAMPLES)
        more = draw_samples(y, {FORGET, 5}, num_classes=len(LABELS), num_samples=MOST_SAMPLES, seed=1)
        kept, gone = _continued(first.retain, more.retain), _continued(first.forget, more.forget)
        left = np.setdiff1d(np.arange(len(y)), np.concatenate([kept, gone]))
        rest = np.random.default_rng(0).permutation(left)[:VALIDATION]
    held = {"retain": x[kept], "forget": x[gone], "validation": x[rest], "labels": torch.from_numpy(y[rest])}
    safetensors.torch.save_file({name: value.contiguous() for name, value in held.items()}, path)


def _continued(first: np.ndarray, more: np.ndarray) -> np.ndarray:
    return np.concatenate([first, np.setdiff1d(more, first)])[:MOST_SAMPLES]


def _draw(network: nn.Module) -> None:
    """Leave nothing to the process: two of them shall measure the same network."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.ndim > 1:
                scale = (2 / parameter[0].numel()) ** 0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
