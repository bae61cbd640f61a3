"""What a regulator asks for beyond the measurements, put together from rows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app.audit.checkpoints_service import newest_note
from app.audit.measures import MeasureRow
from app.audit.schemas import CoverageOut
from app.reports.anonymity import anonymity_of
from app.reports.grounds import ground_in_words
from app.reports.outcomes import outcome_of
from app.reports.schemas import Accounted, LineageVersion, RecordLine
from app.reports.versions import versions_of
from app.unlearn.deadlines_views import deadline_out
from core.clock import database_now
from core.requests.tables import UnlearnRequest
from core.states import JobState
from models_store.lineage.consequences import consequences_of
from models_store.tables import ModelVersion

REFUSED = (JobState.REJECTED, JobState.FAILED, JobState.DENIED)


def accounted(
    session: Session,
    request: UnlearnRequest,
    rows: Sequence[MeasureRow],
    coverage: CoverageOut | None,
    as_of: datetime | None = None,
) -> Accounted:
    """The parts of a report that say who, when, what followed, who was told, and what nobody knows."""
    state = JobState(request.job.state)
    versions = versions_of(session, request.job.model_id, set(request.class_indices))
    consequences = consequences_of(session, request.tenant, request.job_id).as_json()
    new = session.get(ModelVersion, request.new_version_id) if request.new_version_id is not None else None
    now = as_of or database_now(session)
    return Accounted(
        generated_at=now,
        legal_ground_in_words=ground_in_words(request.legal_ground),
        outcome=outcome_of(state, is_overridden=new is not None and new.overridden_by is not None),
        deadline=deadline_out(request.deadline, now.date()),
        versions=versions,
        consequences=consequences,
        anonymity=anonymity_of(rows, coverage),
        record=_record(request, state, consequences),
        uncertain=list(_uncertain(request, state, versions, consequences, coverage)),
        checkpoint=newest_note(session),
    )


def _record(request: UnlearnRequest, state: JobState, consequences: dict[str, Any]) -> list[RecordLine]:
    retired = _counted(
        sum(one["num_copies"] for one in consequences["acknowledgements"]), "retired copy", "retired copies"
    )
    recalled = _counted(len(consequences["recalls"]), "version", "versions")
    classes = _counted(len(request.class_indices), "class", "classes")
    lines = (
        ("(c)", "Categories of personal data", f"images of {classes}, in data set "
         f"{request.dataset_name} and in what model {request.model_name} learned from them"),
        ("(d)", "Recipients told", f"{recalled} in the signed recall feed; holders acknowledged {retired}"),
        ("(f)", "Erasure", f"{outcome_of(state, is_overridden=False)} Ended: "
         f"{request.job.finished_at.date() if request.job.finished_at else 'not yet'}."),
        ("(g)", "Technical and organisational measures", "verification before publication under a stored policy; a "
         "ledger whose entries cannot be changed unnoticed; quarantine of the versions that still hold the classes"),
    )  # fmt: skip
    return [RecordLine(point=point, what=what, value=value) for point, what, value in lines]


def _uncertain(
    request: UnlearnRequest,
    state: JobState,
    versions: Sequence[LineageVersion],
    consequences: dict[str, Any],
    coverage: CoverageOut | None,
) -> list[str]:
    found = []
    holding = [one.number for one in versions if one.still_holds and one.state == "ready"]
    if state is JobState.PUBLISHED and holding:
        numbers = ", ".join(map(str, holding))
        found.append(f"Versions that still hold a class of this request and may be downloaded: {numbers}.")
    if request.deadline is not None and request.deadline.closed_on is None and state in REFUSED:
        found.append("No deletion came of it, and nobody has recorded that the data subject was told why.")
    if consequences["recalls"]:
        told = {one["recall"] for one in consequences["acknowledgements"]}
        silent = len(set(consequences["recalls"]) - told)
        if silent:
            recalled = _counted(silent, "recalled version", "recalled versions")
            found.append(f"Of {recalled} nobody has said that the copies are retired.")
        found.append("An acknowledgement is the holder's word; that a copy is gone cannot be measured from here.")
    if stayed := _stayed(consequences):
        found.append(
            f"A purge had to leave {_counted(stayed, 'thing', 'things')} that may hold the classes; its table says why."
        )
    if coverage is None:
        found.append("Nothing has been measured.")
    elif missing := [test.title for test in coverage.tests if not test.measured]:
        found.append(f"Not measured: {'; '.join(missing)}.")
    if coverage is not None and coverage.reference is None:
        found.append(coverage.reference_sentence)
    if request.erased_at is not None:
        found.append("The personal data of the request itself were destroyed, so its words cannot be shown again.")
    found.append("Attacks that nobody has thought of yet, or that were not made, may find what these did not.")
    return found


def _stayed(consequences: dict[str, Any]) -> int:
    """How much the newest purge left; one asked for again lists what earlier ones left once more."""
    newest = consequences["purges"][-1:]
    return sum(one["outcome"] == "stays" for purge in newest for one in purge["targets"])


def _counted(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"
