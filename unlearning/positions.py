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
    each sample's place in the stream and its number of positions. They do not depend on the batch size, the device, the
    number of threads or the other layers. For that reason the numbers come from a CPU generator, one after another, and
    how many a sample uses up depends on its number of positions alone.
    """

    def __init__(self, max_rows: int | None, num_samples: int, *, seed: int, key: str) -> None:
        self._num_samples = num_samples
        self._next_sample = 0
        self._generator = torch.Generator()
        self._generator.manual_seed(_derived_seed(seed, key))
        self._quota: Tensor | None = None
        self._least = self._most = 0
        if max_rows is not None:
            each, rest = divmod(max_rows, num_samples)
            self._quota = torch.full((num_samples,), each, dtype=torch.int64)
            self._quota[torch.randperm(num_samples, generator=self._generator)[:rest]] += 1
            self._least, self._most = each, each + bool(rest)

    def draw(self, batch: int, positions: int) -> Tensor | None:
        """Return the row numbers (sample * positions + position) to take from the next `batch` samples, sorted.

        Returns:
            int64 (r,) on the CPU, or None for all.

        Raises:
            SampleCountMismatch: more samples come than were announced.
        """
        quota = self._next(batch)
        if quota is None or self._least >= positions:
            return None
        if self._most >= positions:
            drawn = torch.arange(positions).expand(batch, -1)
            drawn = self._without_one(drawn, quota < positions)
        elif 4 * self._most <= positions:
            drawn = self._few(quota, positions)
        else:
            drawn = self._many(quota, positions)
        drawn = drawn.sort(dim=1).values
        rows = drawn + torch.arange(batch)[:, None] * positions
        return rows[drawn >= 0]

    def draw_unassigned(self, batch: int, rows: int) -> Tensor | None:
        """Return which of `rows` rows to take when nobody knows which sample of the next `batch` a row belongs to.

        As many as the samples' shares together, uniformly without replacement. Every row of the batch is equally
        likely, but other batch sizes draw other rows.

        Returns:
            int64 (r,), sorted, on the CPU, or None for all.

        Raises:
            SampleCountMismatch: more samples come than were announced.
        """
        quota = self._next(batch)
        if quota is None or int(quota.sum()) >= rows:
            return None
        return torch.randperm(rows, generator=self._generator)[: int(quota.sum())].sort().values

    def _next(self, batch: int) -> Tensor | None:
        """Return the shares of the next samples; None when everything is taken."""
        first, self._next_sample = self._next_sample, self._next_sample + batch
        if self._quota is None:
            return None
        if self._next_sample > self._num_samples:
            raise SampleCountMismatch(self._num_samples, self._next_sample)
        return self._quota[first : self._next_sample]

    def _few(self, quota: Tensor, positions: int) -> Tensor:
        """Draw few of many positions, (batch, most), -1 where a sample's share is smaller: Floyd's algorithm.

        Step j adds a number drawn from 0..j, or j itself when that number is already there; after the steps
        positions - q ... positions - 1 every subset of q numbers is equally likely. Its cost does not depend on the
        number of positions. A share that is one smaller skips the first step.

        References:
            Bentley and Floyd, "A sample of brilliance", Communications of the ACM 30, 1987.
        """
        chance = torch.rand(len(quota), self._most, generator=self._generator, dtype=torch.float64)
        chosen = torch.full((len(quota), self._most), -1)
        for step in range(self._most):
            top = positions - self._most + step
            number = (chance[:, step] * (top + 1)).long()
            is_there = (chosen[:, :step] == number[:, None]).any(dim=1)
            chosen[:, step] = torch.where(is_there, top, number)
            if step == 0:
                chosen[quota < self._most, 0] = -1
        return chosen

    def _many(self, quota: Tensor, positions: int) -> Tensor:
        """Draw many positions, (batch, most), -1 where a share is smaller: those with the largest random keys."""
        keys = torch.rand(len(quota), positions, generator=self._generator, dtype=torch.float64)
        drawn = keys.topk(self._most, dim=1).indices
        drawn[quota < self._most, -1] = -1
        return drawn

    def _without_one(self, drawn: Tensor, is_smaller: Tensor) -> Tensor:
        """Take one random position from the samples whose share is one smaller than all positions."""
        chance = torch.rand(len(drawn), generator=self._generator, dtype=torch.float64)
        dropped = (chance * drawn.shape[1]).long()
        return drawn.masked_fill(is_smaller[:, None] & (drawn == dropped[:, None]), -1)


def _derived_seed(seed: int, key: str) -> int:
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
