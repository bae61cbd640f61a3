"""How a request ended, in a sentence that says what it means for the data subject."""

from core.states import JobState

OUTCOMES = {
    JobState.QUEUED: "Accepted, and not begun: nothing is deleted yet.",
    JobState.RUNNING: "Being worked on: nothing is deleted yet.",
    JobState.PUBLISHED: "A version without the classes was verified and published.",
    JobState.REJECTED: "Not deleted: the verification did not pass, so nothing was published.",
    JobState.COMPLETED: "Completed.",
    JobState.FAILED: "Not deleted: something broke before the end.",
    JobState.CANCELLED: "Not deleted: who asked withdrew the request.",
    JobState.DENIED: "Not deleted: the request was denied.",
}
OVERRIDDEN = "A version was published by an override although its verification did not pass."


def outcome_of(state: JobState, *, is_overridden: bool) -> str:
    """What the state means."""
    return OVERRIDDEN if is_overridden and state is JobState.PUBLISHED else OUTCOMES[state]
