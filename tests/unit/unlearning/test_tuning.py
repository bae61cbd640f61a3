"""The choice of strength and depth: cheap, deterministic, and not fooled by an edit of the last layer alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.fixtures.small_models import Leaking, SmallConvNet, normal, seeded
from unlearning import Choice, LayerStatistics, choose, collect, draw_samples, erase_from_statistics
from unlearning.bench import Bench
from unlearning.errors import ClassIndexOutOfRange, EmptySide, OptionOutOfRange, ShapeError
from unlearning.evaluation.accuracy import predict_logits
from unlearning.tuning import Candidate

FORGET = 8


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
    assert {len(candidate.layers) for candidate in choice.candidates} == {4, 2}  # half and two thirds are the same


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


def test_a_large_grid_is_searched_every_second_value_first_and_then_beside_the_best(
    leaking: Leaking, sides: tuple[LayerStatistics, LayerStatistics]
) -> None:
    alphas_r, alphas_f = (10.0, 30.0, 100.0, 300.0, 1000.0), (1.0, 3.0, 10.0, 30.0, 100.0)
    seen: list[tuple[str, int, int | None]] = []
    found = chosen(leaking, sides, depths=[0.0], progress=lambda *step: seen.append(step))
    tried = [(alphas_r.index(one.alpha_r), alphas_f.index(one.alpha_f)) for one in found.candidates]
    assert len(tried) == len(set(tried)) == len(seen)
    assert sorted(tried[:9]) == [(r, f) for r in (0, 2, 4) for f in (0, 2, 4)]
    r, f = max(zip(tried[:9], found.candidates[:9], strict=True), key=lambda item: item[1].rank())[0]
    beside = {(r - 1, f), (r + 1, f), (r, f - 1), (r, f + 1)}
    assert set(tried[9:]) == {pair for pair in beside if set(pair) <= set(range(5))}
    assert found.best == max(found.candidates, key=Candidate.rank)
    assert seen[-1][1] <= (seen[-1][2] or 0) == 13


def test_a_candidate_that_was_not_measured_to_the_end_never_wins(
    leaking: Leaking, sides: tuple[LayerStatistics, LayerStatistics]
) -> None:
    found = chosen(leaking, sides, batch_size=16)
    assert found.best == chosen(leaking, sides, batch_size=1000).best
    skipped = [candidate for candidate in found.candidates if candidate.retain_accuracy is None]
    assert skipped
    assert all(candidate.score < found.best.score for candidate in skipped)


def test_sharing_what_comes_before_the_edit_changes_no_candidate(
    leaking: Leaking, sides: tuple[LayerStatistics, LayerStatistics]
) -> None:
    grid = {"alphas_r": (10.0, 100.0), "alphas_f": (1.0, 30.0), "batch_size": 50}
    shared, alone = chosen(leaking, sides, **grid), chosen(leaking, sides, cache_bytes=0, **grid)
    assert [candidate.layers for candidate in shared.candidates] == [candidate.layers for candidate in alone.candidates]
    for ours, other in zip(shared.candidates, alone.candidates, strict=True):
        assert ours.score == pytest.approx(other.score)
    assert shared.best == alone.best


def test_a_bench_runs_only_what_an_edit_can_change(leaking: Leaking) -> None:
    inputs, labels = leaking.validation
    bench = Bench.of(leaking.model, inputs, labels, {FORGET}, batch_size=50)
    head = dict(leaking.model.named_parameters())["6.weight"].detach()
    for scale in (1.0, 0.5, 0.0):
        found = bench.judge({"6.weight": head * scale})
        right = (
            predict_logits(leaking.model, inputs, weights={"6.weight": head * scale}).argmax(dim=1).numpy() == labels
        )
        assert found.retain_accuracy == pytest.approx(right[labels != FORGET].mean())
        assert found.forget_accuracy == pytest.approx(right[labels == FORGET].mean())
        assert found.recovered == 1
    replay = bench.replay(["6.weight"])
    assert (replay.num_full, replay.num_replayed) == (len(replay), 2 * len(replay))


class Scaled(torch.nn.Module):
    """Does something to the outputs of its last layer."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(self.inner(x), dim=1)


def test_a_model_that_goes_on_after_its_last_layer_is_judged_alike(leaking: Leaking) -> None:
    x, y = leaking.train
    draw = draw_samples(y, {FORGET}, num_classes=10, num_samples=200)
    inputs, labels = leaking.validation
    bests = []
    for model in (leaking.model, Scaled(leaking.model)):
        sides = collect(model, [x[draw.retain]]), collect(model, [x[draw.forget]], side="forget")
        grid = {"alphas_r": [30.0], "alphas_f": [10.0], "depths": [0.0]}
        bests.append(choose(model, *sides, inputs=inputs, labels=labels, classes={FORGET}, **grid).best)  # type: ignore[arg-type]
    assert (bests[0].forget_accuracy, bests[0].recovered, bests[0].score) == pytest.approx((
        bests[1].forget_accuracy,
        bests[1].recovered,
        bests[1].score,
    ))


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
    with pytest.raises(OptionOutOfRange, match="excluded"):
        attempt({0}, excluded=["1"])
    with pytest.raises(ClassIndexOutOfRange, match="got 7"):
        attempt({0}, excluded=[7])
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
