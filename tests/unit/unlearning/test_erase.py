"""A whole edit against the oracle, and what it leaves untouched."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from tests.fixtures.small_models import SmallConvNet, normal, seeded
from tests.fixtures.svd_oracle import patches, updated
from unlearning import collect, erase_classes, erase_from_statistics
from unlearning.errors import NonFinite, OptionOutOfRange, StatisticsMismatch, UnknownLayer, WeightsDoNotFit
from unlearning.statistics import SecondMoment


def inputs_of(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Record every layer's input rows (n, groups, d), by plain hooks of the test's own."""
    seen: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda mod, args, _, name=name: seen.__setitem__(f"{name}.weight", patches(mod, args[0]))
            )
        elif isinstance(module, nn.Linear):
            module.register_forward_hook(
                lambda mod, args, _, name=name: seen.__setitem__(
                    f"{name}.weight", args[0].reshape(-1, 1, mod.in_features)
                )
            )
    with torch.no_grad():
        model(x)
    return seen


MODELS: dict[str, Callable[[], nn.Module]] = {
    "grouped and strided": SmallConvNet,
    "dilated, non-square": lambda: nn.Sequential(
        nn.Conv2d(3, 6, (3, 1), dilation=(2, 1), padding="same"),
        nn.ReLU(),
        nn.Conv2d(6, 6, (1, 3), stride=(2, 1), groups=6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 4 * 6, 4),
    ),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("n", [3, 40])
def test_every_edited_weight_equals_the_full_svd(name: str, n: int) -> None:
    model = seeded(MODELS[name]()).double().eval()
    retain, forget = normal(n, 3, 8, 8).double(), normal(n, 3, 8, 8, seed=1).double() + 0.5
    erasure = erase_classes(model, retain=[retain], forget=[forget], max_rows=None)
    seen_r, seen_f = inputs_of(copy.deepcopy(model), retain), inputs_of(copy.deepcopy(model), forget)
    assert set(erasure.weights) == set(seen_r)
    for report in erasure.layers:
        weight = model.get_parameter(report.weight).detach()
        part = report.m // report.groups
        rows = weight.reshape(report.groups, part, -1)
        expected = torch.stack([
            updated(rows[g], seen_r[report.weight][:, g], seen_f[report.weight][:, g], 100, 3)
            for g in range(report.groups)
        ]).reshape(weight.shape)
        torch.testing.assert_close(erasure.weights[report.weight], expected)
        assert report.relative_change == pytest.approx(float((expected - weight).norm() / weight.norm()))
        assert (report.d, report.retain_rows) == (rows.shape[-1], len(seen_r[report.weight]))


def test_float32_agrees_with_float64_to_rounding() -> None:
    model = seeded(SmallConvNet())
    sides = {"retain": normal(30, 3, 8, 8), "forget": normal(30, 3, 8, 8, seed=1) + 0.5}
    single = erase_classes(model, retain=[sides["retain"]], forget=[sides["forget"]])
    double = erase_classes(
        copy.deepcopy(model).double(), retain=[sides["retain"].double()], forget=[sides["forget"].double()]
    )
    for name, weight in double.weights.items():
        assert float((single.weights[name] - weight).norm() / weight.norm()) < 1e-5


def test_the_model_changes_only_when_the_edit_is_applied() -> None:
    model = seeded(SmallConvNet())
    before = copy.deepcopy(model.state_dict())
    erasure = erase_classes(model, retain=[normal(8, 3, 8, 8)], forget=[normal(8, 3, 8, 8, seed=1)])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    erasure.apply_to(model)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(before[name], value)}
    assert changed == set(erasure.weights)
    assert {entry.name for entry in erasure.untouched} | changed == {name for name, _ in model.named_parameters()}


