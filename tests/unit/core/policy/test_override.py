"""An override exists only for somebody who holds its scope and says why."""

import pytest

from core.errors import Forbidden
from core.policy.override import OVERRIDE, NoReason, Override

REASON = "The class has no test images that matter; the board decided on Friday."


def test_an_override_needs_its_scope_and_no_other_will_do() -> None:
    assert Override("key:1", REASON, frozenset({OVERRIDE})).reason == REASON
    for scopes in (frozenset[str](), frozenset({"admin"}), frozenset({"admin", "requests:submit"})):
        with pytest.raises(Forbidden, match="scope override"):
            Override("key:1", REASON, scopes)


@pytest.mark.parametrize(("length", "fits"), [(0, False), (9, False), (10, True), (2000, True), (2001, False)])
def test_a_reason_is_neither_missing_nor_endless(length: int, fits: bool) -> None:
    if fits:
        assert len(Override("key:1", "x" * length, frozenset({OVERRIDE})).reason) == length
    else:
        with pytest.raises(NoReason, match="10 to 2,000"):
            Override("key:1", "x" * length, frozenset({OVERRIDE}))


def test_the_scopes_are_not_spelled_out_in_logs() -> None:
    assert "scopes" not in repr(Override("key:1", REASON, frozenset({OVERRIDE})))
