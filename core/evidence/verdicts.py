"""The verdict once more, from measures and policy alone: the rule of docs/verification.md written a second time.

A deciding test passes when its whole interval lies inside the margin, fails when the whole interval lies outside, and
cannot be told otherwise or without an interval. All deciding tests must pass.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

PASS, FAIL, INCONCLUSIVE = "pass", "fail", "inconclusive"


def outcome_of(test: Mapping[str, Any], margin: Mapping[str, float]) -> str:
    """What a deciding test says."""
    low, high = test["low"], test["high"]
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return INCONCLUSIVE
    floor, ceiling = margin.get("at_least", -math.inf), margin.get("at_most", math.inf)
    if floor <= low and high <= ceiling:
        return PASS
    return FAIL if high < floor or low > ceiling else INCONCLUSIVE


def faults_of(verdict: Mapping[str, Any], policy: Mapping[str, Any]) -> Iterator[str]:
    """How a verdict differs from what its measures and the policy make; nothing if it does not.

    Args:
        verdict: with `policy`, `outcome`, `decided_by` and `tests`, as the service stores it.
        policy: with `name`, `version` and `deciding`: margins by test.

    Yields:
        One sentence for every fault.
    """
    if verdict["policy"] != policy:
        yield "The verdict was reached by another policy than the one in the bundle."
    tests = {test["name"]: test for test in verdict["tests"]}
    if len(tests) != len(verdict["tests"]):
        yield "The verdict judges a test twice."
    outcomes = {}
    for name, margin in policy["deciding"].items():
        test = tests.get(name, {"low": None, "high": None})
        outcomes[name] = outcome_of(test, margin)
        if name not in tests or not test["deciding"] or test["margin"] != margin:
            yield f"The policy decides by {name} with the margin {dict(margin)}; the verdict does not."
        elif test["outcome"] != outcomes[name]:
            yield f"By its interval {name} is {outcomes[name]!r}; the verdict says {test['outcome']!r}."
    for name, test in tests.items():
        if name not in outcomes and (test["deciding"] or test["outcome"] is not None):
            yield f"The verdict decides by {name}; the policy does not."
    whole, decided_by = _whole(outcomes)
    if verdict["outcome"] != whole:
        yield f"The tests make the verdict {whole!r}; the bundle says {verdict['outcome']!r}."
    elif set(verdict["decided_by"]) != decided_by:
        yield "The verdict names other tests as deciding than those that decided."


def _whole(outcomes: Mapping[str, str]) -> tuple[str, set[str]]:
    for outcome in (FAIL, INCONCLUSIVE):
        if found := {name for name, one in outcomes.items() if one == outcome}:
            return outcome, found
    return (PASS, set(outcomes)) if outcomes else (INCONCLUSIVE, set())
