"""The forms a report comes in, and which of them a caller gets (RFC 9110 section 12.5.1)."""

from enum import StrEnum


class Kind(StrEnum):
    """A form of a report; a tie between several goes to the first."""

    JSON = "json"
    HTML = "html"
    PDF = "pdf"
    CSV = "csv"

    @property
    def media_type(self) -> str:
        """As in `Content-Type`."""
        return MEDIA_TYPES[self]


MEDIA_TYPES = {
    Kind.JSON: "application/json",
    Kind.HTML: "text/html",
    Kind.PDF: "application/pdf",
    Kind.CSV: "text/csv",
}


def kind_for(accept: str | None) -> Kind:
    """The kind with the highest weight in `Accept`; JSON where that says nothing, or nothing that we have."""
    weights = dict(_weighted(part) for part in (accept or "").split(","))
    return max(Kind, key=lambda kind: _weight(weights, kind.media_type))


def _weight(weights: dict[str, float], media_type: str) -> float:
    family = media_type.split("/", maxsplit=1)[0] + "/*"
    return next((weights[name] for name in (media_type, family, "*/*") if name in weights), 0.0)


def _weighted(part: str) -> tuple[str, float]:
    media_type, *parameters = (piece.strip().lower() for piece in part.split(";"))
    weight = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
    try:
        return media_type, float(weight)
    except ValueError:
        return media_type, 0.0
