"""Recompute a version's accuracies with plain torch, in a process of its own: `python -I recheck.py WEIGHTS NPZ CLASS`.

Knows torch, safetensors, numpy and the network's layers, written down here once more; nothing of Expunge. Prints one
JSON object: for each accuracy how many images are right, and out of how many.
"""

import json
import sys

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

MEAN, STD = 0.3, 0.37


def build() -> nn.Module:
    """The layers of `expunge/small_convnet` at width 16, for ten classes, under the keys of the file."""
    features = nn.Sequential()
    for name, layer in (
        ("conv1", nn.Conv2d(1, 16, 3, padding=1)),
        ("relu1", nn.ReLU()),
        ("conv2", nn.Conv2d(16, 16, 3, padding=1)),
        ("relu2", nn.ReLU()),
        ("pool1", nn.MaxPool2d(2)),
        ("conv3", nn.Conv2d(16, 32, 3, padding=1)),
        ("relu3", nn.ReLU()),
        ("conv4", nn.Conv2d(32, 32, 3, padding=1)),
        ("relu4", nn.ReLU()),
    ):
        features.add_module(name, layer)
    classifier = nn.Sequential()
    classifier.add_module("fc1", nn.Linear(512, 96))
    classifier.add_module("relu", nn.ReLU())
    classifier.add_module("fc2", nn.Linear(96, 10))
    network = nn.Sequential()
    network.add_module("features", features)
    network.add_module("flatten", nn.Flatten())
    network.add_module("classifier", classifier)
    return network.eval()


def main(weights: str, data: str, deleted: int) -> None:
    """Load, classify every image of both halves, count."""
    torch.set_num_threads(1)
    network = build()
    network.load_state_dict(load_file(weights))
    counts = {}
    with np.load(data, allow_pickle=False) as arrays:  # noqa: TID251 our own file, and this script knows no models_store
        for split in ("train", "test"):
            images, labels = torch.from_numpy(arrays[f"x_{split}"]), torch.from_numpy(arrays[f"y_{split}"])
            right = _predict(network, images) == labels
            gone = labels == deleted
            counts[f"forget_accuracy_{split}"] = [int(right[gone].sum()), int(gone.sum())]
            counts[f"retain_accuracy_{split}"] = [int(right[~gone].sum()), int((~gone).sum())]
    print(json.dumps(counts))


def _predict(network: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        inputs = (images.permute(0, 3, 1, 2).float() / 255 - MEAN) / STD
        predicted: Tensor = network(inputs).argmax(dim=1)
        return predicted


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
