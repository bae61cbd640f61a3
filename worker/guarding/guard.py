"""The guard's judgement of one upload: the classes it is watched for, how each was judged, and by what.

The best thing at hand decides, and the finding says which it was: bytes that are known to hold the class; the deleted
class's test images, if the operator keeps them and the data set still has them; prototypes, if the operator allows them
and the network recognises those of the retained classes; else the labels alone. Labels measure nothing: a model of the
lineage that still offers the class is taken at its word, and in the model whose label is retired nothing is known.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import torch
from sqlalchemy import select
from torch import nn

from core import log
from core.db.session import Database
from core.errors import Invalid, Problem, ServiceError
from core.policy.policies import STANDARD, TestName
from core.requests.spec import UnlearnSpec
from core.requests.tables import Job, JobStep
from core.settings import Settings
from core.states import Step
from models_store.input_spec import InputSpec
from models_store.lineage.watch import Watched, retired_bytes, watched_classes
from models_store.registry import find_dataset, refuse_unready
from models_store.storage import LocalStorage
from models_store.tables import Dataset, Model, ModelVersion
from unlearning.errors import UnlearningError
from unlearning.evaluation import Measure, predict_logits, wilson_interval
from worker.files import check_unchanged, checked_files, limits_of
from worker.guarding.prototypes import Prototypes
from worker.pipeline.data import Images
from worker.pipeline.materials import Blueprint

Basis = Literal["digest", "test-samples", "prototypes", "label-map"]
Outcome = Literal["clear", "above", "unmeasured"]

_log = log.get_logger("guard")


class RelearnedClass(Invalid):
    """The upload knows a class that was deleted from its lineage."""

    slug = "relearned-class"
    title = "The version knows a deleted class"


@dataclass(frozen=True)
class Judged:
    """One watched class."""

    index: int
    request: UUID
    basis: Basis
    outcome: Outcome
    limit: float
    accuracy: Measure | None = None

    def as_json(self) -> dict[str, Any]:
        found = None
        if self.accuracy is not None:
            found = {name: value for name, value in self.accuracy.as_dict().items() if name in _SHOWN}
        return {
            "index": self.index,
            "request": str(self.request),
            "basis": self.basis,
            "outcome": self.outcome,
            "limit": self.limit,
            "accuracy": found,
        }


_SHOWN = {"value", "low", "high", "n"}


@dataclass(frozen=True)
class Finding:
    """What the guard found in an upload, and what it was asked about."""

    watched: tuple[Watched, ...]
    judged: tuple[Judged, ...]

    @property
    def above(self) -> list[Judged]:
        return [one for one in self.judged if one.outcome == "above"]

    def is_refused(self, action: str) -> bool:
        """Whether the upload is to be refused: known bytes always, or quarantine would end with another name."""
        return any(action == "refuse" or one.basis == "digest" for one in self.above)

    def as_json(self, action: str) -> dict[str, Any]:
        """As stored beside the version: the outcome, and every class with its basis."""
        if self.above:
            outcome = "refused" if self.is_refused(action) else "flagged"
        else:
            outcome = "unmeasured" if any(one.outcome == "unmeasured" for one in self.judged) else "clear"
        return {"outcome": outcome, "classes": [one.as_json() for one in self.judged]}

    def problem(self) -> Problem:
        """Why the upload is refused."""
        indices = sorted({one.index for one in self.above})
        bases = sorted({one.basis for one in self.above})
        msg = (
            f"Expected weights that do not know the classes deleted from the lineage, got some that know index "
            f"{', '.join(map(str, indices))} (judged by {', '.join(bases)}); make them from the newest version instead."
        )
        return RelearnedClass(msg, class_indices=indices, judged_by=bases).as_problem()


class Guard:
    """Judges one upload whose weights have been found to fit.

    Args:
        version: the upload.
        network: its weights in their architecture.
        database: where deletions are looked up.
        storage: where prototypes and data sets are.
        settings: what the operator keeps and allows.
        device: where the network is run.
    """

    def __init__(
        self,
        version: ModelVersion,
        network: nn.Module,
        database: Database,
        storage: LocalStorage,
        settings: Settings,
        device: torch.device,
    ) -> None:
        self._version = version
        self._network = network.to(device).eval()
        self._database = database
        self._storage = storage
        self._settings = settings
        self._test_images: dict[tuple[int, str], Images] = {}

    def judge(self) -> Finding:
        """What there is to say now; a deletion that is published meanwhile is for the caller to notice."""
        with self._database.reading() as session:
            version = session.get_one(ModelVersion, self._version.id)
            watched = watched_classes(session, version)
            known = retired_bytes(session, version)
        judged = [Judged(index, request, "digest", "above", 0.0) for index, request in sorted(known.items())]
        judged += [self._judged(one, watched) for one in watched if one.index not in known]
        return Finding(tuple(watched), tuple(judged))

    def _judged(self, watched: Watched, every: Sequence[Watched]) -> Judged:
        with self._database.reading() as session:
            job = session.execute(select(Job).where(Job.id == watched.request)).scalar_one()
            owner = session.get_one(Model, watched.owner_id)
        limit = _limit(job)
        for basis, measure in self._ways(watched, owner, job, every):
            found = measure()
            if found is not None:
                outcome: Outcome = "above" if found.value > limit else "clear"
                return Judged(watched.index, watched.request, basis, outcome, limit, found)
        outcome = "above" if watched.is_named else "unmeasured"
        return Judged(watched.index, watched.request, "label-map", outcome, limit)

    def _ways(
        self, watched: Watched, owner: Model, job: Job, every: Sequence[Watched]
    ) -> list[tuple[Basis, Callable[[], Measure | None]]]:
        ways: list[tuple[Basis, Callable[[], Measure | None]]] = []
        if self._settings.guard_samples:
            ways.append(("test-samples", lambda: self._tolerantly(lambda: self._by_samples(watched, owner, job))))
        if self._settings.guard_prototypes:
            ways.append(("prototypes", lambda: self._tolerantly(lambda: self._by_prototypes(watched, job, every))))
        return ways

    def _tolerantly(self, measure: Callable[[], Measure | None]) -> Measure | None:
        """None where the measure cannot be made: samples that are gone or damaged leave it to the next best thing."""
        try:
            return measure()
        except (ServiceError, UnlearningError, OSError) as error:
            _log.warning("guard.cannot_measure", error=type(error).__name__)
            return None

    def _by_samples(self, watched: Watched, owner: Model, job: Job) -> Measure | None:
        name = UnlearnSpec.model_validate(job.spec).dataset
        # Read once for all classes that one model lost with one data set.
        if (owner.id, name) not in self._test_images:
            self._test_images[owner.id, name] = self._read(owner, job.tenant, name)
        own = self._test_images[owner.id, name].of_classes([watched.owner_index])
        if not len(own):
            return None
        told = predict_logits(self._network, own.batches()).argmax(dim=1)
        hits = int((told == watched.index).sum())
        return Measure(
            "forget_accuracy_test", hits / len(own), *wilson_interval(hits, len(own)), len(own), None, "lower"
        )

    def _read(self, owner: Model, tenant: str, name: str) -> Images:
        with self._database.reading() as session:
            dataset: Dataset = find_dataset(session, tenant, name)
        refuse_unready(dataset)
        files = checked_files(dataset, self._storage, self._settings)
        # The owner's labels tell which images are the class; the upload's own input spec how it wants to see them.
        reader = Blueprint(
            "", {}, tuple(map(str, owner.labels)), InputSpec.model_validate(self._version.model.input_spec)
        )
        images = reader.images([file.source for file in files], "test", limits_of(self._settings))
        check_unchanged(files, dataset.sources)
        return images

    def _by_prototypes(self, watched: Watched, job: Job, every: Sequence[Watched]) -> Measure | None:
        with self._database.reading() as session:
            step = session.get(JobStep, (job.id, Step.UNLEARN.value))
        sha256 = step.output["output"].get("prototypes") if step is not None else None
        if sha256 is None or watched.owner_index != watched.index:
            return None
        self._storage.verify(sha256)
        kept = Prototypes.from_bytes(self._storage.path(sha256).read_bytes())
        spec = InputSpec.model_validate(self._version.model.input_spec)
        if kept.means.shape[1:] != (spec.channels, spec.height, spec.width):
            return None
        return kept.recognised(self._network, watched.index, [one.index for one in every])


def _limit(job: Job) -> float:
    """The largest accuracy on the deleted class's test images that the policy of its deletion lets pass."""
    policy = UnlearnSpec.model_validate(job.spec).policy
    name = TestName.FORGET_ACCURACY_TEST
    margin = policy.deciding.get(name) or STANDARD.deciding[name]
    return margin.at_most if margin.at_most is not None else 0.0
