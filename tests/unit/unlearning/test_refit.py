"""The refit: on a real classifier it forgets and keeps, and in every layer it solves what the module says it solves."""

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from tests.fixtures.digits_models import FORGET, Digits
from tests.fixtures.small_models import normal, seeded
from unlearning.bench import Bench
from unlearning.capture import find_layers
from unlearning.deepening import deepest_refit, layers_at_most
from unlearning.erase import Erasure
from unlearning.errors import (
    ClassIndexOutOfRange,
    EmptySide,
    ForwardFailed,
    NonFinite,
    NoRetainedClass,
    NotRefittable,
    OptionOutOfRange,
    UnknownLayer,
)
from unlearning.evaluation import classifier_back, last_layer_back, predict_logits
from unlearning.evaluation.controls import classifier_layers, mask_bias
from unlearning.leastsquares import refitted
from unlearning.refit import Refit, refit_classes
from unlearning.targets import Samples, spreads_of

DEEP = ("features.conv3.weight", "features.conv4.weight", "classifier.fc1.weight", "classifier.fc2.weight")


def sides(digits: Digits) -> dict[str, Any]:
    x, y = digits.train
    gone = torch.from_numpy(y == FORGET)
    return {"retain": list(x[~gone].split(100)), "forget": list(x[gone].split(50))}


def accuracies(model: nn.Module, digits: Digits) -> tuple[float, float]:
    """Retain and forget accuracy on the test images."""
    x, y = digits.test
    right = predict_logits(model, x).argmax(dim=1).numpy() == y
    return float(right[y != FORGET].mean()), float(right[y == FORGET].mean())


def applied(model: nn.Module, erasure: Erasure) -> nn.Module:
    edited = copy.deepcopy(model)
    erasure.apply_to(edited)
    return edited


@pytest.fixture(scope="module")
def erasure(digits: Digits) -> Erasure:
    return refit_classes(digits.original, **sides(digits), classes={FORGET}, layers=DEEP)


def test_the_class_goes_and_the_others_stay(digits: Digits, erasure: Erasure) -> None:
    before, after = accuracies(digits.original, digits), accuracies(applied(digits.original, erasure), digits)

    assert before[1] > 0.85
    assert after[1] < 0.02
    assert after[0] > before[0] - 0.02


def test_the_originals_parts_bring_back_a_masked_class_and_not_a_refitted_one(digits: Digits, erasure: Erasure) -> None:
    x, _ = digits.test
    masked, refitted_model = mask_bias(digits.original, {FORGET}, x), applied(digits.original, erasure)
    known = accuracies(digits.original, digits)[1]

    assert accuracies(last_layer_back(masked, digits.original, x), digits)[1] == known
    assert accuracies(last_layer_back(refitted_model, digits.original, x), digits)[1] < 0.05 * known
    assert accuracies(classifier_back(masked, digits.original, x), digits)[1] == known
    assert accuracies(classifier_back(refitted_model, digits.original, x), digits)[1] < 0.6 * known


def test_the_model_itself_is_not_changed_and_the_same_seed_gives_the_same_edit(
    digits: Digits, erasure: Erasure
) -> None:
    state = {name: value.clone() for name, value in digits.original.state_dict().items()}

    again = refit_classes(digits.original, **sides(digits), classes={FORGET}, layers=DEEP)

    assert all(torch.equal(value, state[name]) for name, value in digits.original.state_dict().items())
    assert all(torch.equal(value, again.weights[name]) for name, value in erasure.weights.items())


def test_a_second_choice_of_layers_is_not_disturbed_by_the_first(digits: Digits) -> None:
    refit = Refit(digits.original, **sides(digits), classes={FORGET}, layers=DEEP)
    first = refit.of(DEEP[2:])
    refit.of(DEEP)
    again = refit.of(DEEP[2:])

    assert [report.weight for report in first.layers] == list(DEEP[2:])
    assert all(torch.equal(value, again.weights[name]) for name, value in first.weights.items())


