"""HTML or JSON, by what the caller prefers (RFC 9110 section 12.5.1)."""


def prefers_html(accept: str | None) -> bool:
    """Whether `Accept` gives HTML a higher weight than JSON; a tie is JSON, so `*/*` is JSON."""
    if accept is None:
        return False
    weights = dict(_weighted(part) for part in accept.split(","))
    html = _weight(weights, "text/html")
    return html > 0 and html > _weight(weights, "application/json")


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