def test_the_same_seed_gives_identical_weights_and_another_seed_others() -> None:
    model, retain, forget = seeded(SmallConvNet()), normal(8, 3, 8, 8), normal(8, 3, 8, 8, seed=1)

    def weights(seed: int) -> Tensor:
        return erase_classes(model, retain=[retain], forget=[forget], max_rows=50, seed=seed).weights["first.weight"]

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_only_the_layers_asked_for_are_edited_and_the_others_are_listed() -> None:
    model = seeded(SmallConvNet())
    sides = [normal(8, 3, 8, 8)], [normal(8, 3, 8, 8, seed=1)]
    direct = erase_classes(model, retain=sides[0], forget=sides[1], layers=["hidden.weight"])
    later = erase_from_statistics(
        model, collect(model, sides[0]), collect(model, sides[1]), alpha_r=100, alpha_f=3, layers=["hidden.weight"]
    )
    for erasure in (direct, later):
        assert list(erasure.weights) == ["hidden.weight"]
        reasons = {entry.name: entry.reason for entry in erasure.untouched}
        assert reasons["head.weight"] == "not among the layers asked for"
        assert len(reasons) == len(list(model.parameters())) - 1
    torch.testing.assert_close(direct.weights["hidden.weight"], later.weights["hidden.weight"])


def test_weights_come_back_in_the_dtype_of_the_model() -> None:
    model = seeded(SmallConvNet()).bfloat16()
    sides = [normal(8, 3, 8, 8).bfloat16()], [normal(8, 3, 8, 8, seed=1).bfloat16()]
    erasure = erase_classes(model, retain=sides[0], forget=sides[1])
    assert {weight.dtype for weight in erasure.weights.values()} == {torch.bfloat16}
    erasure.apply_to(model)


def test_an_edit_that_does_not_fit_changes_nothing() -> None:
    model, other = seeded(SmallConvNet()), seeded(SmallConvNet(num_classes=5))
    erasure = erase_classes(model, retain=[normal(8, 3, 8, 8)], forget=[normal(8, 3, 8, 8, seed=1)])
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(WeightsDoNotFit, match=r"'head\.weight' is \(5, 16\), the edited one \(4, 16\)"):
        erasure.apply_to(other)
    assert all(torch.equal(before[name], value) for name, value in other.state_dict().items())
    with pytest.raises(WeightsDoNotFit, match="missing"):
        erasure.apply_to(nn.Linear(2, 2))


class Interrupts(nn.Parameter):
    """A parameter whose copy is interrupted, as by the keyboard."""

    def copy_(self, *_: object, **__: object) -> Tensor:
        raise KeyboardInterrupt


def test_an_interrupted_application_is_taken_back() -> None:
    model = seeded(SmallConvNet())
    erasure = erase_classes(model, retain=[normal(8, 3, 8, 8)], forget=[normal(8, 3, 8, 8, seed=1)])
    before = copy.deepcopy(model.state_dict())
    ordinary = model.head.weight
    model.head.weight = Interrupts(ordinary.data)
    with pytest.raises(KeyboardInterrupt):
        erasure.apply_to(model)
    model.head.weight = ordinary
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("is_made_inside", "is_applied_inside"), [(True, False), (False, True), (True, True)])
def test_a_model_of_inference_mode_is_edited_like_any_other(is_made_inside: bool, is_applied_inside: bool) -> None:
    retain, forget = [normal(6, 3, 8, 8)], [normal(6, 3, 8, 8, seed=1)]
    wanted = erase_classes(seeded(SmallConvNet()), retain=retain, forget=forget).weights
    with torch.inference_mode(is_made_inside):
        model = seeded(SmallConvNet())
    erasure = erase_classes(model, retain=retain, forget=forget)
    with torch.inference_mode(is_applied_inside):
        erasure.apply_to(model)
    state = model.state_dict()
    assert all(torch.equal(state[name], weight) for name, weight in wanted.items())


def test_an_edit_that_overflows_the_dtype_is_not_applied() -> None:
    model = seeded(SmallConvNet())
    erasure = erase_classes(model, retain=[normal(8, 3, 8, 8)], forget=[normal(8, 3, 8, 8, seed=1)])
    erasure.weights["head.weight"].mul_(1e6)
    half = copy.deepcopy(model).half()
    before = copy.deepcopy(half.state_dict())
    with pytest.raises(NonFinite, match=r"the edited 'head\.weight'"):
        erasure.apply_to(half)
    assert all(torch.equal(before[name], value) for name, value in half.state_dict().items())


