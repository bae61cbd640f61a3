"""Routes of data subjects."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from app.dependencies import Caller, Held, ReadingSession, caller
from app.schemas import problems
from app.subjects import service
from app.subjects.schemas import SubjectErased, SubjectOut
from app.unlearn.views import show_all
from core.requests.subjects import requests_of_subject

router = APIRouter(prefix="/subjects", tags=["subjects"])

Reference = Annotated[
    str, Path(min_length=1, max_length=256, description="The `subject_reference` of the requests, percent-encoded.")
]


@router.get("/{reference:path}", operation_id="show_subject", responses=problems())
def show_one(
    reference: Reference, who: Annotated[Caller, caller("subjects:read")], session: ReadingSession
) -> SubjectOut:
    """Your requests that name this data subject; none for one that is unknown or erased."""
    return SubjectOut(items=show_all(session, requests_of_subject(session, who.tenant, reference)))


@router.delete("/{reference:path}", operation_id="erase_subject", responses=problems(409))
def erase(
    reference: Reference,
    who: Annotated[Caller, caller("subjects:erase")],
    held: Held,
    labels: Annotated[
        bool, Query(description="Replace the labels of the deleted classes in the models' lists too, by `erased-3`.")
    ] = False,
) -> SubjectErased:
    """Destroy the keys and personal data of all your requests that name this data subject. Cannot be undone.

    The ledger stays as it is and every proof still verifies, but its commitments to labels and reference can no longer
    be linked to anybody. Labels, reference, note, external reference and stored answers are gone; that there was a
    request, and how it ended, stays. Refused (409) while one of the requests is owed an answer. The second time nothing
    is left to destroy, as for a subject that never was; the answers do not differ.

    Where the label of a class is the name of a person, say `labels=true`: the request still names the class by its
    index, and the model's list would say who that is.
    """
    return service.erase(held, who, reference, labels=labels)
