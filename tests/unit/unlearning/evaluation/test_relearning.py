"""Relearning is plain SGD with momentum, on a copy, and a reset head forgets exactly what it should."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.fixtures.small_models import SmallConvNet, normal, seeded
from unlearning.errors import OptionOutOfRange, ShapeError, UnknownLayer, WeightsDoNotFit
from unlearning.evaluation import predict_logits, relearned, relearning_measures, reset_head, wilson_interval


def softmax_gradient(w: Tensor, b: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    p = torch.softmax(x @ w.T + b, dim=1)
    p[torch.arange(len(y)), y] -= 1
    return p.T @ x / len(y), p.mean(dim=0)


def test_the_steps_are_those_of_sgd_with_momentum() -> None:
    model = seeded(nn.Linear(5, 3)).double()
    x, y = normal(12, 5).double(), torch.arange(12) % 3
    w, b = model.weight.detach().clone(), model.bias.detach().clone()
    speed_w, speed_b = torch.zeros_like(w), torch.zeros_like(b)
    for _ in range(4):  # one batch of all samples: the order does not matter
        gradient_w, gradient_b = softmax_gradient(w, b, x, y)
        speed_w, speed_b = 0.9 * speed_w + gradient_w, 0.9 * speed_b + gradient_b
        w, b = w - 0.1 * speed_w, b - 0.1 * speed_b
    ((step, trained),) = relearned(model, x, y, at_steps=[4], learning_rate=0.1, batch_size=99, seed=0)
    assert step == 4
    # The loss is taken in float32.
    torch.testing.assert_close(trained.get_parameter("weight").detach(), w, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(trained.get_parameter("bias").detach(), b, rtol=1e-5, atol=1e-6)


def test_every_step_asked_for_is_shown_and_the_model_stays_as_it_was() -> None:
    model = seeded(SmallConvNet()).train()
    model.first.weight.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    x, y = normal(20, 3, 8, 8), np.arange(20) % 4
    shown = [
        (step, copy.deepcopy(trained.state_dict())) for step, trained in relearned(model, x, y, at_steps=(3, 0), seed=0)
    ]
    assert [step for step, _ in shown] == [0, 3]
    for name, value in before.items():
        assert torch.equal(value, model.state_dict()[name])
        assert torch.equal(value, shown[0][1][name])
    assert not torch.equal(before["first.weight"], shown[1][1]["first.weight"])
    assert model.training
    assert not model.first.weight.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


def test_batch_normalisation_works_as_in_training_only_where_it_is_trained() -> None:
    model = seeded(SmallConvNet())
    x, y = 5 + normal(20, 3, 8, 8), np.arange(20) % 4
    moved = {}
    for name, only in (("all", None), ("last", ["head"])):
        ((_, trained),) = relearned(model, x, y, at_steps=[2], only=only, seed=0)
        moved[name] = not torch.equal(trained.get_buffer("norm.running_mean"), model.get_buffer("norm.running_mean"))
        assert not trained.training
    assert moved == {"all": True, "last": False}


def test_dropout_is_off() -> None:
    model = seeded(nn.Sequential(nn.Dropout(0.9), nn.Linear(5, 3)))
    plain = nn.Sequential(nn.Identity(), copy.deepcopy(model[1]))
    x, y = normal(12, 5), np.arange(12) % 3
    both = [next(relearned(each.train(), x, y, at_steps=[3], seed=0))[1].state_dict() for each in (model, plain)]
    assert torch.equal(both[0]["1.weight"], both[1]["1.weight"])


def test_only_the_named_modules_learn() -> None:
    model = seeded(SmallConvNet())
    x, y = normal(20, 3, 8, 8), np.arange(20) % 4
    ((_, trained),) = relearned(model, x, y, at_steps=[2], only=["head"], seed=0)
    changed = {name for name, value in trained.named_parameters() if not torch.equal(value, model.get_parameter(name))}
    assert changed == {"head.weight", "head.bias"}


def test_the_order_of_the_samples_depends_on_the_seed_alone() -> None:
    model, x, y = seeded(SmallConvNet()), normal(30, 3, 8, 8), np.arange(30) % 4
    outputs = []
    for seed in (1, 1, 2):
        torch.rand(seed)  # whatever happened to the global generator
        ((_, trained),) = relearned(model, x, y, at_steps=[3], batch_size=8, seed=seed)
        outputs.append(predict_logits(trained, x))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    return float((predict_logits(model, x).argmax(dim=1) == y).double().mean())


def test_the_best_step_is_the_best_of_all_that_were_seen() -> None:
    model, x, y = seeded(SmallConvNet()), normal(40, 3, 8, 8), torch.arange(40) % 4
    test = normal(30, 3, 8, 8, seed=1), torch.full((30,), 2)
    found = relearning_measures(model, (x, y), test, name="relearn", watched=99, at_steps=(0, 2, 5), seed=3)
    names = ["relearn_0", "relearn_2", "relearn_5", "relearn_best_5"]
    assert [measure.name for measure in found] == [f"{name}_forget_accuracy" for name in names]
    assert found[0].value == accuracy(model, *test)
    assert found[3].value >= max(measure.value for measure in found[1:3])
    assert (found[0].low, found[0].high) == pytest.approx(wilson_interval(round(30 * found[0].value), 30))


def test_orders_are_averaged() -> None:
    model, x, y = seeded(SmallConvNet()), normal(40, 3, 8, 8), np.arange(40) % 4
    test = normal(30, 3, 8, 8, seed=1), torch.full((30,), 2)
    seeds = [int(np.random.SeedSequence([7, order]).generate_state(1)[0]) for order in range(3)]
    single = []
    for seed in seeds:
        ((_, trained),) = relearned(model, x, y, at_steps=[4], seed=seed)
        single.append(accuracy(trained, *test))
    (found,) = relearning_measures(model, (x, y), test, name="relearn", at_steps=[4], watched=0, orders=3, seed=7)
    assert found.value == pytest.approx(np.mean(single))


def test_training_that_diverges_brings_nothing_back() -> None:
    model, x, y = seeded(nn.Linear(5, 3)), normal(12, 5), np.arange(12) % 3
    test = 1e30 * normal(4, 5), torch.zeros(4, dtype=torch.int64)
    (found,) = relearning_measures(model, (1e30 * x, y), test, name="relearn", at_steps=[3], watched=0, seed=0)
    assert found.value == 0


def test_a_reset_row_gives_the_mean_of_the_retained_outputs() -> None:
    model, x = seeded(SmallConvNet()), normal(6, 3, 8, 8)
    before = predict_logits(model, x)
    after = predict_logits(reset_head(model, "head", {0, 2}), x)
    kept = before[:, [1, 3]]
    torch.testing.assert_close(after[:, [1, 3]], kept)
    torch.testing.assert_close(after[:, [0, 2]], kept.mean(dim=1, keepdim=True).expand(-1, 2))
    assert torch.equal(predict_logits(model, x), before)


def test_a_reset_head_may_be_a_convolution_without_bias() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    x = normal(5, 3, 4, 4)
    before, after = predict_logits(model, x), predict_logits(reset_head(model, "0", {1}), x)
    torch.testing.assert_close(after[:, 1], before[:, [0, 2, 3]].mean(dim=1))


def test_what_cannot_be_trained_is_refused() -> None:
    model, x, y = seeded(SmallConvNet()), normal(8, 3, 8, 8), np.arange(8) % 4
    with pytest.raises(ShapeError, match="labels"):
        next(relearned(model, x, y[:3], seed=0))
    with pytest.raises(OptionOutOfRange, match="at_steps"):
        next(relearned(model, x, y, at_steps=(), seed=0))
    with pytest.raises(OptionOutOfRange, match="at_steps"):
        next(relearned(model, x, y, at_steps=(-1,), seed=0))
    with pytest.raises(UnknownLayer, match="tail"):
        next(relearned(model, x, y, only=["tail"], seed=0))
    with pytest.raises(WeightsDoNotFit, match="row per class"):
        reset_head(nn.Sequential(nn.ReLU()), "0", {0})
