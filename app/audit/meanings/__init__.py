"""Every measure of a result in words: what it measures, which way is better, and what a retrained model scores."""

from app.audit.meanings import accuracy, membership, recovery, reference, shadows, weights
from app.audit.meanings.families import found_in_family
from app.audit.meanings.meaning import DIRECTIONS, Group, Meaning

__all__ = ["DIRECTIONS", "MEANINGS", "Group", "Meaning", "meaning_of", "title_of"]

MEANINGS: dict[str, Meaning] = {
    **accuracy.MEANINGS,
    **membership.MEANINGS,
    **recovery.MEANINGS,
    **weights.MEANINGS,
    **reference.MEANINGS,
    **shadows.MEANINGS,
}
"""By name, in the order in which a reader wants them."""


def meaning_of(name: str) -> Meaning | None:
    """What a measure says, or None for one that nobody has explained."""
    return MEANINGS.get(name) or found_in_family(name, meaning_of)


def title_of(name: str) -> str:
    """How a measure is called in the report."""
    found = meaning_of(name)
    return found.title if found else name.replace("_", " ").capitalize()
