"""Runs a model again and again with other weights, and computes only what the other weights can change.

While candidates are compared, everything before the first operator that touches an edited weight gives the same result
each time. So the first run over a batch keeps, of those results, the few that are used later; the next runs hand them
out and skip everything before. That happens at the level of PyTorch's operators (see `recording`), so no architecture
needs code of its own. Cutting the model into a head and a tail, the obvious thing, works for `nn.Sequential` alone.

Where edits are made for good one after the other, the boundary can follow them: see `Replay.behind`.

Little is taken on trust. A first run on two samples finds the boundary and what is used beyond it, and its replay must
equal the plain forward (a replay behind one that works is not tried again). Every later run compares its operators with
those of the record, and looks for placeholders among the inputs of the operators that really run, and among what it
would keep. Whatever does not fit (control flow that depends on the data, dropout that stays on) is computed in full,
and counted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from unlearning.checks import checked_outputs
from unlearning.errors import UnknownLayer
from unlearning.layout import layout_of
from unlearning.modes import evaluating, refused
from unlearning.recording import Filling, Missed, Prefix, Record, Recording, Replaying


@dataclass
class Budget:
    """Bytes that may still be kept; several replays can share one."""

    left: int = 2 << 30


class Replay:
    """The outputs of a model on fixed batches, for many sets of weights that edit the same parameters.

    Args:
        model: The model; it is never changed, and its own weights must stay as they are.
        batches: The inputs; they must stay as they are too.
        edited: Names of the parameters (or buffers) that may be replaced.
        budget: Memory for kept results over all batches; a batch that would exceed it is computed in full.
        before: A replay of the same batches that needs less: where nothing is kept here, its results are used.

    Attributes:
        num_replayed: Runs that skipped what comes before the boundary.
        num_full: Runs without results of their own: the first of each batch, and all that could not be replayed.
        num_broken: Those among them that had begun otherwise: whoever watches operators saw some of theirs twice.
        reason: Why nothing is replayed; empty when something is.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Sequence[Tensor],
        edited: Collection[str],
        budget: Budget | None = None,
        before: Replay | None = None,
    ) -> None:
        self.num_replayed = self.num_full = self.num_broken = 0
        self.reason = ""
        self._model, self._batches, self._edited = model, batches, frozenset(edited)
        self._budget = budget or Budget()
        self._before = before
        self._dropped: set[int] = before._dropped if before else set()  # noqa: SLF001 - of its kind
        self._layout = layout_of(model, batches[0][:1]) if batches else Tensor.clone
        self._records: dict[int, Record | None] = {}
        self._prefix = self._verified(self._found()) if batches and edited else Prefix()

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def skips(self) -> bool:
        """Whether there is something that later runs leave out."""
        return bool(self._prefix.operators)

    @property
    def num_bytes(self) -> int:
        """Memory of the kept results."""
        return sum(record.num_bytes for record in self._records.values() if record)

    def logits(self, number: int, weights: Mapping[str, Tensor]) -> Tensor:
        """Return the model's output, in evaluation mode, for one batch and these weights.

        Raises:
            UnknownLayer: a weight is not among those that may be edited.
            ForwardFailed: the model refuses the batch.
            OptionOutOfRange: it returns something else than a tensor.
        """
        if not weights.keys() <= self._edited:
            raise UnknownLayer(weights.keys() - self._edited, self._edited)
        batch = self._layout(self._batches[number])
        with refused(batch), evaluating(self._model):
            was_kept = self._records.get(number) is not None
            try:
                if number not in self._dropped:
                    return self._run(number, batch, weights)
            except Missed:
                self.num_broken += 1
                self.num_full -= not was_kept
                self._drop(number)
            self.num_full += 1
            return self._called(batch, weights)

    def behind(self, edited: Collection[str]) -> Replay:
        """Return a replay for fewer edits: those left out have been made in the model itself, and stay as they are.

        What lies between its boundary and this one's runs once more for each batch, from what is kept here.
        """
        return Replay(self._model, self._batches, edited, self._budget, before=self)

    def release(self) -> None:
        """Forget what is kept; later runs keep it again."""
        self._budget.left += self.num_bytes
        self._records.clear()

    def _run(self, number: int, batch: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """Run the model from what is kept for this batch; if nothing is yet, keep it.

        Raises:
            Missed: the run does not follow the record.
        """
        if self._records.get(number) is not None:
            with self._replaying(number):
                output = self._called(batch, weights)
            self.num_replayed += 1
            return output
        self.num_full += 1
        if number in self._records or not self._prefix.operators:
            with self._replaying(number):
                return self._called(batch, weights)
        below = self._record_of(number)
        filling = Filling(self._prefix, Record(), below[1].scratch if below else ())
        try:
            with self._replaying(number), filling:
                return self._called(batch, weights)
        finally:
            if filling.is_complete:  # whoever watches may have seen enough, and stopped the model behind the boundary
                self._keep(number, filling.record)

    def _replaying(self, number: int) -> AbstractContextManager[object]:
        """Return the mode that hands out what is kept for a batch, here or before."""
        found = self._record_of(number)
        return nullcontext() if found is None else Replaying(*found)

    def _record_of(self, number: int) -> tuple[Prefix, Record] | None:
        record = self._records.get(number)
        if record is not None:
            return self._prefix, record
        return None if self._before is None else self._before._record_of(number)  # noqa: SLF001 - of its kind

    def _keep(self, number: int, record: Record) -> None:
        fits = record.num_bytes <= self._budget.left
        self._records[number] = record if fits else None
        self._budget.left -= record.num_bytes if fits else 0

    def _drop(self, number: int) -> None:
        """Compute this batch in full from now on, here, before and behind."""
        self._dropped.add(number)
        record = self._records.pop(number, None)
        self._budget.left += record.num_bytes if record else 0
        if self._before is not None:
            self._before._drop(number)  # noqa: SLF001 - of its kind

    def _found(self) -> Prefix:
        with evaluating(self._model):
            batch, weights = self._example(), self._copies()
            recording = Recording(weights.values())
            with recording:
                self._called(batch, weights)
        prefix = recording.prefix()
        if not prefix.operators:
            self.reason = "nothing comes before the first edited weight"
        return prefix

    def _verified(self, prefix: Prefix) -> Prefix:
        """Return the prefix if replaying it for other weights gives what a plain forward gives, else an empty one.

        That a model repeats itself has to be found out once: a replay behind one that works is not tried again.
        """
        if not prefix.operators or (self._before is not None and self._before.skips):
            return prefix
        with evaluating(self._model):
            batches, weights, record = [self._example() for _ in range(3)], self._copies(), Record()
            other = {name: weight * 1.01 if weight.is_floating_point() else weight for name, weight in weights.items()}
            try:
                with Filling(prefix, record):
                    self._called(batches[0], weights)
                with Replaying(prefix, record):
                    replayed = self._called(batches[1], other)
            except Missed:
                self.reason = "the model does not repeat its operators"
                return Prefix()
            plain = self._called(batches[2], other)
        if torch.allclose(replayed, plain, rtol=1e-5, atol=1e-6, equal_nan=True):
            return prefix
        self.reason = "the model does not repeat its results"
        return Prefix()

    def _example(self) -> Tensor:
        return self._layout(self._batches[0][:2])

    def _copies(self) -> dict[str, Tensor]:
        """Return the weights that may be edited, each in memory of its own, by which it can be told from the others."""
        named: dict[str, Tensor] = dict(self._model.named_parameters(remove_duplicate=False))
        named |= dict(self._model.named_buffers(remove_duplicate=False))
        return {name: named[name].detach().clone() for name in sorted(self._edited)}

    def _called(self, batch: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        return checked_outputs(functional_call(self._model, dict(weights), (batch,)) if weights else self._model(batch))