def test_weights_and_biases_are_edited_and_everything_else_is_reported(digits: Digits, erasure: Erasure) -> None:
    expected = {name for key in DEEP for name in (key, key.replace("weight", "bias"))}

    assert set(erasure.weights) == expected
    everything = {name for name, _ in digits.original.named_parameters()}
    assert {item.name for item in erasure.untouched} == everything - expected


@pytest.mark.parametrize(("is_behind_features", "spreads"), [(False, (1.0, 1.0)), (True, (1.5, 2.0))])
def test_each_layer_is_the_ridge_fit_on_what_the_layers_before_it_produce(
    is_behind_features: bool, spreads: tuple[float, float]
) -> None:
    """Three linear layers, by hand in float64: a network of their own, or the classifier behind features."""
    layers = seeded(nn.Linear(6, 5), 1), seeded(nn.Linear(5, 5), 2), seeded(nn.Linear(5, 3), 3)
    features = nn.Sequential(nn.Conv2d(6, 6, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    front = seeded(features) if is_behind_features else nn.Identity()
    model = nn.Sequential(front, layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    x, forget_weight, ridge = normal(50, 6, 2, 2) if is_behind_features else normal(50, 6), 0.7, 0.03

    erasure = refit_classes(
        model,
        retain=[x[:40]],
        forget=[x[40:]],
        classes={2},
        layers=["1.weight", "3.weight", "5.weight"],
        forget_weight=forget_weight,
        ridge=ridge,
    )

    importance = torch.cat([torch.full((40,), 1 / 40), torch.full((10,), forget_weight / 10)]).double()
    exact = [copy.deepcopy(layer).double() for layer in layers]
    with torch.no_grad():
        inputs = front(x).double()
        given = [exact[0](inputs)]
        given += [exact[1](given[0].relu())]
        logits = exact[2](given[1].relu())
        shares = logits[:, :2].softmax(dim=1)
        goals = []
        for hidden, spread in zip(given, spreads, strict=True):
            mixed = shares[40:] @ ((shares[:40].T @ hidden[:40]) / shares[:40].sum(dim=0)[:, None])
            apart = mixed.mean(dim=0) + spread * (mixed - mixed.mean(dim=0))
            goals.append(torch.cat([hidden[:40], apart]))
        (low, high), all_of_it = logits[:, :2].aminmax(dim=1), logits.amax(dim=1) - logits.amin(dim=1)
        low = low - torch.maximum((high - low) / 2, all_of_it / 4)
        goals.append(torch.cat([logits[:, :2], low[:, None]], dim=1))
        for place, layer, goal in zip((1, 3, 5), exact, goals, strict=True):
            rows = torch.cat([inputs, torch.ones(50, 1, dtype=torch.float64)], dim=1)[:, None]
            old = torch.cat([layer.weight, layer.bias[:, None]], dim=1)[None]
            new = refitted(old, rows, goal[:, None], importance, ridge)[0]
            assert torch.allclose(erasure.weights[f"{place}.weight"].double(), new[:, :-1], atol=1e-4)
            assert torch.allclose(erasure.weights[f"{place}.bias"].double(), new[:, -1], atol=1e-4)
            inputs = (rows[:, 0] @ new.T).relu()


def test_targets_are_drawn_apart_in_the_hidden_layers_behind_the_features_alone() -> None:
    features = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    classifiers = (
        [nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)],
        [nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)],
        [nn.Linear(4, 3)],
    )
    x, found = normal(2, 3, 8, 8), list[dict[str, float]]()
    for classifier in classifiers:
        model = seeded(nn.Sequential(*features, *classifier))
        found.append(spreads_of(find_layers(model, x).layers[:-1], classifier_layers(model, x)))

    assert found == [{"4.weight": 1.5, "6.weight": 2.0}, {}, {}]


def test_ten_logits_are_aimed_below_the_least_by_its_distance_from_the_average(digits: Digits) -> None:
    """Bit by bit, on networks with five or more retained classes: what was published with this formula stays."""
    logits = predict_logits(digits.original, digits.train[0])
    for gone in ({8}, {0, 1}, {0, 2, 4, 6, 8}):
        samples = Samples.of(logits, 100, gone)
        kept = logits[:, list(samples.kept)]
        low = 2 * kept.amin(dim=1) - kept.mean(dim=1)

        goals = samples.logits(logits)

        assert torch.equal(goals[:, list(samples.kept)], kept)
        assert torch.equal(goals[:, list(gone)], low[:, None].expand(-1, len(gone)))


@pytest.mark.parametrize(("num_classes", "gone"), [(2, {1}), (3, {1}), (3, {1, 2}), (4, {0, 2}), (4, {0, 1, 3})])
def test_the_class_goes_where_few_are_left(num_classes: int, gone: set[int]) -> None:
    x, y = normal(600, 8, seed=3), torch.arange(600) % num_classes
    x = x + 3 * functional.one_hot(y, 8)
    model = seeded(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, num_classes)))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(100):
        optimiser.zero_grad()
        functional.cross_entropy(model(x[:300]), y[:300]).backward()
        optimiser.step()
    is_gone = torch.isin(y, torch.tensor(sorted(gone)))

    erasure = refit_classes(model, retain=[x[:300][~is_gone[:300]]], forget=[x[:300][is_gone[:300]]], classes=gone)

    before, after = (predict_logits(net, x[300:]).argmax(dim=1) == y[300:] for net in (model, applied(model, erasure)))
    assert before[is_gone[300:]].float().mean() > 0.85
    assert after[is_gone[300:]].float().mean() <= 0.01
    assert after[~is_gone[300:]].float().mean() >= before[~is_gone[300:]].float().mean()


