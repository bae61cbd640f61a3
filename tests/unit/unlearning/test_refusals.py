"""What is wrong with a model or a setting is refused in words by every public door; what is merely odd works."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.fixtures.small_models import normal, seeded
from unlearning import Bench, Erasure, Refit, choose, collect, erase_classes, layers_at_most, refit_classes
from unlearning.deepening import deepest_refit
from unlearning.errors import EmptySide, ForwardFailed, NonFinite, NothingToProject, OptionOutOfRange
from unlearning.evaluation import predict_logits

X = normal(12, 8)
LABELS = np.arange(12) % 3


def body() -> nn.Sequential:
    return seeded(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)))


def erased(model: Any) -> Erasure:
    return erase_classes(model, retain=[X[:8]], forget=[X[8:]])


def refitted(model: Any) -> Erasure:
    return refit_classes(model, retain=[X[:8]], forget=[X[8:]], classes={1})


def benched(model: Any) -> Bench:
    return Bench.of(model, X, LABELS, {1})


def predicted(model: Any) -> Tensor:
    return predict_logits(model, X)


def first_found(model: Any) -> tuple[str, ...]:
    return layers_at_most(model, X)


Work = Callable[[Any], object]
EVERY_DOOR = (erased, refitted, benched, predicted, first_found)


class Around(nn.Module):
    """Does something with the outputs of its body."""

    def __init__(self, what: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.body, self.what = body(), what

    def forward(self, x: Tensor) -> Any:
        return self.what(self.body(x))


def broken(_logits: Tensor) -> Tensor:
    raise AssertionError("Wrong image size")


def astray(logits: Tensor) -> Any:
    return logits.no_such_attribute  # type: ignore[attr-defined]


@pytest.mark.parametrize("what", [broken, astray])
@pytest.mark.parametrize("work", EVERY_DOOR)
def test_whatever_a_forward_raises_names_the_batch(work: Work, what: Callable[[Tensor], Any]) -> None:
    with pytest.raises(
        ForwardFailed, match=r"a batch of shape \(\d+, 8\).* raised: (Wrong image size|'Tensor' object)"
    ):
        work(Around(what))


@pytest.mark.parametrize("what", [lambda y: (y, y), lambda y: {"logits": y}], ids=["tuple", "dict"])
@pytest.mark.parametrize("work", [refitted, benched, predicted])
def test_outputs_that_are_no_logits_are_refused(work: Work, what: Callable[[Tensor], Any]) -> None:
    with pytest.raises(OptionOutOfRange, match=r"a tensor of logits \(B, K\), got '(tuple|dict)'"):
        work(Around(what))


@pytest.mark.parametrize("work", EVERY_DOOR)
def test_what_is_no_module_is_refused(work: Work) -> None:
    with pytest.raises(OptionOutOfRange, match=r"a torch\.nn\.Module, got 'function'"):
        work(lambda x: x)


def test_an_edit_is_applied_to_modules_only() -> None:
    with pytest.raises(OptionOutOfRange, match=r"a torch\.nn\.Module"):
        erased(body()).apply_to(body().state_dict())  # type: ignore[arg-type]


@pytest.mark.parametrize("work", EVERY_DOOR)
def test_a_model_that_waits_for_its_first_input_is_refused_and_left_waiting(work: Work) -> None:
    lazy = nn.LazyLinear(3)
    model = nn.Sequential(nn.Linear(8, 6), lazy)
    with pytest.raises(OptionOutOfRange, match=r"'1\.weight' to be initialised"):
        work(model)
    assert nn.parameter.is_lazy(lazy.weight)


class Keeping(nn.Module):
    """Keeps what it computed last, as legacy weight normalisation keeps its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.body = body()
        self.kept: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.body(x)
        self.last = logits
        self.kept = [logits]
        return logits


def test_a_model_that_keeps_what_it_computed_is_refitted_like_any_other() -> None:
    model = Keeping()
    expected = refitted(model).weights
    last = model(X)
    given = refitted(model).weights
    assert all(torch.equal(given[name], weight) for name, weight in expected.items())
    assert model.last is last
    assert last.grad_fn is not None


def test_a_model_that_cannot_be_copied_is_refused_where_a_copy_is_needed() -> None:
    model = Around(lambda y: y)
    model.lock = threading.Lock()  # type: ignore[assignment]
    assert erased(model).layers
    with pytest.raises(OptionOutOfRange, match=r"one that copy\.deepcopy takes, got .*lock"):
        refitted(model)


def test_an_example_without_samples_is_refused() -> None:
    with pytest.raises(EmptySide, match="example"):
        layers_at_most(body(), X[:0])


@pytest.mark.parametrize("depths", [4, (), "4", None])
def test_depths_are_several_whole_numbers(depths: Any) -> None:
    model = body()
    with pytest.raises(OptionOutOfRange, match="depth"):
        layers_at_most(model, X, depths)
    refit = Refit(model, retain=[X[:8]], forget=[X[8:]], classes={1})
    with pytest.raises(OptionOutOfRange, match="depth"):
        deepest_refit(refit, benched(model), depths=depths)


@pytest.mark.parametrize("option", ["depths", "alphas_r", "alphas_f"])
@pytest.mark.parametrize("values", [3.0, (), "3", None])
def test_a_grid_consists_of_several_numbers(option: str, values: Any) -> None:
    model = body()
    sides = collect(model, [X[:8]]), collect(model, [X[8:]])
    given: dict[str, Any] = {option: values}
    with pytest.raises(OptionOutOfRange, match="alpha" if "alpha" in option else "depth"):
        choose(model, *sides, inputs=X, labels=LABELS, classes={1}, **given)


def test_a_bad_number_that_no_layer_sees_is_named() -> None:
    head = nn.Linear(8, 3)
    model = nn.Sequential(head)
    model.register_parameter("unused", nn.Parameter(torch.full((2,), torch.nan)))
    assert erased(model).layers
    with torch.no_grad():
        head.bias[1] = torch.nan
    with pytest.raises(NonFinite, match=r"'0\.bias'"):
        erased(model)


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(normal(3, 8))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.t()


@pytest.mark.parametrize("work", [benched, first_found])
def test_a_model_whose_head_is_no_module_is_edited_but_not_judged(work: Work) -> None:
    assert [layer.weight for layer in erased(Functional()).layers] == ["weight"]
    with pytest.raises(NothingToProject, match=r"runs an nn\.Linear or nn\.Conv2d, .*Functional has none"):
        work(Functional())


def weights_of(erasure: Erasure) -> Tensor:
    return torch.cat([weight.flatten() for weight in erasure.weights.values()])


@pytest.mark.parametrize(
    "work",
    [
        lambda model: weights_of(erase_classes(model, retain=[X[:8]], forget=[X[8:]], max_rows=5)),
        lambda model: weights_of(refitted(model)),
        lambda model: np.array(benched(model).judge(model.state_dict())),
        predicted,
    ],
    ids=["erased", "refitted", "benched", "predicted"],
)
def test_the_default_device_is_not_the_engines(work: Callable[[nn.Module], Any]) -> None:
    model = body()
    expected = work(model)
    with torch.device("meta"):
        given = work(model)
    assert (given == expected).all()
