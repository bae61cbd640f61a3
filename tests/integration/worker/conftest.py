"""A small classifier that has really learned something, and the data it learned from, registered and ready."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn import functional

from core import log
from core.clock import database_now
from core.db.session import Database
from core.settings import Settings
from core.states import DatasetState, VersionState
from models_store.architectures import build, initialise
from models_store.input_spec import InputSpec
from models_store.normalise import normalise
from models_store.registry import add_version
from models_store.storage import LocalStorage
from models_store.tables import Dataset, DatasetSource, Model
from models_store.weights import save_state
from tests.integration.worker.support import quick_settings

collect_ignore = ["fake_celery.py"]  # it is a Celery application and needs its Redis to be imported

ARCHITECTURE, OPTIONS, NUM_CLASSES = "expunge/small_convnet", {"width": 8}, 10
LABELS = [f"digit {index}" for index in range(NUM_CLASSES)]
SPEC = InputSpec(height=8, width=8, channels=1, mean=(0.3,), std=(0.37,))
EPOCHS = 25


@pytest.fixture(scope="session", autouse=True)
def logs_as_in_production() -> None:
    """Without this a traceback is drawn with every local variable in it, which takes seconds for tensors."""
    log.configure()


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated SQLite database of the test's own, or one of the kind that `on_both` asks for."""
    return str(request.getfixturevalue(f"{getattr(request, 'param', 'sqlite')}_url"))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    yield opened
    opened.dispose()


@dataclass(frozen=True)
class Learned:
    """Weights as stored bytes, and both splits as npz files."""

    weights: bytes
    train: bytes
    test: bytes


@pytest.fixture(scope="session")
def learned() -> Learned:
    torch.set_num_threads(1)
    images, labels = load_digits(return_X_y=True)
    x = (images.reshape(-1, 8, 8, 1) * 255 / 16).astype(np.uint8)
    y = labels.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(y))
    train, test = order[:900], order[900:]
    network = build(ARCHITECTURE, OPTIONS, NUM_CLASSES, 1)
    generator = torch.Generator().manual_seed(0)
    initialise(network, generator)
    inputs, targets = normalise(x[train], SPEC), torch.from_numpy(y[train])
    optimiser = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    network.train()
    for _ in range(EPOCHS):
        for part in torch.randperm(len(targets), generator=generator).split(50):
            optimiser.zero_grad()
            functional.cross_entropy(network(inputs[part]), targets[part]).backward()
            optimiser.step()
    network.eval()
    return Learned(save_state(network), _npz(x[train], y[train]), _npz(x[test], y[test]))


def _npz(x: np.ndarray, y: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=x, y=y)
    return buffer.getvalue()


@dataclass(frozen=True)
class Desk:
    """One database and store with a model `digits` (version 1 ready) and a data set `digits`."""

    database: Database
    settings: Settings
    storage: LocalStorage
    model_id: int


@pytest.fixture
def desk(database_url: str, tmp_path: Path, learned: Learned) -> Iterator[Desk]:
    settings = quick_settings(database_url, tmp_path)
    database, storage = Database(database_url), LocalStorage(settings.artifacts_dir)
    files = {name: storage.put([content], 1 << 30) for name, content in vars(learned).items()}
    with database.writing() as session:
        now = database_now(session)
        model = Model(
            tenant="t",
            actor="key:test",
            name="digits",
            architecture=ARCHITECTURE,
            architecture_options=OPTIONS,
            labels=LABELS,
            input_spec=SPEC.model_dump(mode="json"),
            created_at=now,
            last_version=0,
        )
        session.add(model)
        session.flush()
        weights = files.pop("weights")
        add_version(
            session,
            model,
            actor="key:test",
            state=VersionState.READY,
            artifact_sha256=weights.sha256,
            size_bytes=weights.size_bytes,
        )
        sources = [
            DatasetSource(
                tenant="t",
                actor="key:test",
                split=split,
                sha256=blob.sha256,
                size_bytes=blob.size_bytes,
                created_at=now,
            )
            for split, blob in files.items()
        ]
        dataset = Dataset(
            tenant="t",
            actor="key:test",
            name="digits",
            state=DatasetState.READY,
            labels=[],
            summary={"counts": {"train": {}, "test": {}}},
            created_at=now,
            sources=sources,
        )
        session.add(dataset)
        model_id = model.id
    assert hashlib.sha256(learned.weights).hexdigest() == weights.sha256
    yield Desk(database, settings, storage, model_id)
    database.dispose()
