"""Each variation of the refit differs from the product's where it says so, and nowhere else."""

from typing import Any

import torch
from torch import nn

from benchmarks.refits.refit import Activation, VariedRefit
from benchmarks.refits.variations import Variation, sharpened, uniform
from tests.fixtures.small_models import normal, seeded
from unlearning import Refit
from unlearning.capture import find_layers
from unlearning.targets import SPREAD

GIVEN: dict[str, Any] = {
    "retain": [normal(40, 3, 8, 8)],
    "forget": [normal(12, 3, 8, 8, seed=1)],
    "classes": {2},
}
CONV, HIDDEN, HEAD = "0.weight", "4.weight", "6.weight"


def network() -> nn.Sequential:
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=4, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24, 8),
        nn.ReLU(),
        nn.Linear(8, 4),
    )
    return seeded(model).eval()


def varied(**changed: Any) -> VariedRefit:
    return VariedRefit(network(), Variation("", **changed), **GIVEN)


def targets(**changed: Any) -> dict[str, torch.Tensor]:
    """Of the hidden linear layer, (52, 8), and of the head, (52, 4)."""
    found = varied(**changed)._targets
    return {key: found[key].flatten(1) for key in (HIDDEN, HEAD)}


def hidden() -> torch.Tensor:
    with torch.no_grad():
        outputs: torch.Tensor = network()[:5](torch.cat([*GIVEN["retain"], *GIVEN["forget"]]))
    return outputs


def test_without_a_variation_it_is_the_product_bit_by_bit() -> None:
    ours, product = varied(spread=SPREAD), Refit(network(), max_rows=20_000, **GIVEN)
    layers = [layer.weight for layer in product.layers]
    expected = product.of(layers).weights

    assert layers == [CONV, HIDDEN, HEAD]
    assert all(torch.equal(value, expected[name]) for name, value in ours.of(layers).weights.items())


def test_a_spread_moves_forgotten_targets_away_from_their_mean() -> None:
    plain, wide = targets()[HIDDEN][40:], targets(feature_spread=3.0)[HIDDEN][40:]
    centre = plain.mean(dim=0)

    torch.testing.assert_close(wide - centre, 3 * (plain - centre))


def test_targets_change_for_hidden_layers_and_forgotten_rows_alone() -> None:
    plain = targets()
    for changed in ({"is_zero": True}, {"shares": uniform}, {"keeps_residual": True}, {"after_activation": True}):
        other = targets(**changed)
        assert torch.equal(other[HEAD], plain[HEAD])
        assert torch.equal(other[HIDDEN][:40], plain[HIDDEN][:40])
        assert not torch.allclose(other[HIDDEN][40:], plain[HIDDEN][40:])


def test_targets_are_what_the_variations_say() -> None:
    given = hidden()
    plain, kept = targets(), targets(keeps_residual=True)[HIDDEN][40:]
    active = targets(shares=uniform, after_activation=True)[HIDDEN][40:].relu()

    assert not targets(is_zero=True)[HIDDEN][40:].any()
    torch.testing.assert_close(
        targets(shares=uniform)[HIDDEN][40:], given[:40].mean(0).expand(12, -1), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(kept - plain[HIDDEN][40:], given[40:] - given[40:].mean(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(active, given[:40].relu().mean(0).expand(12, -1), atol=1e-5, rtol=0)


def test_a_deviation_is_kept_as_far_as_retained_inputs_explain_it() -> None:
    plain, kept = targets()[HIDDEN][40:], targets(keeps_residual=True)[HIDDEN][40:]
    all_of_it = targets(keeps_residual=True, explained=1e-7)[HIDDEN][40:]
    none_of_it = targets(keeps_residual=True, explained=1e7)[HIDDEN][40:]
    some = targets(keeps_residual=True, explained=1.0)[HIDDEN][40:]

    # 40 retained rows span all 24 inputs of the layer, so a small ridge keeps everything.
    torch.testing.assert_close(all_of_it, kept, atol=1e-3, rtol=0)
    torch.testing.assert_close(none_of_it, plain, atol=1e-4, rtol=0)
    assert 0 < (some - plain).norm() < (kept - plain).norm()


def test_an_activations_inverse_gives_the_activation_back() -> None:
    model, a = network(), normal(5, 6).relu()
    found = Activation.after(model, find_layers(model, GIVEN["retain"][0][:2]).layers[0])
    z = found.inverse(a)

    assert found.scale is not None
    torch.testing.assert_close(found(z), a, atol=1e-6, rtol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(model[1:3](z[:, :, None, None])[..., 0, 0], a, atol=1e-6, rtol=1e-5)


def test_sharper_shares_still_sum_to_one_and_favour_the_first() -> None:
    shares = torch.tensor([[0.6, 0.3, 0.1]])
    cubes = torch.tensor([[0.216, 0.027, 0.001]]) / 0.244

    torch.testing.assert_close(sharpened(shares), cubes)


def test_in_parallel_every_layer_is_fitted_as_if_it_were_the_only_one() -> None:
    refit, product = varied(is_parallel=True, spread=SPREAD), Refit(network(), max_rows=20_000, **GIVEN)
    together = refit.of([HIDDEN, HEAD]).weights

    for key in (HIDDEN, HEAD):
        alone = product.of([key]).weights
        assert all(torch.equal(together[name], value) for name, value in alone.items())
    in_turn = product.of([HIDDEN, HEAD]).weights
    assert torch.equal(together[HIDDEN], in_turn[HIDDEN])
    assert not torch.equal(together[HEAD], in_turn[HEAD])


def test_without_biases_only_weights_are_refitted() -> None:
    assert set(varied(has_bias=False).of([HIDDEN, HEAD]).weights) == {HIDDEN, HEAD}
