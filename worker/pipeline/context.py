"""What every step is given: the lease it works under, what was asked, and what the steps before it left."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import torch
from sqlalchemy.orm import Session

from core.clock import database_now
from core.db.session import Database
from core.policy.verdict import Verdict, judge
from core.requests.claims import Lease
from core.requests.spec import UnlearnSpec
from core.requests.tables import JobStep
from core.settings import Settings
from core.states import Step
from models_store.storage import LocalStorage
from worker.pipeline.materials import Materials
from worker.pipeline.outputs import Erased, Loaded, Output, Packaged, Verified, digest
from worker.progress import Progress

Kind = TypeVar("Kind", bound=Output)


@dataclass
class Context:
    """One attempt at one job. `load` adds what it has read; outputs are added by the runner alone."""

    lease: Lease
    tenant: str
    spec: UnlearnSpec
    database: Database
    storage: LocalStorage
    settings: Settings
    device: torch.device
    progress: Progress
    read: Materials | None = None
    outputs: dict[Step, Output] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def materials(self) -> Materials:
        """Network and images, as `load` has read them."""
        if self.read is None:
            msg = "Expected the load step to have read the materials, got none."
            raise RuntimeError(msg)
        return self.read

    @property
    def loaded(self) -> Loaded:
        return self._output(Step.LOAD, Loaded)

    @property
    def erased(self) -> Erased:
        return self._output(Step.UNLEARN, Erased)

    @property
    def verified(self) -> Verified:
        return self._output(Step.VERIFY, Verified)

    @property
    def packaged(self) -> Packaged:
        return self._output(Step.PACKAGE, Packaged)

    def verdict(self) -> Verdict:
        """The evidence judged by the request's policy: a pure function, so a resumed job cannot get another one."""
        return judge(self.verified.evidence, self.spec.policy)

    def note_step(self, session: Session, step: Step, output: dict[str, Any], started_at: datetime) -> None:
        """Record a finished step; the caller holds the lease and commits."""
        row = JobStep(
            job_id=self.lease.job_id,
            step=step.value,
            tenant=self.tenant,
            actor=self.lease.actor,
            fence=self.lease.fence,
            started_at=started_at,
            finished_at=database_now(session),
            output=output,
            output_sha256=digest(output),
        )
        session.merge(row)

    def _output(self, step: Step, kind: type[Kind]) -> Kind:
        output = self.outputs.get(step)
        if not isinstance(output, kind):
            msg = f"Expected step {step} to have run, got {output!r}."
            raise RuntimeError(msg)  # noqa: TRY004 the order of the steps is wrong, not a type
        return output
