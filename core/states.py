"""The states of jobs, versions and data sets, and the moves between them."""

from enum import StrEnum


class JobKind(StrEnum):
    """What a job does; one table holds them all."""

    UNLEARN = "unlearn"
    """Erase classes from a model version, verify, publish."""
    VALIDATE_VERSION = "validate_version"
    """Check that uploaded weights, of a version or of a reference, fit their architecture and are finite."""
    VALIDATE_DATASET = "validate_dataset"
    """Read a data set once, count its images and labels."""
    RETRAIN = "retrain"
    """Train a reference from scratch without some classes."""
    SHADOW = "shadow"
    """Train one model of an audit, unlearn it or not, and leave its outputs."""
    AUDIT = "audit"
    """Gather what the shadows of a finished request left, once the last of them is final."""
    REPLAY = "replay"
    """Compute a published deletion again from the same inputs, compare, and publish nothing."""
    PURGE = "purge"
    """Remove what still holds the classes of a published deletion, and prove by listings that it is gone."""


class JobState(StrEnum):
    """Where a job stands. Exactly one final state ends every job."""

    QUEUED = "queued"
    """Committed; waits for a worker."""
    RUNNING = "running"
    """Held by a worker under a lease and a fence."""
    PUBLISHED = "published"
    """The new version is ready: the verdict passed, or somebody overrode it."""
    REJECTED = "rejected"
    """The work ran to its end and the answer is no: verification failed, or the upload was refused."""
    COMPLETED = "completed"
    """A validation ended well; nothing is published by it."""
    FAILED = "failed"
    """Something broke; the problem says what. May be retried."""
    CANCELLED = "cancelled"
    """The caller withdrew it before it was final."""
    DENIED = "denied"
    """An approver said no."""

    @property
    def is_final(self) -> bool:
        """Whether no move leads out of it, apart from a failed job's retry and a rejected one's override."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


JOB_MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED, JobState.DENIED}),
    JobState.RUNNING: frozenset({
        JobState.QUEUED,
        JobState.PUBLISHED,
        JobState.REJECTED,
        JobState.COMPLETED,
        JobState.FAILED,
        JobState.CANCELLED,
    }),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.REJECTED: frozenset({JobState.PUBLISHED}),
}
"""The moves that exist; a state that is missing here has none."""


class Step(StrEnum):
    """The steps of an unlearning job, in their order."""

    LOAD = "load"
    UNLEARN = "unlearn"
    VERIFY = "verify"
    PACKAGE = "package"
    PUBLISH = "publish"


class VersionState(StrEnum):
    """Where a model version stands."""

    VALIDATING = "validating"
    """Uploaded; a worker has yet to check it."""
    READY = "ready"
    """Checked, or published by a passed verdict; may be used and downloaded."""
    REFUSED = "refused"
    """The check said no; the problem says why."""
    QUARANTINED = "quarantined"
    """It holds a class that was deleted: workers may read it, and callers are led to its successor."""
    PURGED = "purged"
    """Its bytes are gone from the store; the row stays, so that the history can be told."""

    @property
    def is_kept(self) -> bool:
        """Whether it was found good and its weights are still there, for workers at least."""
        return self in (VersionState.READY, VersionState.QUARANTINED)


class DatasetState(StrEnum):
    """Where a data set stands."""

    DRAFT = "draft"
    """Registered; its parts may still be uploaded."""
    VALIDATING = "validating"
    """Sealed; a worker has yet to read it."""
    READY = "ready"
    """Read and counted; may be named in requests."""
    REFUSED = "refused"
    """It could not be read; the problem says why."""
