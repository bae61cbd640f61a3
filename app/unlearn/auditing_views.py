"""How an audit is shown."""

from collections import Counter

from app.unlearn.auditing import Audit
from app.unlearn.auditing_schemas import AuditOut, ShadowsOut
from core.states import JobState
from models_store.shadows import KINDS, Kind

GATHER_PERCENT = 95
"""Where the shadows end; 100 is written by the final move alone."""


def audit_url(audit: Audit) -> str:
    """Where it stands."""
    return f"/unlearn/{audit.spec.request}/audit"


def audit_out(audit: Audit) -> AuditOut:
    """An audit; of its shadows only how many are in which state."""
    job, spec = audit.job, audit.spec
    state = JobState(job.state)
    steps = {JobState.QUEUED: "shadows", JobState.RUNNING: "gather"}
    return AuditOut(
        id=job.id,
        request=spec.request,
        state=state,
        step=steps.get(state),
        percent=_percent(audit, state),
        attempt=job.attempt,
        cancel_requested=job.cancel_requested_at is not None,
        pairs=spec.pairs,
        seed=spec.seed,
        recipe_version=spec.recipe_version,
        shadows=ShadowsOut(
            unlearned=_by_state(audit, "unlearned"),
            retrained=_by_state(audit, "retrained"),
            reused=sum(shadow.parent_job_id != job.id for shadow in audit.shadows.values()),
        ),
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        result=job.result,
        problem=job.problem,
        links=_links(audit, state),
    )


def tag_of(audit: Audit) -> str:
    """The entity tag's text: revisions only grow, so their sum changes with every shadow that moves."""
    shadows = sum(shadow.revision for shadow in audit.shadows.values())
    return f"{audit.job.seq}-{audit.job.revision}-{shadows}"


def _by_state(audit: Audit, population: Kind) -> dict[JobState, int]:
    states = (JobState(job.state) for place, job in audit.shadows.items() if place.population == population)
    return dict(Counter(states))


def _percent(audit: Audit, state: JobState) -> int:
    if state.is_final:
        return audit.job.percent
    if state is JobState.RUNNING:
        return GATHER_PERCENT
    final = sum(JobState(shadow.state).is_final for shadow in audit.shadows.values())
    return GATHER_PERCENT * final // (len(KINDS) * audit.spec.pairs)


def _links(audit: Audit, state: JobState) -> dict[str, str]:
    own = audit_url(audit)
    links = {"self": own, "request": f"/unlearn/{audit.spec.request}"}
    return links if state.is_final else links | {"cancel": own}
