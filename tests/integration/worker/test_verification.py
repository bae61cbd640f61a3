"""Verification with and without a reference: which one is compared with, what the result holds, and what it costs."""

from typing import Any
from uuid import UUID

import pytest
import torch
from sqlalchemy import update

from core.policy.policies import Margin, Policy, TestName
from core.requests.tables import Job
from core.states import JobKind, JobState
from models_store.architectures import build, initialise
from models_store.datasets import Source, load_split
from models_store.normalise import normalise
from models_store.references import add_reference
from models_store.tables import Dataset, Model, Reference, ReferenceState
from models_store.weights import save_state
from tests.integration.worker.conftest import ARCHITECTURE, LABELS, NUM_CLASSES, OPTIONS, SPEC, Desk, Learned
from tests.integration.worker.support import add_job, job_of
from tests.integration.worker.test_pipeline import submit, work
from worker.pipeline.outputs import Verified
from worker.pipeline.verification.attacks import RELEARNING_STEPS
from worker.pipeline.verification.references import RELEARNINGS

COMPARED = Policy(name="compared", version=1, deciding={TestName.PROBE_GAP: Margin(at_most=0.99)})
"""Decides by one difference from the reference, with a margin that any measured one lies in."""


@pytest.fixture(scope="session")
def retrained(learned: Learned, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Weights of a network that never saw digit 3."""
    path = tmp_path_factory.mktemp("digits") / "train.npz"
    path.write_bytes(learned.train)
    train = load_split([Source(path, "train")], "train", tuple(LABELS), SPEC)
    kept = train.y != 3
    inputs, labels = normalise(train.x[kept], SPEC), torch.from_numpy(train.y[kept])
    generator = torch.Generator().manual_seed(1)
    network = build(ARCHITECTURE, OPTIONS, NUM_CLASSES, 1)
    initialise(network, generator)
    optimiser = torch.optim.SGD(network.train().parameters(), lr=0.02, momentum=0.9)
    for _ in range(15):
        for part in torch.randperm(len(labels), generator=generator).split(50):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(network(inputs[part]), labels[part]).backward()
            optimiser.step()
    return save_state(network.eval())


def register(desk: Desk, weights: bytes, classes: list[int], **columns: Any) -> Reference:
    blob = desk.storage.put([weights], 1 << 30)
    with desk.database.writing() as session:
        dataset = session.query(Dataset).one()
        return add_reference(
            session,
            session.get_one(Model, desk.model_id),
            actor="key:test",
            event="reference.validated",
            state=ReferenceState.READY,
            absent_classes=classes,
            dataset_id=dataset.id,
            artifact_sha256=blob.sha256,
            size_bytes=blob.size_bytes,
            **columns,
        )


def finished(desk: Desk, kind: JobKind) -> UUID:
    """A job that took 12.5 s."""
    job_id = add_job(desk.database)
    ended = {"kind": kind, "state": JobState.COMPLETED, "result": {"seconds": 12.5}}
    with desk.database.writing() as session:
        session.execute(update(Job).where(Job.id == job_id).values(**ended))
    return job_id


def result_of(desk: Desk, *, policy: Policy = COMPARED) -> tuple[JobState, dict[str, Any]]:
    job_id = submit(desk, [3], policy=policy)
    work(desk)
    job = job_of(desk.database, job_id)
    assert job.result is not None
    return job.state, job.result


def test_the_newest_fitting_reference_is_compared_with_and_named(desk: Desk, retrained: bytes) -> None:
    register(desk, retrained, [3])
    newest = register(desk, retrained, [3], seed=7)
    register(desk, retrained, [3, 4])
    state, result = result_of(desk)
    assert state == JobState.PUBLISHED
    assert result["reference"] == {"number": 2, "sha256": newest.artifact_sha256, "seed": 7}
    assert set(result["measures"]) == {"original", "unlearned", "reference"}
    assert result["measures"]["reference"]["forget_accuracy_test"]["value"] == 0
    gap = result["measures"]["unlearned"]["probe_gap"]
    scores = [result["measures"][whose]["probe_forget_accuracy"]["value"] for whose in ("unlearned", "reference")]
    assert gap["value"] == pytest.approx(scores[0] - scores[1])
    assert gap["low"] <= gap["value"] <= gap["high"]
    for attack in RELEARNINGS:
        ours, theirs = (result["measures"][whose][f"{attack}_steps"] for whose in ("unlearned", "reference"))
        assert 1 <= ours["low"] <= ours["value"] <= ours["high"] <= RELEARNING_STEPS[-1]
        ratio = result["measures"]["unlearned"][f"{attack}_steps_ratio"]
        assert ratio["value"] == pytest.approx(ours["value"] / theirs["value"])
    assert set(result["curves"]["confusion"]) == {"original", "unlearned", "reference"}


def test_a_reference_for_other_classes_is_none_and_its_tests_say_so(desk: Desk, retrained: bytes) -> None:
    register(desk, retrained, [3, 4])
    state, result = result_of(desk)
    assert state == JobState.REJECTED
    assert "reference" not in result
    assert set(result["measures"]) == {"original", "unlearned"}
    assert "probe_gap" not in result["measures"]["unlearned"]
    tests = {test["name"]: test for test in result["verdict"]["tests"]}
    assert tests["probe_gap"]["outcome"] == "inconclusive"
    assert "Expected a reference" in tests["probe_gap"]["problem"]
    assert "idi" not in tests


def test_damaged_weights_of_a_reference_cost_its_own_tests_and_no_others(desk: Desk, retrained: bytes) -> None:
    reference = register(desk, retrained, [3])
    path = desk.storage.path(str(reference.artifact_sha256))
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    state, result = result_of(desk)
    assert state == JobState.REJECTED
    assert "reference" not in result
    tests = {test["name"]: test for test in result["verdict"]["tests"]}
    assert "weights of reference 1" in tests["probe_gap"]["problem"]
    assert tests["forget_accuracy_test"]["value"] is not None


def test_the_cost_stands_beside_that_of_retraining_where_it_was_done_here(desk: Desk, retrained: bytes) -> None:
    register(desk, retrained, [3], job_id=finished(desk, JobKind.RETRAIN))
    cost = result_of(desk)[1]["cost"]
    assert cost["retrain_seconds"] == 12.5
    assert cost["seconds"] > 0
    assert cost["samples"] > 0
    assert 0 < cost["verification_seconds"]["deciding"] <= cost["verification_seconds"]["all"]
    assert cost["verification_samples"]["test"] == 897


def test_an_uploaded_reference_tells_no_time_of_training(desk: Desk, retrained: bytes) -> None:
    register(desk, retrained, [3], job_id=finished(desk, JobKind.VALIDATE_VERSION))
    assert "retrain_seconds" not in result_of(desk)[1]["cost"]


def test_a_record_that_an_older_worker_left_is_still_understood() -> None:
    old = Verified.model_validate({"measures": {"original": {}, "unlearned": {}}, "evidence": []})
    assert (old.reference, old.curves, old.cost) == (None, {}, {})
