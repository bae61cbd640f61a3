"""What an audit is about: a finished request, as its own job left it, and the images it worked on."""

from dataclasses import dataclass
from typing import Self
from uuid import UUID

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import Conflict, DigestMismatch
from core.requests.claims import Lease
from core.requests.spec import UnlearnSpec
from core.requests.tables import Job, JobStep
from core.settings import Settings
from core.states import Step
from models_store.registry import find_dataset, find_model, refuse_unready
from models_store.storage import LocalStorage
from models_store.tables import Dataset, Model
from worker.files import check_unchanged, checked_files, limits_of
from worker.pipeline.data import Images
from worker.pipeline.materials import Blueprint
from worker.pipeline.outputs import Loaded


class NotAuditable(Conflict):
    """The request has not left behind what an audit of it needs."""

    slug = "not-auditable"
    title = "The request cannot be audited"


@dataclass(frozen=True)
class Subject:
    """A finished request: what it asked for, what it worked on, and the digest of the weights it made."""

    tenant: str
    spec: UnlearnSpec
    loaded: Loaded
    candidate_sha256: str
    model: Model
    dataset: Dataset

    @classmethod
    def find(cls, session: Session, lease: Lease, request_id: UUID) -> Self:
        """The request that a job is about.

        Raises:
            NotAuditable: it has no result.
            ServiceError: its model or data set is not there, or not ready.
        """
        own = session.execute(select(Job).where(Job.id == lease.job_id)).scalar_one()
        job = session.execute(select(Job).where(Job.id == request_id, Job.tenant == own.tenant)).scalar_one()
        step = session.get(JobStep, (request_id, Step.LOAD.value))
        if step is None or job.result is None:
            msg = f"Expected request {request_id} to have ended with a result, got none."
            raise NotAuditable(msg)
        spec = UnlearnSpec.model_validate(job.spec)
        dataset = find_dataset(session, job.tenant, spec.dataset)
        refuse_unready(dataset)
        return cls(
            job.tenant,
            spec,
            Loaded.model_validate(step.output["output"]),
            str(job.result["artifact_sha256"]),
            find_model(session, job.tenant, spec.model),
            dataset,
        )

    @property
    def blueprint(self) -> Blueprint:
        return Blueprint.of(self.model)


@dataclass(frozen=True)
class Splits:
    """The images of the request's data set."""

    train: Images
    test: Images
    validation: Images | None

    def trained_on(self, absent: list[int]) -> Images:
        """The training images of all other classes."""
        present = ~np.isin(self.train.labels, absent)
        return self.train.subset(np.flatnonzero(present).astype(np.int64))


def read_splits(subject: Subject, storage: LocalStorage, settings: Settings) -> Splits:
    """Read the images, which must be the ones that the request worked on.

    Raises:
        DigestMismatch: they are not.
        ServiceError: they cannot be read.
    """
    files = checked_files(subject.dataset, storage, settings)
    found = {file.split: file.sha256 for file in files}
    if found != subject.loaded.files:
        msg = f"Expected data set {subject.dataset.name!r} to hold the files that the request worked on, got others."
        raise DigestMismatch(msg)
    sources, limits = [file.source for file in files], limits_of(settings)
    has_validation = "validation" in (subject.dataset.summary or {}).get("counts", {})
    names = ("train", "test", "validation") if has_validation else ("train", "test")
    splits = {name: subject.blueprint.images(sources, name, limits) for name in names}
    check_unchanged(files, subject.dataset.sources)
    return Splits(splits["train"], splits["test"], splits.get("validation"))
