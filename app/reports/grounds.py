"""The grounds of a deletion in words; a request names them by short codes."""

GROUNDS = {
    "art17_1_a": "GDPR Article 17(1)(a): no longer necessary for the purposes they were collected for",
    "art17_1_b": "GDPR Article 17(1)(b): consent withdrawn, and no other legal ground",
    "art17_1_c": "GDPR Article 17(1)(c): objection under Article 21",
    "art17_1_d": "GDPR Article 17(1)(d): unlawfully processed",
    "art17_1_e": "GDPR Article 17(1)(e): erasure required by law",
    "art17_1_f": "GDPR Article 17(1)(f): collected when offering information society services to a child",
    "ccpa": "California Consumer Privacy Act, right to delete",
    "other": "another ground, named by the controller elsewhere",
}
NOT_STATED = "not stated by who asked"


def ground_in_words(code: str | None) -> str:
    """The ground as a reader knows it."""
    return GROUNDS.get(code, code) if code else NOT_STATED
