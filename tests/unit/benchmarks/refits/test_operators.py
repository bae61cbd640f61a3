"""The two operators: what the symmetric one is where everything commutes, and that it never amplifies."""

import torch
from torch import Tensor, nn

from benchmarks.refits.operators import both, published, removed_from, symmetric
from benchmarks.refits.refit import renormalised
from tests.fixtures.small_models import SmallConvNet, normal, seeded
from unlearning import collect, erase_classes
from unlearning.statistics import SecondMoment


def moment(*columns: float) -> SecondMoment:
    """Of inputs along the axes."""
    return SecondMoment.of(torch.diag(torch.tensor(columns))[None], rows=100)


def soft(s: Tensor, alpha: float) -> Tensor:
    return alpha * s / ((alpha - 1) * s + 1)


def test_where_everything_commutes_it_works_on_each_direction_alone() -> None:
    retain, forget = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.1, 0.3, 0.6])
    p, q = soft(forget, 3.0), 1 - soft(retain, 100.0)
    expected = 1 - 1 / (1 / p + 1 / q - 1)
    found = symmetric(torch.ones(1, 1, 3), moment(*retain.tolist()), moment(*forget.tolist()), 100.0, 3.0)
    torch.testing.assert_close(found[0, 0], expected, atol=1e-4, rtol=0)


def test_it_is_symmetric_and_removes_no_more_than_either_operand() -> None:
    a, b = (x @ x.mT / (x @ x.mT).norm() for x in (normal(6, 9).double(), normal(6, 9, seed=1).double()))
    found = both(a, b)
    torch.testing.assert_close(found, found.mT)
    for larger in (a, b):
        assert torch.linalg.eigvalsh(larger - found).min() > -1e-5
    assert torch.linalg.eigvalsh(found).min() > -1e-9


def test_the_published_operator_is_the_product_s_and_only_the_named_layers_change() -> None:
    model = seeded(SmallConvNet()).eval()
    sides = [normal(24, 3, 8, 8)], [normal(12, 3, 8, 8, seed=1)]
    expected = erase_classes(model, retain=sides[0], forget=sides[1], alpha_r=100, alpha_f=3, layers=["head.weight"])
    found = removed_from(model, *sides, ["head.weight"], published, (100.0, 3.0), seed=0)
    torch.testing.assert_close(found.get_parameter("head.weight"), expected.weights["head.weight"])
    for name, value in model.state_dict().items():
        assert name == "head.weight" or torch.equal(found.state_dict()[name], value)
    assert len(collect(model, sides[0], weights=["head.weight"]).layers) == 1


def test_statistics_of_batch_norms_are_those_of_the_retained_samples() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5))
    batches = [5 + normal(16, 3, 8, 8), 5 + normal(16, 3, 8, 8, seed=1)]
    seeded(model).eval()
    first = model.get_buffer("1.running_mean").clone()
    renormalised(model, ["3.weight", "3.bias"], batches)
    with torch.no_grad():
        given = model[:4](torch.cat(batches))
    assert torch.equal(model.get_buffer("1.running_mean"), first)
    torch.testing.assert_close(model.get_buffer("4.running_mean"), given.mean(dim=(0, 2, 3)))
    assert not model.training
    assert all(not module.training for module in model.modules())
    assert model[4].momentum == 0.1