class Attends(nn.Module):
    """Fused attention, a weight-normalised layer and a frozen one; nothing that a hook on Linear would see."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2)
        self.wrapped = parametrizations.weight_norm(nn.Linear(8, 6))
        self.head = nn.Parameter(torch.empty(6, 3), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1)
        x = self.attention(x, x, x, need_weights=False)[0].transpose(0, 1)
        y: Tensor = torch.tanh(self.wrapped(x)).mean(1) @ self.head
        return y


def test_fused_normalised_and_bare_weights_are_edited_like_any_other() -> None:
    model = seeded(Attends()).double()
    retain, forget = normal(7, 5, 8).double(), normal(7, 5, 8, seed=1).double() + 0.5
    erasure = erase_classes(model, retain=[retain], forget=[forget], max_rows=None)
    expected = updated(model.attention.in_proj_weight.detach(), retain.reshape(-1, 8), forget.reshape(-1, 8), 100, 3)
    torch.testing.assert_close(erasure.weights["attention.in_proj_weight"], expected)
    with torch.no_grad():
        inner = [
            torch.tanh(model.wrapped(model.attention(*[x.transpose(0, 1)] * 3)[0].transpose(0, 1))).mean(1)
            for x in (retain, forget)
        ]
    torch.testing.assert_close(erasure.weights["head"], updated(model.head.T, inner[0], inner[1], 100, 3).T)
    frozen = model.head.requires_grad
    erasure.apply_to(model)
    changes = {report.weight: report.relative_change for report in erasure.layers}
    assert model.head.requires_grad is frozen
    assert list(changes) == ["attention.in_proj_weight", "attention.out_proj.weight", "wrapped.weight", "head"]
    assert min(changes.values()) > 0.01


class Routed(nn.Module):
    """Sends positive samples to one expert, negative ones to another."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.positive, self.negative = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = (self.positive if x.sum() > 0 else self.negative)(self.stem(x))
        return y


def test_a_layer_that_only_one_side_runs_is_left_alone_by_name() -> None:
    x = normal(6, 4).abs()
    erasure = erase_classes(seeded(Routed()), retain=[x], forget=[-x])
    assert list(erasure.weights) == ["stem.weight"]
    reasons = {entry.name: entry.reason for entry in erasure.untouched}
    assert reasons["positive.weight"] == "ran on one side only"
    assert set(reasons) == {name for name, _ in Routed().named_parameters()} - {"stem.weight"}


def test_bad_requests_are_refused_before_any_work() -> None:
    model, x = seeded(SmallConvNet()), normal(8, 3, 8, 8)
    with pytest.raises(OptionOutOfRange, match="alpha_f"):
        erase_classes(model, retain=[], forget=[], alpha_f=0)
    with pytest.raises(UnknownLayer):
        erase_classes(model, retain=[x], forget=[x], layers=["nothing"])
    full, part = collect(model, [x]), collect(model, [x], weights=["head.weight"])
    with pytest.raises(StatisticsMismatch, match="different layers"):
        erase_from_statistics(model, full, part, alpha_r=100, alpha_f=3)
    with pytest.raises(UnknownLayer):
        erase_from_statistics(model, part, part, alpha_r=100, alpha_f=3, layers=["first.weight"])


def test_progress_names_the_stages_in_order() -> None:
    seen: list[tuple[str, int, int | None]] = []
    x = normal(4, 3, 8, 8)
    erase_classes(seeded(SmallConvNet()), retain=[x], forget=[x + 1], progress=lambda *step: seen.append(step))
    assert seen == [("retain", 4, 4), ("forget", 4, 4), *(("project", done, 4) for done in range(1, 5))]


def test_each_moment_is_let_go_of_once_its_layer_is_done() -> None:
    alive: list[int] = []

    def count(stage: str, _done: int, _total: int | None) -> None:
        if stage == "project":
            alive.append(sum(type(item) is SecondMoment for item in gc.get_objects()))

    x = normal(8, 3, 8, 8)
    erasure = erase_classes(seeded(SmallConvNet()), retain=[x], forget=[x + 1], progress=count)

    assert alive == [alive[0] - 2 * place for place in range(len(erasure.layers))]
