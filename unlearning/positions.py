"""Which positions of which sample are measured, when a layer has more of them than anyone needs."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from unlearning.errors import SampleCountMismatch


class PositionSampler:
    """Draws positions of one layer without bias, a given number in total, the same however the samples are batched.

    Every sample gets floor(max_rows / N) positions, and a random choice of samples one more, so that the total is
    exactly `max_rows`; within a sample the positions are drawn uniformly without replacement. A reservoir over all
    positions would give the same expectation, but would have to hold the rows until the end of the stream.

    Deterministic: the drawn (sample, position) pairs depend only on `seed`, `key`, `max_rows`, the number of samples,
        each
    sample's place in the stream and its number of positions. They do not depend on the batch size, the device, the
    number of threads or the other layers. The draws come from a CPU generator for that reason.
    """

    def __init__(self, max_rows: int | None, num_samples: int, *, seed: int, key: str) -> None:
        self._num_samples = num_samples
        self._next_sample = 0
        self._generator = torch.Generator()
        self._generator.manual_seed(_derived_seed(seed, key))
        self._quota: list[int] | None = None
        if max_rows is not None:
            each, rest = divmod(max_rows, num_samples)
            quota = torch.full((num_samples,), each, dtype=torch.int64)
            quota[torch.randperm(num_samples, generator=self._generator)[:rest]] += 1
            self._quota = quota.tolist()

    def draw(self, batch: int, positions: int) -> Tensor | None:
        """Return the row numbers (sample * positions + position) to take from the next `batch` samples; None means all.

        Raises:
            SampleCountMismatch: more samples come than were announced.
        """
        first, self._next_sample = self._next_sample, self._next_sample + batch
        if self._quota is None:
            return None
        if self._next_sample > self._num_samples:
            raise SampleCountMismatch(self._num_samples, self._next_sample)
        quotas = self._quota[first : self._next_sample]
        if min(quotas) >= positions:
            return None
        drawn = [self._sample(quota, positions) + place * positions for place, quota in enumerate(quotas)]
        return torch.cat(drawn)

    def _sample(self, quota: int, positions: int) -> Tensor:
        if quota >= positions:
            return torch.arange(positions)
        if quota == 0:
            return torch.empty(0, dtype=torch.int64)
        return torch.randperm(positions, generator=self._generator)[:quota].sort().values


def _derived_seed(seed: int, key: str) -> int:
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
