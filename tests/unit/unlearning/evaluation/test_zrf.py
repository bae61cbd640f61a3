"""A random copy knows nothing and disturbs nothing; ZRF is 1 for it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from tests.fixtures.digits_models import Digits
from tests.fixtures.small_models import SmallConvNet, normal, seeded
from unlearning.errors import ShapeError
from unlearning.evaluation import js_distance, predict_logits, random_copy, zrf


def test_the_random_network_itself_scores_one_and_the_original_is_far_from_it(digits: Digits) -> None:
    x, _ = digits.forgotten
    known = predict_logits(digits.original, x)
    noise = predict_logits(random_copy(digits.original, seed=0).model, x)
    assert zrf(noise, noise).value == 1
    found = zrf(known, noise, seed=0)
    assert (found.high or 1) < 0.6
    assert found.value == pytest.approx(1 - js_distance(known, noise).value)
    assert (found.seed, found.n) == (0, len(x))


def test_every_weight_is_new_and_the_original_and_the_global_generator_are_left_alone() -> None:
    model = seeded(SmallConvNet()).train()
    model.get_buffer("norm.running_mean").fill_(3.0)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    first, again, other = (random_copy(model, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert model.training
    assert not first.model.training
    assert first.shuffled == ()
    assert all(torch.equal(value, again.model.state_dict()[name]) for name, value in first.model.state_dict().items())
    for name, value in first.model.named_parameters():
        assert not torch.equal(value, before[name])
    assert not torch.equal(first.model.get_parameter("first.weight"), other.model.get_parameter("first.weight"))
    assert not first.model.get_buffer("norm.running_mean").any()


class Tokens(nn.Module):
    """Owns a parameter itself, as a vision transformer owns its class token, and a layer without `reset_parameters`."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.arange(60.0))
        self.attention = nn.MultiheadAttention(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.token


def test_what_has_no_way_to_begin_anew_is_shuffled_and_named() -> None:
    model = Tokens()
    found = random_copy(model, seed=0)
    assert "token" in found.shuffled
    assert "attention.in_proj_weight" in found.shuffled
    token = found.model.get_parameter("token")
    assert not torch.equal(token, model.token)
    assert torch.equal(token.sort().values, model.token)


def test_outputs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="two outputs"):
        zrf(normal(3, 4), normal(3, 5))
