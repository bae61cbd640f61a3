"""Passes over a model whose layers change: each row is shown once, even where a replay must be begun again."""

import torch
from torch import Tensor, nn

from tests.fixtures.small_models import normal, seeded
from unlearning.passes import Passes


class Branching(nn.Module):
    """Uses, for large activations alone, a result that no earlier run needed; all weights come after that result."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        early = x.relu()
        hidden: Tensor = self.second(self.first(x))
        if float(hidden.abs().mean()) > 100:
            hidden = hidden + early
        logits: Tensor = self.head(hidden)
        return logits


def test_rows_come_once_when_a_changed_layer_breaks_the_replay() -> None:
    model, x = seeded(Branching()), normal(16, 6)
    passes = Passes(model, (x[:8], x[8:]), None, 16, 0, None)
    passes.logits()
    with torch.no_grad():
        model.first.weight *= 1000

    rows = passes.rows(passes.layers[1])

    assert passes._replay.num_broken > 0
    assert torch.allclose(rows[:, 0], model.first(x))
