"""Sentences that reports say about themselves and about what nobody here can know."""

REGISTER = (
    "This register lists what this service was asked and what it did. It says nothing about requests that never "
    "reached it, about copies of models that were given away before, or about data that this service does not keep. "
    "What was measured for a request, by which attacks, and what was not, stands in that request's own report; "
    "measurements are empirical evidence, never a guarantee."
)
EMPTY = "No request is in the scope of this report. That is the whole answer, and nothing was left out."
CONTROLLER = (
    "Name and contact of the controller and of its data protection officer, the purposes of processing, and transfers "
    "to third countries (Article 30(1)(a), (b) and (e)) are not known to this service: the controller adds them."
)
NOT_TOLD = (
    "Recipients to whom the data themselves were disclosed are not known to this service: whether they were told is "
    "for the controller to add."
)
NO_CHECKPOINT = "No checkpoint has been signed: the operator has not made signing keys."
NOT_DELETED = (
    "No action was taken on the request. Article 12(4): the controller tells the data subject without delay, and "
    "within one month of receipt, why, and that a complaint and a judicial remedy are possible."
)
UNRECORDED_DEADLINE = "No deadline is recorded for this request."
"""Of requests from before deadlines were kept."""
