"""Recipes: what is refused, and that a digest means one recipe."""

from typing import Any

import pytest
from pydantic import ValidationError

from models_store.recipes import MAX_SEED, Recipe

SMALLEST: dict[str, Any] = {"optimiser": {"name": "sgd"}, "learning_rate": 0.1, "epochs": 10, "batch_size": 32}


@pytest.mark.parametrize(
    "changes",
    [
        {"optimiser": {"name": "lion"}},
        {"optimiser": {"name": "adamw", "momentum": 0.9}},
        {"optimiser": {"name": "sgd", "momentum": 1.0}},
        {"optimiser": {"name": "sgd", "momentum": 0.0}},
        {"learning_rate": 0.0},
        {"learning_rate": float("inf")},
        {"learning_rate": 11.0},
        {"weight_decay": -0.1},
        {"epochs": 0},
        {"epochs": 1001},
        {"epochs": 1.5},
        {"batch_size": 7},
        {"batch_size": 100_000},
        {"schedule": {"name": "cosine", "warmup_epochs": 10}},
        {"schedule": {"name": "step", "milestones": []}},
        {"schedule": {"name": "step", "milestones": [5, 5]}},
        {"schedule": {"name": "step", "milestones": [10]}},
        {"schedule": {"name": "one-cycle", "peak_at": 1.0}},
        {"schedule": {"name": "polynomial"}},
        {"augmentation": {"crop_padding": -1}},
        {"augmentation": {"mixup": True}},
        {"label_smoothing": 1.0},
        {"seed": {"policy": "fixed", "seed": -1}},
        {"seed": {"policy": "fresh", "seed": 1}},
        {"callback": "os.system"},
    ],
)
def test_what_lies_outside_of_the_limits_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Recipe.model_validate(SMALLEST | changes)


def test_a_digest_is_the_same_however_the_recipe_is_spelled_and_changes_with_it() -> None:
    short = Recipe.model_validate(SMALLEST)
    spelled = Recipe.model_validate(dict(reversed(short.model_dump(mode="json").items())))
    assert spelled.sha256 == short.sha256
    assert Recipe.model_validate(SMALLEST | {"learning_rate": 0.2}).sha256 != short.sha256
    assert Recipe.model_validate(SMALLEST | {"seed": {"policy": "fresh"}}).sha256 != short.sha256


def test_a_fixed_seed_is_given_and_a_fresh_one_is_drawn() -> None:
    fixed = Recipe.model_validate(SMALLEST | {"seed": {"policy": "fixed", "seed": 5}})
    fresh = Recipe.model_validate(SMALLEST | {"seed": {"policy": "fresh"}})
    assert {fixed.drawn_seed() for _ in range(3)} == {5}
    drawn = {fresh.drawn_seed() for _ in range(5)}
    assert len(drawn) == 5
    assert all(0 <= seed <= MAX_SEED for seed in drawn)
