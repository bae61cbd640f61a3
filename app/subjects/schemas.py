"""How the requests of a data subject are shown. The reference itself is never repeated."""

from uuid import UUID

from pydantic import Field

from app.schemas import Out
from app.unlearn.schemas import UnlearnItem


class SubjectOut(Out):
    items: list[UnlearnItem] = Field(description="Requests that name the data subject, oldest first.")


class SubjectErased(Out):
    requests: list[UUID] = Field(
        description="Requests whose keys and personal data were destroyed now; none if nothing was left to destroy."
    )
    labels: int = Field(description="How many names left the label lists of models.")