@pytest.mark.parametrize("num_batches", [1, 4])
def test_a_parametrised_layer_is_refitted_as_the_same_layer_without_parametrisation(num_batches: int) -> None:
    first = nn.Conv2d(3, 5, 3, padding=1, bias=False)
    second, pool = nn.Conv2d(5, 6, 3, padding=1), nn.AdaptiveAvgPool2d(1)
    plain = seeded(nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), pool, nn.Flatten(), nn.Linear(6, 3)))
    parametrised = copy.deepcopy(plain)
    weight_norm(parametrised[0])
    retain, forget = normal(20, 3, 8, 8), 0.7 * normal(20, 3, 8, 8, seed=1) + 0.5

    changes = [
        [
            report.relative_change
            for report in refit_classes(
                model, retain=retain.chunk(num_batches), forget=forget.chunk(num_batches), classes={1}
            ).layers
        ]
        for model in (plain, parametrised)
    ]

    assert changes[0] == pytest.approx(changes[1], rel=1e-4)


def test_a_layer_used_twice_is_left_alone_by_name() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.head(self.shared(self.shared(x).relu()).relu())
            return logits

    erasure = refit_classes(seeded(Twice()), retain=[normal(30, 6)], forget=[normal(9, 6, seed=1)], classes={0})

    assert [report.weight for report in erasure.layers] == ["head.weight"]
    assert any(item.name == "shared.weight" and "no sample" in item.reason for item in erasure.untouched)


