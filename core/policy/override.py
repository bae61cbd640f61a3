"""An override: somebody who may do so publishes what a verdict rejected, and says why."""

from dataclasses import dataclass, field
from typing import Final

from core.errors import Forbidden, Invalid

OVERRIDE: Final = "override"
"""The scope. No other one holds it, not even the operator's."""
FEWEST_LETTERS, MOST_LETTERS = 10, 2000


class NoReason(Invalid):
    """A reason is missing, or too long to keep."""

    slug = "no-reason"
    title = "A reason is needed"


@dataclass(frozen=True)
class Override:
    """The grounds of a publication without a passed verdict. One that exists was allowed, and says why.

    Args:
        actor: who overrides.
        reason: why, in 10 to 2,000 characters; kept with the version, never in the ledger.
        scopes: what `actor` may do.

    Raises:
        Forbidden: the scope `override` is not among them.
        NoReason: the reason is too short or too long.
    """

    actor: str
    reason: str
    scopes: frozenset[str] = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse whoever lacks the scope, and whoever gives no reason."""
        if OVERRIDE not in self.scopes:
            msg = f"Expected an API key with the scope {OVERRIDE}, got one without."
            raise Forbidden(msg, scope=OVERRIDE)
        if not FEWEST_LETTERS <= len(self.reason) <= MOST_LETTERS:
            msg = f"Expected a reason of {FEWEST_LETTERS} to {MOST_LETTERS:,} characters, got {len(self.reason):,}."
            raise NoReason(msg, pointer="#/reason")
