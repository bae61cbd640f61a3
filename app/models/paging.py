"""Where a page starts: the key of the last item seen, a number here."""

from app.schemas import MAX_INTEGER
from core.errors import Invalid


def position(after: str | None) -> int:
    """The key that `after` names; 0 for the first page.

    Raises:
        Invalid: it is no key of these lists.
    """
    if after is None:
        return 0
    if not (after.isascii() and after.isdigit()) or len(after) > 10 or int(after) > MAX_INTEGER:
        msg = "Expected `after` as given by `next` of the page before, got something else."
        raise Invalid(msg, errors=[{"detail": msg, "parameter": "after"}])
    return int(after)
