"""Whether a model's forward may be left in the middle, by an exception that passes through the model's own Python."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from unlearning.modes import copied, watchable
from unlearning.products import PRODUCTS, name_of


class Enough(BaseException):  # no `Exception`: the model's own handlers shall not see it
    """What shall be seen of a forward has been seen."""


class _Leaving(TorchDispatchMode):
    """Leaves a forward at one of its products, and counts those before it."""

    def __init__(self, place: int | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._place = place
        self.seen = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator, unless it is the one."""
        if name_of(func) in PRODUCTS:
            self.seen += 1
            if self.seen == self._place:
                raise Enough
        return func(*args, **(kwargs or {}))


def may_be_left(model: nn.Module, example: Tensor) -> bool:
    """Whether a copy of `model` gives the same as before after its forward was left at each of its products.

    Not so if the forward puts something into the model and takes it out at the end, catches every exception, or runs in
    an interpreter that turns this one into another.

    Args:
        model: Any module.
        example: A batch of inputs that it takes (B, ...).
    """
    trial = copied(model)
    with watchable(trial):
        counting = _Leaving(None)
        with counting:
            before = trial(example.clone())
        for place in range(1, counting.seen + 1):
            try:
                with _Leaving(place):
                    trial(example.flip(0).roll(1, dims=-1))  # another, lest what is left behind look right
            except Enough:
                continue
            except Exception:  # noqa: BLE001 - whatever a model makes of it
                return False
            return False
        try:
            after = trial(example.clone())
        except Exception:  # noqa: BLE001 - it is not what it was
            return False
    return isinstance(before, Tensor) and isinstance(after, Tensor) and torch.equal(before, after)
