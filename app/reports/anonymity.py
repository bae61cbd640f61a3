"""The two questions of EDPB Opinion 28/2024 (17 December 2024), and the numbers that bear on each of them.

The opinion asks of a model trained on personal data how likely it is that these can be extracted from it directly, and
how likely that they come out in answer to queries; both must be insignificant, for the data of any person. No number
measured here answers either by itself: each says what one attack found.
"""

from collections.abc import Iterable, Mapping

from app.audit.meanings import MEANINGS, Group
from app.audit.measures import MeasureRow
from app.audit.schemas import CoverageOut
from app.reports.schemas import AnonymityPart, Indication

EXTRACTION = "How likely is it that personal data can be extracted from the model's weights?"
QUERIES = "How likely is it that personal data come out in answer to queries?"
BY_GROUP: Mapping[str, str] = {
    Group.RECOVERY: EXTRACTION,
    Group.WEIGHTS: EXTRACTION,
    Group.ACCURACY: QUERIES,
    Group.MEMBERSHIP: QUERIES,
    Group.AUDIT: QUERIES,
}
UNTRIED = {
    EXTRACTION: ["reconstruction of training images from the weights (model inversion, gradient inversion)"],
    QUERIES: ["reconstruction of training images by optimising queries", "attacks over a limited or metered interface"],
}
KEEPERS = ("retain_", "worst_class", "false_forget")
"""What says how the classes fare that stay bears on neither question."""


def anonymity_of(rows: Iterable[MeasureRow], coverage: CoverageOut | None) -> list[AnonymityPart]:
    """Both questions with what was measured for them, and what was not."""
    measured: dict[str, list[Indication]] = {EXTRACTION: [], QUERIES: []}
    for row in rows:
        question = BY_GROUP.get(row.group)
        if question is not None and not row.name.startswith(KEEPERS) and row.after and row.after.value is not None:
            reads = f"{row.direction}. A retrained model: {row.retrained}" if row.retrained else row.direction
            found = Indication(
                title=row.title, value=row.after.value, low=row.after.low, high=row.after.high, reads=reads
            )
            measured[question].append(found)
    return [_part(question, found, coverage) for question, found in measured.items()]


def _part(question: str, measured: list[Indication], coverage: CoverageOut | None) -> AnonymityPart:
    known = {test.name: MEANINGS[test.name] for test in coverage.tests if test.name in MEANINGS} if coverage else {}
    missed = (
        []
        if coverage is None
        else [
            test.title
            for test in coverage.tests
            if not test.measured and test.name in known and BY_GROUP.get(known[test.name].group) == question
        ]
    )
    sentence = (
        f"{len(measured)} numbers were measured that bear on this; they are evidence from the attacks named, not an "
        "answer. Whether the likelihood is insignificant is for the controller to judge, with the means reasonably "
        "likely to be used by anybody (Recital 26)."
        if measured
        else "Nothing was measured that bears on this, so nothing can be said."
    )
    return AnonymityPart(
        question=question, measured=measured, not_measured=[*missed, *UNTRIED[question]], sentence=sentence
    )
