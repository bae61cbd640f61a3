"""The requests of one data subject, and how everything personal about a request is destroyed."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.requests.tables import Job, UnlearnRequest


def requests_of_subject(session: Session, tenant: str, reference: str) -> list[UnlearnRequest]:
    """The tenant's requests that name this data subject, oldest first.

    A request whose key was destroyed names nobody any more and is not found: nothing is kept by which a subject could
    be told from one that was never there.

    Args:
        session: any transaction.
        tenant: whose requests.
        reference: as it was submitted, byte for byte.
    """
    query = select(UnlearnRequest).join(UnlearnRequest.job)
    query = query.where(UnlearnRequest.tenant == tenant, UnlearnRequest.subject_reference == reference)
    return list(session.execute(query.order_by(Job.seq)).scalars())