class Changed(nn.Module):
    """A small classifier, and what is made of the logits of its last layer."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body, self.change = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)), change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self.body(x))


def changed(change: Callable[[Tensor], Tensor], *, scale: float = 1.0) -> Erasure:
    model = seeded(Changed(change))
    with torch.no_grad():
        for parameter in model.body[2].parameters():
            parameter.mul_(scale)
    return refit_classes(model, retain=[normal(30, 6)], forget=[normal(9, 6, seed=1)], classes={0})


def test_outputs_that_the_last_layer_does_not_give_are_refused_and_a_shift_per_sample_is_not() -> None:
    plain, shifted = changed(lambda z: z), changed(lambda z: z.log_softmax(dim=1))

    assert len(changed(lambda z: 10 * z).layers) == 2
    assert len(changed(lambda z: z, scale=0.0).layers) == 2
    for name, weight in plain.weights.items():
        torch.testing.assert_close(shifted.weights[name], weight)
    for change in (torch.neg, torch.square, torch.zeros_like, lambda z: z.roll(1, dims=1)):
        with pytest.raises(NotRefittable, match="erase_classes"):
            changed(change)


def test_a_layer_that_runs_after_the_output_is_not_taken_for_it() -> None:
    class Watched(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            features = self[1](self[0](x))
            logits: Tensor = self[2](features)
            self[3](features)
            return logits

    first, head = nn.Linear(6, 8), nn.Linear(8, 4)
    parts = (first, nn.ReLU(), head, nn.Linear(8, 4))
    given: dict[str, Any] = {"retain": [normal(30, 6)], "forget": [normal(9, 6, seed=1)], "classes": {0}}
    expected = refit_classes(seeded(nn.Sequential(*parts[:3])), **given)

    found = refit_classes(seeded(Watched(*parts)), **given)

    for name, weight in expected.weights.items():
        torch.testing.assert_close(found.weights[name], weight)


def test_an_output_layer_may_see_positions_that_are_averaged() -> None:
    """As in SqueezeNet, whose logits are averages over positions behind a ReLU; `max_rows` leaves two of the 64."""
    convolutions = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1)
    for middle in (nn.ReLU(), nn.Identity()):
        model = nn.Sequential(
            convolutions[0], nn.ReLU(), convolutions[1], middle, nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        x = normal(60, 3, 8, 8)
        gone = int(predict_logits(seeded(model), x).argmax(dim=1).mode().values)

        erasure = refit_classes(model, retain=[x[:40]], forget=[x[40:]], classes={gone}, max_rows=120)

        assert [report.retain_rows + report.forget_rows for report in erasure.layers] == [120, 120]
        assert predict_logits(applied(model, erasure), x).argmin(dim=1).unique().tolist() == [gone]


class Tied(nn.Module):
    """Its only layer runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layer(self.layer(x).relu())
        return logits


@pytest.mark.parametrize(
    ("model", "layers"),
    [
        (Tied(), None),
        (nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 3)), None),
        (nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), ["0.weight"]),
    ],
    ids=["used twice", "samples mix", "not asked for"],
)
def test_an_output_layer_that_cannot_be_refitted_is_an_error(model: nn.Module, layers: list[str] | None) -> None:
    with pytest.raises(NotRefittable):
        refit_classes(seeded(model), retain=[normal(30, 6)], forget=[normal(9, 6)], classes={0}, layers=layers)


def test_a_layer_with_more_rows_of_larger_images_is_left_alone_by_name() -> None:
    parts = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    given: dict[str, Any] = {"retain": [normal(10, 3, 8, 8)], "forget": [normal(10, 3, 4, 4, seed=1)], "classes": {1}}

    erasure = refit_classes(seeded(nn.Sequential(*parts)), **given)
    few = refit_classes(seeded(nn.Sequential(*parts)), **given, max_rows=20 * 5)

    assert [report.weight for report in erasure.layers] == ["4.weight"]
    assert any(item.name == "0.weight" and "more of its rows" in item.reason for item in erasure.untouched)
    assert [(report.retain_rows, report.forget_rows) for report in few.layers] == [(50, 50), (10, 10)]
    with pytest.raises(NotRefittable):
        refit_classes(seeded(nn.Sequential(nn.Conv2d(3, 3, 1), *parts[2:4])), **given)


