"""Images lie with their channels last where the model takes them so."""

import pytest
import torch
from torch import Tensor, nn

from tests.fixtures.small_models import normal
from unlearning import collect
from unlearning.layout import layout_of


class Viewing(nn.Module):
    """Flattens without a copy, which images with their channels last do not allow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4 * 6 * 6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        logits: Tensor = self.head(x.view(len(x), -1))
        return logits


class Reshaping(Viewing):
    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.conv(x).flatten(1))
        return logits


@pytest.mark.parametrize(("model", "is_last"), [(Reshaping(), True), (Viewing(), False)])
def test_channels_lie_last_where_the_model_takes_them_so(model: nn.Module, is_last: bool) -> None:
    x = normal(4, 3, 8, 8)
    laid = layout_of(model, x)(x)
    assert torch.equal(laid, x)
    assert laid.is_contiguous(memory_format=torch.channels_last) == is_last


@pytest.mark.parametrize("x", [normal(4, 3), normal(4, 1, 8, 8), torch.zeros(4, 3, 8, 8, dtype=torch.long)])
def test_what_is_no_image_of_several_channels_is_left_as_it_is(x: Tensor) -> None:
    assert layout_of(nn.Identity(), x)(x) is x


def test_a_model_that_breaks_says_so_itself() -> None:
    with pytest.raises(RuntimeError, match="expected input"):
        layout_of(nn.Conv2d(5, 4, 3), normal(4, 3, 8, 8))


def test_statistics_of_a_model_that_views_are_those_of_one_that_reshapes() -> None:
    viewing, reshaping = Viewing(), Reshaping()
    reshaping.load_state_dict(viewing.state_dict())
    x = normal(6, 3, 8, 8)
    first, second = (collect(model, [x], seed=0) for model in (viewing, reshaping))
    for key, moment in first.moments.items():
        torch.testing.assert_close(moment.gram, second.moments[key].gram, rtol=1e-5, atol=1e-6)
