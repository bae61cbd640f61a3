"""Erasing a data subject on behalf of a caller."""

from app.dependencies import Caller
from app.resources import Resources
from app.subjects.schemas import SubjectErased
from core.requests.erasure import erase_requests, lock_erasable, scrub
from models_store.naming import erase_labels


def erase(held: Resources, who: Caller, reference: str, *, labels: bool) -> SubjectErased:
    """Destroy what names a data subject, in a transaction of its own, and scrub the file afterwards.

    Asking again, or for a subject that never was, erases nothing and says so in the same words.

    Args:
        held: the application's resources.
        who: the caller.
        reference: the data subject's, as it was submitted.
        labels: whether the names of the deleted classes leave the models' label lists too.

    Raises:
        SubjectHasOpenRequests: one of the subject's requests is owed an answer yet; nothing is erased then.
    """
    with held.database.writing() as session:
        requests = lock_erasable(session, who.tenant, reference)
        replaced = erase_labels(session, requests) if labels else 0
        erase_requests(session, requests, actor=who.actor)
        erased = SubjectErased(requests=[request.job_id for request in requests], labels=replaced)
    if requests:
        scrub(held.database)
    return erased
