"""Where a retraining's checkpoint lies between attempts: a store of its own, and the row that vouches for it.

The row names the digest and is written under the fence, so a worker that was replaced cannot put its own there. A
checkpoint that is missing or damaged costs time and nothing else: the training starts over and ends the same.
"""

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from sqlalchemy import select

from core import log
from core.clock import database_now
from core.db.session import Database
from core.errors import DigestMismatch, ServiceError
from core.requests.claims import Lease, hold
from core.requests.tables import Job, JobStep
from core.settings import Settings
from core.states import JobState
from models_store.storage import LocalStorage
from worker.patience import patiently
from worker.pipeline.outputs import digest
from worker.retraining.checkpoints import Checkpoint

FOLDER = "checkpoints"
STEP = "train"
KEEP_EVERY_EPOCHS = 5
KEEP_EVERY_SECONDS = 60.0
"""Whichever comes first: small networks are not slowed down by writing, large ones lose little."""

Result = TypeVar("Result")

_log = log.get_logger("retraining")


class Shelf:
    """The checkpoints of one job.

    Args:
        lease: under which they are kept.
        tenant: of the job.
        database: where the row is.
        settings: folder, limit, patience.
        inputs: digest of all that the training depends on; a checkpoint of something else is not used.
    """

    def __init__(self, lease: Lease, tenant: str, database: Database, settings: Settings, inputs: str) -> None:
        self._lease = lease
        self._tenant = tenant
        self._database = database
        self._settings = settings
        self._inputs = inputs
        self._store = LocalStorage(settings.data_dir / FOLDER)
        self._began = self._patiently(self._now)
        self._kept: str | None = None
        self._last = (0, time.monotonic())

    def latest(self) -> Checkpoint | None:
        """The checkpoint that an earlier attempt left, if all of it can be trusted."""
        row = self._patiently(self._row)
        if row is None or digest(row.output) != row.output_sha256 or row.output.get("inputs") != self._inputs:
            return None
        sha256 = str(row.output["sha256"])
        try:
            content = self._store.path(sha256).read_bytes()
            if hashlib.sha256(content).hexdigest() != sha256:
                raise DigestMismatch(f"Expected a checkpoint with SHA-256 {sha256}, got other bytes.")
            found = Checkpoint.from_bytes(content)
        except (ServiceError, OSError) as error:
            _log.warning("checkpoint.refused", error=type(error).__name__)
            return None
        self._kept, self._last = sha256, (len(found.losses), time.monotonic())
        return found

    def keep(self, epoch: int, take: Callable[[], Checkpoint]) -> None:
        """Keep the state after an epoch, if it is time to.

        Raises:
            LeaseLost: the job is no longer ours.
        """
        last_epoch, last_at = self._last
        if epoch - last_epoch < KEEP_EVERY_EPOCHS and time.monotonic() - last_at < KEEP_EVERY_SECONDS:
            return
        blob = self._store.put([take().to_bytes()], max_bytes=4 * self._settings.max_weights_bytes)
        self._patiently(lambda: self._write(epoch, blob.sha256))
        before, self._kept, self._last = self._kept, blob.sha256, (epoch, time.monotonic())
        if before not in (None, blob.sha256):
            self._remove(before)

    def clear(self) -> None:
        """Remove what this job kept, once it is final."""
        self._remove(self._kept)

    def sweep(self) -> None:
        """Remove what jobs left that ended without `clear`: cancelled or failed ones."""
        with self._database.reading() as session:
            live = select(JobStep.output).join(Job, Job.id == JobStep.job_id).where(JobStep.step == STEP)
            rows = session.execute(live.where(Job.state.in_([JobState.QUEUED, JobState.RUNNING]))).scalars()
            wanted = {row.get("sha256") for row in rows}
        # Long enough for whoever has stored one just now to write its row.
        self._store.remove_orphans(lambda sha256: sha256 in wanted, older_than=4 * self._settings.lease_ttl)

    def _row(self) -> JobStep | None:
        with self._database.reading() as session:
            return session.get(JobStep, (self._lease.job_id, STEP))

    def _write(self, epoch: int, sha256: str) -> None:
        output = {"inputs": self._inputs, "epoch": epoch, "sha256": sha256}
        with self._database.writing() as session:
            hold(session, self._lease)
            row = JobStep(
                job_id=self._lease.job_id,
                step=STEP,
                tenant=self._tenant,
                actor=self._lease.actor,
                fence=self._lease.fence,
                started_at=self._began,
                finished_at=database_now(session),
                output=output,
                output_sha256=digest(output),
            )
            session.merge(row)

    def _remove(self, sha256: str | None) -> None:
        # Another job of the same recipe, images and seed may stand on the same bytes; it then starts over, no more.
        if sha256 is not None:
            with suppress(ServiceError, OSError):
                self._store.path(sha256).unlink()

    def _now(self) -> datetime:
        with self._database.reading() as session:
            return database_now(session)

    def _patiently(self, action: Callable[[], Result]) -> Result:
        return patiently(action, at_most=self._settings.lease_ttl)
