"""Every random choice of a training, as a function of its seed and the epoch.

So a training that goes on at an epoch draws what an uninterrupted one would have drawn, without any generator's state
in a checkpoint, on whatever machine it goes on.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

WEIGHTS, ORDER, LAYERS = 1, 2, 3
"""Streams of one seed: first weights; order and variation of the images; what layers such as dropout draw."""


def generator(seed: int, stream: int, epoch: int = 0) -> np.random.Generator:
    """A generator of its own for each stream and epoch."""
    return np.random.default_rng([seed, stream, epoch])


@contextmanager
def seeded_layers(device: torch.device, seed: int, stream: int, epoch: int = 0) -> Iterator[None]:
    """Lend torch's global generators a state that follows from the seed, and give them their own back.

    Layers such as dropout, and the builders of networks, draw from the global generators and take no other.
    """
    word = int(np.random.SeedSequence([seed, stream, epoch]).generate_state(1, np.uint64)[0])
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.set_rng_state(torch.Generator().manual_seed(word).get_state())
        for index in devices:
            own = torch.Generator(torch.device("cuda", index)).manual_seed(word)
            torch.cuda.set_rng_state(own.get_state(), index)
        yield