def test_a_bias_that_is_multiplied_is_no_bias() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.empty(5, 6)), nn.Parameter(torch.empty(5))

        def forward(self, x: Tensor) -> Tensor:
            return (x @ self.weight.T).relu() * self.bias

    model = seeded(nn.Sequential(Scaled(), nn.Linear(5, 3)))

    erasure = refit_classes(model, retain=[normal(30, 6)], forget=[normal(9, 6)], classes={0})

    assert list(erasure.weights) == ["0.weight", "1.weight", "1.bias"]
    assert [(item.name, item.reason) for item in erasure.untouched] == [("0.bias", "scales activations")]


def test_progress_only_grows_and_ends_complete(digits: Digits) -> None:
    told: list[tuple[int, int | None]] = []

    refit_classes(
        digits.original,
        **sides(digits),
        classes={FORGET},
        layers=DEEP[2:],
        progress=lambda _stage, done, total: told.append((done, total)),
    )

    assert all(before[0] < after[0] for before, after in pairwise(told))
    assert told[-1][0] == told[-1][1]


def test_the_deepest_refit_within_the_limits_is_taken(digits: Digits) -> None:
    x, y = digits.train
    layers = layers_at_most(digits.original, x[:2], depths=(2, 1))
    refit = Refit(digits.original, **sides(digits), classes={FORGET}, layers=layers)
    bench = Bench.of(digits.original, x[:300], y[:300], {FORGET})

    strict = deepest_refit(refit, bench, depths=(2, 1), allowed_drop=-1.0)
    lenient = deepest_refit(refit, bench, depths=(2, 1), allowed_drop=1.0)

    assert layers == DEEP
    assert len(strict.tried) == 2
    assert not strict.is_good
    assert strict.best.judgement.score == max(depth.judgement.score for depth in strict.tried)
    assert lenient.tried[0].layers == DEEP


def test_bad_input_is_refused(digits: Digits) -> None:
    given = sides(digits)
    for wrong, error in (
        ({"retain": []}, EmptySide),
        ({"forget": [torch.empty(0, 1, 8, 8)]}, EmptySide),
        ({"classes": {10}}, ClassIndexOutOfRange),
        ({"classes": set(range(10))}, NoRetainedClass),
        ({"classes": set()}, EmptySide),
        ({"layers": ["nothing"]}, UnknownLayer),
        ({"ridge": 0.0}, OptionOutOfRange),
        ({"forget_weight": float("nan")}, OptionOutOfRange),
        ({"max_rows": 0}, OptionOutOfRange),
        ({"retain": [torch.full((2, 1, 8, 8), torch.nan)]}, NonFinite),
        ({"forget": [given["forget"][0], torch.zeros(2, 3, 8, 8)]}, ForwardFailed),
        ({"forget": [given["forget"][0].double()]}, ForwardFailed),
        ({"classes": {1.5}}, OptionOutOfRange),
        ({"classes": "8"}, OptionOutOfRange),
        ({"classes": 8}, OptionOutOfRange),
    ):
        with pytest.raises(error):
            refit_classes(digits.original, **{**given, "classes": {FORGET}, "layers": DEEP, **wrong})
    with pytest.raises(OptionOutOfRange):
        layers_at_most(digits.original, digits.train[0][:2], depths=())


def test_where_a_model_stops_being_finite_is_named_and_the_model_is_as_it_was() -> None:
    first = nn.Linear(6, 5)
    model = seeded(nn.Sequential(first, nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)))
    with torch.no_grad():
        first.bias[1] = torch.nan
    state = {name: value.clone() for name, value in model.state_dict().items()}

    with pytest.raises(NonFinite, match=r"inputs of '2\.weight'"):
        refit_classes(model, retain=[normal(30, 6)], forget=[normal(9, 6)], classes={0}, layers=["4.weight"])

    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0, equal_nan=True)


def test_a_model_that_returns_more_than_logits_is_refused() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.head(x), x

    with pytest.raises(OptionOutOfRange, match="tensor of logits"):
        refit_classes(Pair(), retain=[normal(30, 6)], forget=[normal(9, 6)], classes={0})
