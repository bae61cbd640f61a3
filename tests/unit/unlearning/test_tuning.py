"""The choice of strength and depth: cheap, deterministic, and not fooled by an edit of the last layer alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.fixtures.small_models import Leaking, SmallConvNet, leaking_digits, normal, seeded
from unlearning import Choice, LayerStatistics, choose, collect, draw_samples, erase_from_statistics
from unlearning.errors import ClassIndexOutOfRange, EmptySide, OptionOutOfRange, ShapeError
from unlearning.evaluation.accuracy import predict_logits
from unlearning.tuning import Candidate

FORGET = 8


@pytest.fixture(scope="module")
def leaking() -> Leaking:
    return leaking_digits()


@pytest.fixture(scope="module")
def sides(leaking: Leaking) -> tuple[LayerStatistics, LayerStatistics]:
    x, y = leaking.train
    draw = draw_samples(y, {FORGET}, num_classes=10, num_samples=200)
    return collect(leaking.model, [x[draw.retain]]), collect(leaking.model, [x[draw.forget]], side="forget")


def chosen(leaking: Leaking, sides: tuple[LayerStatistics, LayerStatistics], **options: object) -> Choice:
    inputs, labels = leaking.validation
    return choose(leaking.model, *sides, inputs=inputs, labels=labels, classes={FORGET}, **options)  # type: ignore[arg-type]


def test_the_score_of_the_winner_is_what_an_applied_edit_really_scores(
    leaking: Leaking, sides: tuple[LayerStatistics, LayerStatistics]
) -> None:
    choice = chosen(leaking, sides)
    best = choice.best
    erasure = erase_from_statistics(
        leaking.model, *sides, alpha_r=best.alpha_r, alpha_f=best.alpha_f, layers=best.layers
    )
    inputs, labels = leaking.validation
    right = predict_logits(leaking.model, inputs, weights=erasure.weights).argmax(dim=1).numpy() == labels
    below = {name: weight for name, weight in erasure.weights.items() if name != "6.weight"}
    back = predict_logits(leaking.model, inputs, weights=below).argmax(dim=1).numpy() == labels
    gone = labels == FORGET
    assert best.retain_accuracy == pytest.approx(right[~gone].mean())
    assert best.forget_accuracy == pytest.approx(right[gone].mean())
    assert best.recovered == pytest.approx(min(1, back[gone].mean() / choice.forget_accuracy))
    assert best.score > 0.7
    assert len(choice.candidates) == 5 * 5 * 2  # four layers: half and two thirds are the same depth


def test_skipping_hopeless_candidates_never_changes_the_winner(
    leaking: Leaking, sides: tuple[LayerStatistics, LayerStatistics]
) -> None:
    grid = {"alphas_r": (10.0, 100.0, 1000.0), "alphas_f": (1.0, 3.0, 30.0)}
    choice = chosen(leaking, sides, **grid)
    alone = [
        chosen(leaking, sides, alphas_r=[r], alphas_f=[f], depths=[depth]).best
        for r in grid["alphas_r"]
        for f in grid["alphas_f"]
        for depth in (0.0, 0.5)
    ]
    assert choice.best == max(alone, key=Candidate.rank)
    assert any(candidate.retain_accuracy is None for candidate in choice.candidates)


def test_an_edit_of_the_last_layer_alone_scores_nothing(
    leaking: Leaking, sides: tuple[LayerStatistics, LayerStatistics]
) -> None:
    shallow = chosen(leaking, sides, layers=["6.weight"], alphas_r=[10.0], alphas_f=[100.0]).best
    assert shallow.forget_accuracy < 0.3
    assert shallow.recovered == 1
    assert shallow.score == 0


def test_retain_accuracy_beyond_the_allowance_costs_ten_times(
    leaking: Leaking, sides: tuple[LayerStatistics, LayerStatistics]
) -> None:
    pair = {"alphas_r": [10.0], "alphas_f": [100.0], "depths": [0.0]}
    free = chosen(leaking, sides, allowed_drop=1.0, **pair)
    paid = chosen(leaking, sides, allowed_drop=0.0, **pair)
    drop = free.retain_accuracy - (free.best.retain_accuracy or 0)
    assert drop > 0
    kept = max(0.0, (free.best.retain_accuracy or 0) - 10 * drop)
    rest = (1 - paid.best.forget_accuracy) * (1 - (paid.best.recovered or 0))
    assert paid.best.score == pytest.approx(kept * rest)


def test_choosing_twice_gives_the_same_and_leaves_the_model_alone(
    leaking: Leaking, sides: tuple[LayerStatistics, LayerStatistics]
) -> None:
    before = {name: value.clone() for name, value in leaking.model.state_dict().items()}
    seen: list[tuple[str, int, int | None]] = []
    grid = {"alphas_r": [100.0], "alphas_f": [3.0, 10.0], "depths": [0.0]}
    first = chosen(leaking, sides, progress=lambda *step: seen.append(step), **grid)
    assert chosen(leaking, sides, **grid) == first
    assert seen == [("tune", 1, 2), ("tune", 2, 2)]
    assert all(torch.equal(before[name], value) for name, value in leaking.model.state_dict().items())


def test_bad_requests_are_refused() -> None:
    model, x = seeded(SmallConvNet()), normal(8, 3, 8, 8)
    sides = collect(model, [x]), collect(model, [x + 1])
    labels = np.arange(8) % 4

    def attempt(classes: set[int], **options: object) -> None:
        given: dict[str, object] = {"inputs": x, "labels": labels, **options}
        choose(model, *sides, classes=classes, **given)  # type: ignore[arg-type]

    with pytest.raises(ClassIndexOutOfRange):
        attempt({4})
    with pytest.raises(EmptySide, match="forget validation"):
        attempt({3}, labels=np.zeros(8, dtype=np.int64))
    with pytest.raises(EmptySide, match="retain validation"):
        attempt({0}, excluded={1, 2, 3})
    with pytest.raises(ShapeError, match="labels"):
        attempt({0}, labels=labels[:3])
    bad: list[dict[str, object]] = [
        {"alphas_r": []},
        {"alphas_f": []},
        {"depths": []},
        {"depths": [1.0]},
        {"alphas_f": [-1.0]},
    ]
    for options in bad:
        with pytest.raises(OptionOutOfRange):
            attempt({0}, **options)
