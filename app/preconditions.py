"""Entity tags and conditional requests (RFC 9110 sections 8.8.3 and 13.1)."""

import re
from dataclasses import dataclass

from core.errors import PreconditionFailed, PreconditionRequired

_TAG = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*')


def etag(opaque: str | int) -> str:
    """A strong entity tag."""
    return f'"{opaque}"'


@dataclass(frozen=True)
class Preconditions:
    """`If-Match` and `If-None-Match` of a request, as sent."""

    if_match: str | None
    if_none_match: str | None

    def check_change(self, current: str | None) -> None:
        """Let a change of a shared resource pass only if the caller named the state that it changes.

        Args:
            current: the entity tag it has now; None when it does not exist.

        Raises:
            PreconditionRequired: neither field was sent.
            PreconditionFailed: one of them does not hold.
        """
        if self.if_match is None and self.if_none_match is None:
            msg = 'Expected If-Match: "<revision>" to change it, or If-None-Match: * to create it, got neither.'
            raise PreconditionRequired(msg)
        if self.if_match is not None and not matches_strongly(self.if_match, current):
            found = f"it is {current} now" if current else "it does not exist"
            msg = f"Expected If-Match to name the present state, got {self.if_match[:80]}; {found}."
            raise PreconditionFailed(msg)
        if self.if_none_match is not None and matches_weakly(self.if_none_match, current):
            msg = f"Expected none that matches If-None-Match: {self.if_none_match[:80]}, but it is {current} now."
            raise PreconditionFailed(msg)


def matches_strongly(field: str, current: str | None) -> bool:
    """Whether `If-Match` (or `If-Range`) holds: a listed tag equals the current one, and neither is weak."""
    if field.strip() == "*":
        return current is not None
    return current in [f'"{opaque}"' for weak, opaque in _tags(field) if not weak]


def matches_weakly(field: str, current: str | None) -> bool:
    """Whether one of the tags in `If-None-Match` names the current state, weak or not."""
    if field.strip() == "*":
        return current is not None
    return current in [f'"{opaque}"' for _, opaque in _tags(field)]


def _tags(field: str) -> list[tuple[bool, str]]:
    # Tags may hold commas, so the list is read tag by tag; what is left over makes the whole field void.
    tags: list[tuple[bool, str]] = []
    position = 0
    while position < len(field):
        found = _TAG.match(field, position)
        if found is None:
            return []
        tags.append((found[1] is not None, found[2]))
        position = found.end()
        if position < len(field) and field[position] != ",":
            return []
        position += 1
    return tags
