"""The shipped policies: what they name, how one is referred to, and that old verdicts stay readable."""

import pytest

from core.policy.catalogue import TestName, Tier
from core.policy.margins import Policy, refuse_impossible
from core.policy.policies import (
    DESCRIPTIONS,
    EARLIER,
    SHIPPED,
    STANDARD,
    STRICT,
    WITH_REFERENCE,
    UnknownPolicy,
    policy_named,
    read_reference,
)

ALL = [*SHIPPED.values(), *EARLIER]


@pytest.mark.parametrize("policy", ALL, ids=str)
def test_a_shipped_policy_obeys_the_rules_for_own_ones(policy: Policy) -> None:
    refuse_impossible(policy.deciding, member="deciding")
    assert policy_named(str(policy)) is policy
    assert Policy.model_validate(policy.as_json()) == policy


def test_the_shipped_policies_are_these_and_each_is_described() -> None:
    assert list(SHIPPED) == ["standard", "strict", "with-reference"] == list(DESCRIPTIONS)


def test_standard_asks_more_than_its_first_version_did() -> None:
    first = policy_named("standard/1")
    assert (first.version, policy_named("standard").version) == (1, 3)
    assert set(STANDARD.deciding) - set(first.deciding) == {
        TestName.WORST_CLASS_DROP,
        TestName.RESTORED_CLASSIFIER_FORGET_ACCURACY,
        TestName.HEAD_OUTLIER,
        TestName.REALIGNED_HEAD_FORGET_ACCURACY,
    }
    assert all(STANDARD.deciding[name].is_within(margin) for name, margin in first.deciding.items())


def test_strict_is_nowhere_wider_than_standard_and_everywhere_narrower() -> None:
    assert set(STRICT.deciding) - set(STANDARD.deciding) == {TestName.FALSE_FORGET_RATE}
    for name, margin in STANDARD.deciding.items():
        assert STRICT.deciding[name].is_within(margin)
        assert not margin.is_within(STRICT.deciding[name])


def test_only_with_reference_needs_one_and_none_needs_an_audit() -> None:
    assert {policy.name for policy in ALL if policy.needs_reference} == {"with-reference"}
    assert not any(policy.needs_audit for policy in ALL)
    assert WITH_REFERENCE.of_tier(Tier.REFERENCE) == [
        TestName.PROBE_GAP,
        TestName.ALIGNED_HEAD_GAP,
        TestName.FEW_SHOT_GAP,
        TestName.RELEARNING_GAP,
        TestName.ROUTING_DISTANCE,
        TestName.RETAIN_ACCURACY_GAP,
    ]


@pytest.mark.parametrize(
    ("text", "meant"),
    [("standard", ("standard", None)), ("a.b_c-9/12", ("a.b_c-9", 12)), ("x/999999999", ("x", 999999999))],
)
def test_a_reference_is_a_name_with_or_without_a_version(text: str, meant: tuple[str, int | None]) -> None:
    assert read_reference(text) == meant


NO_REFERENCES = ["", "/", "standard/", "standard/0", "standard/01", "standard/-1", "standard/1/2", "standard/x"]
NO_NAMES = ["Standard", "1", "a b", "a\n", "\N{ARABIC-INDIC DIGIT ONE}", "a" * 65, "standard/1000000000000"]


@pytest.mark.parametrize("text", NO_REFERENCES + NO_NAMES)
def test_anything_else_is_no_policy(text: str) -> None:
    with pytest.raises(UnknownPolicy, match="NAME/VERSION"):
        read_reference(text)


@pytest.mark.parametrize("text", ["lenient", "standard/4", "strict/3"])
def test_a_policy_or_version_that_is_not_shipped_is_unknown(text: str) -> None:
    with pytest.raises(UnknownPolicy, match=r"standard/3, strict/2, with-reference/2"):
        policy_named(text)


def test_the_digest_of_a_policy_is_that_of_what_verdicts_hold() -> None:
    again = Policy.model_validate(STANDARD.as_json())
    assert again.sha256 == STANDARD.sha256
    assert again.model_copy(update={"version": 4}).sha256 != STANDARD.sha256
