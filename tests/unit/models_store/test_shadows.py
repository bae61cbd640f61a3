"""What an audit asks its shadows to do: each has a seed of its own, and a larger audit contains a smaller one."""

from uuid import UUID

import pytest
from pydantic import ValidationError

from models_store.recipes import MAX_SEED, Recipe
from models_store.shadows import KINDS, MAX_PAIRS, AuditSpec, Place

REQUEST = UUID(int=1)
RECIPE = Recipe.model_validate({"optimiser": {"name": "adamw"}, "learning_rate": 0.1, "epochs": 1, "batch_size": 8})


def spec(pairs: int, seed: int = 0) -> AuditSpec:
    return AuditSpec(request=REQUEST, pairs=pairs, seed=seed, recipe=RECIPE, recipe_version=1)


def test_no_two_shadows_share_a_seed_in_the_largest_audit_or_with_another_audit() -> None:
    seeds = [audit.shadow(place).seed for audit in (spec(MAX_PAIRS), spec(MAX_PAIRS, 1)) for place in audit.places()]
    assert len(seeds) == len(set(seeds)) == 4 * MAX_PAIRS
    assert all(0 <= seed <= MAX_SEED for seed in seeds)


def test_a_larger_audit_asks_for_the_shadows_of_a_smaller_one_and_more() -> None:
    small, large = spec(2), spec(5)
    assert [small.shadow(place) for place in small.places()] == [large.shadow(place) for place in large.places()[:4]]


def test_shadows_are_queued_pair_by_pair() -> None:
    assert spec(2).places() == [Place(kind, index) for index in range(2) for kind in KINDS]


def test_a_spec_survives_its_way_through_json() -> None:
    audit = spec(3, MAX_SEED)
    assert AuditSpec.model_validate(audit.model_dump(mode="json")) == audit


@pytest.mark.parametrize("pairs", [1, MAX_PAIRS + 1])
def test_the_number_of_pairs_has_limits(pairs: int) -> None:
    with pytest.raises(ValidationError):
        spec(pairs)
