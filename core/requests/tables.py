"""The rows behind a job: the SQL row is the job, and a message to a worker is only a doorbell.

`jobs` holds what every kind of work shares (state, lease, fence, result); `unlearn_requests` holds what a class
deletion adds; `job_steps` is the resume point; `idempotency` replays first answers.
"""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    String,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from core.db.base import Base
from core.deadlines.tables import Deadline
from core.states import JobKind, JobState

BigKey = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite numbers rows by itself only in a column of type INTEGER."""


class Job(Base):
    """One piece of work. `fence` grows at every claim and takeover; whoever holds an old one may write nothing."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index(
            "one_running_per_model",
            "model_id",
            unique=True,
            postgresql_where=text("state = 'running' AND kind = 'unlearn'"),
            sqlite_where=text("state = 'running' AND kind = 'unlearn'"),
        ),
        Index("ix_jobs_runnable", "state", "not_before", "priority", "seq"),
        Index("ix_jobs_tenant_seq", "tenant", "seq"),
        CheckConstraint(
            f"state IN ({', '.join(repr(state.value) for state in JobState)})",
            name="state_is_known",
        ),
        CheckConstraint(
            "state <> 'running' OR lease_until IS NOT NULL",
            name="running_holds_a_lease",
        ),
    )

    seq: Mapped[int] = mapped_column(BigKey, Identity(always=False), primary_key=True)
    """Order of arrival; the key of paging."""
    id: Mapped[UUID] = mapped_column(unique=True)
    kind: Mapped[JobKind] = mapped_column(String(32))
    parent_job_id: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id"), index=True)
    tenant: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(128))
    model_id: Mapped[int | None] = mapped_column(index=True)
    subject_id: Mapped[int | None]
    """Row id of what a validation is about: a model version or a data set, by `kind`."""

    state: Mapped[JobState] = mapped_column(String(16))
    revision: Mapped[int] = mapped_column(default=1)
    """Grows with every change a poller can see; the ETag of the request."""
    priority: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[datetime]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    attempt: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int]
    fence: Mapped[int] = mapped_column(BigInteger, default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    last_ring_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]

    step: Mapped[str | None] = mapped_column(String(16))
    percent: Mapped[int] = mapped_column(default=0)
    spec: Mapped[dict[str, Any]]
    """What was asked, complete enough to run it again."""
    result: Mapped[dict[str, Any] | None]
    problem: Mapped[dict[str, Any] | None]


class UnlearnRequest(Base):
    """What a class deletion adds to its job. Class names and subject references live here and never in the ledger."""

    __tablename__ = "unlearn_requests"
    __table_args__ = (Index("ix_unlearn_requests_tenant_subject", "tenant", "subject_reference"),)

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64), index=True)
    actor: Mapped[str] = mapped_column(String(128))
    model_name: Mapped[str] = mapped_column(String(128), index=True)
    dataset_name: Mapped[str] = mapped_column(String(128))
    class_indices: Mapped[list[Any]]
    class_labels: Mapped[list[Any]]
    """One per index; empty once `erased_at` is set."""
    requested_version: Mapped[int | None]
    requested_alias: Mapped[str | None] = mapped_column(String(64))
    base_version_id: Mapped[int | None]
    """The version erased from; resolved when the work is claimed."""
    new_version_id: Mapped[int | None]
    policy_name: Mapped[str] = mapped_column(String(64))
    policy_version: Mapped[int] = mapped_column(server_default="1")
    subject_reference: Mapped[str | None] = mapped_column(String(256))
    legal_ground: Mapped[str | None] = mapped_column(String(64))
    received_on: Mapped[date]
    external_reference: Mapped[str | None] = mapped_column(String(256), index=True)
    note: Mapped[str | None] = mapped_column(String(2000))
    commitment_key: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    """Key of the HMAC commitments in the ledger; destroying it makes them unlinkable."""
    erased_at: Mapped[datetime | None]
    """When the key was destroyed, and everything personal about the request with it."""
    scrubbed_at: Mapped[datetime | None]
    """When the bytes that erased rows leave in a SQLite file were gone too."""

    job: Mapped[Job] = relationship(lazy="joined", innerjoin=True)
    deadline: Mapped[Deadline | None] = relationship(lazy="joined")


class Submission(Base):
    """A request as it was sent, and the receipt that was answered. Personal, and so kept apart: it can be removed."""

    __tablename__ = "submissions"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(128))
    body: Mapped[bytes] = mapped_column(LargeBinary)
    receipt: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The envelope's JSON; empty where no key signed."""
    created_at: Mapped[datetime]


class JobStep(Base):
    """A finished step: a later attempt with the same inputs skips it."""

    __tablename__ = "job_steps"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    step: Mapped[str] = mapped_column(String(16), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(128))
    """The worker that finished it."""
    fence: Mapped[int] = mapped_column(BigInteger)
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime]
    output: Mapped[dict[str, Any]]
    output_sha256: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the canonical JSON of `output`, which itself names blobs by digest."""


class IdempotencyRecord(Base):
    """The first answer to a key, kept as long as the personal data of its request.

    (draft-ietf-httpapi-idempotency-key-header-07)
    """

    __tablename__ = "idempotency"

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    route: Mapped[str] = mapped_column(String(128), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    actor: Mapped[str] = mapped_column(String(128))
    fingerprint: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"))
    status_code: Mapped[int]
    headers: Mapped[dict[str, Any]]
    body: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
