"""The re-learning guard on classifiers that have learned: what knows a deleted class again, and what does not."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from sqlalchemy import select

from core.clock import database_now
from core.ledger.tables import LedgerEntry
from core.requests.repository import enqueue
from core.states import JobKind, JobState, VersionState
from models_store.architectures import build, initialise
from models_store.lineage.tables import ModelOrigin
from models_store.registry import HoldsForgottenClass, add_version, refuse_forgotten
from models_store.tables import Model, ModelVersion
from models_store.weights import save_state
from tests.integration.worker.conftest import ARCHITECTURE, LABELS, NUM_CLASSES, OPTIONS, SPEC, Desk, Learned
from tests.integration.worker.support import job_of, on_both, quick_settings
from tests.integration.worker.test_pipeline import submit, versions_of, work

FORGOTTEN = 3


def desk_with(desk: Desk, **options: Any) -> Desk:
    return replace(desk, settings=quick_settings(desk.settings.database_url, desk.settings.data_dir, **options))


def publish(desk: Desk) -> ModelVersion:
    job_id = submit(desk, [FORGOTTEN])
    work(desk)
    assert job_of(desk.database, job_id).state == JobState.PUBLISHED
    return versions_of(desk.database)[-1]


def touched(weights: bytes) -> bytes:
    """Other bytes with the same knowledge, as a few further training steps leave them."""
    generator = torch.Generator().manual_seed(1)
    noisy = {
        name: tensor + 0.002 * torch.randn(tensor.shape, generator=generator) if tensor.is_floating_point() else tensor
        for name, tensor in load(weights).items()
    }
    return save(noisy)


def untrained() -> bytes:
    network = build(ARCHITECTURE, OPTIONS, NUM_CLASSES, 1)
    initialise(network, torch.Generator().manual_seed(7))
    return save_state(network)


def another_model(desk: Desk, name: str, *, origin: int | None = None, labels: list[str] | None = None) -> int:
    with desk.database.writing() as session:
        now = database_now(session)
        model = Model(
            tenant="t",
            actor="key:test",
            name=name,
            architecture=ARCHITECTURE,
            architecture_options=OPTIONS,
            labels=labels or LABELS,
            input_spec=SPEC.model_dump(mode="json"),
            created_at=now,
            last_version=0,
        )
        session.add(model)
        session.flush()
        if origin is not None:
            row = ModelOrigin(model_id=model.id, version_id=origin, tenant="t", actor="key:test", created_at=now)
            session.add(row)
        return model.id


def upload(desk: Desk, content: bytes, model_id: int | None = None) -> ModelVersion:
    """The version after a worker has looked at it."""
    blob = desk.storage.put([content], 1 << 30)
    with desk.database.writing() as session:
        version = add_version(
            session,
            session.get_one(Model, model_id or desk.model_id),
            actor="key:test",
            state=VersionState.VALIDATING,
            artifact_sha256=blob.sha256,
            size_bytes=blob.size_bytes,
        )
        kind = JobKind.VALIDATE_VERSION
        enqueue(session, kind, tenant="t", actor="key:test", spec={}, max_attempts=3, subject_id=version.id)
        version_id = version.id
    work(desk)
    with desk.database.reading() as session:
        return session.get_one(ModelVersion, version_id)


def judged(version: ModelVersion) -> tuple[str, str, str]:
    assert version.guard is not None
    (one,) = version.guard["classes"]
    assert one["index"] == FORGOTTEN
    return version.guard["outcome"], one["basis"], one["outcome"]


@on_both
def test_a_retrained_version_is_refused_where_the_class_was_deleted_and_taken_where_it_was_not(
    desk: Desk, learned: Learned
) -> None:
    retrained = touched(learned.weights)
    before = upload(desk, retrained)
    assert (before.state, before.guard) == (VersionState.READY, None)
    publish(desk)
    again = upload(desk, touched(retrained))
    assert (again.state, judged(again)) == (VersionState.REFUSED, ("refused", "test-samples", "above"))
    assert again.problem is not None
    assert (again.problem["slug"], again.problem["class_indices"]) == ("relearned-class", [FORGOTTEN])
    assert again.guard is not None
    accuracy = again.guard["classes"][0]["accuracy"]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert accuracy["value"] > 0.85 > again.guard["classes"][0]["limit"]
    stranger = upload(desk, touched(touched(retrained)), another_model(desk, "stranger"))
    assert (stranger.state, stranger.guard) == (VersionState.READY, None)
    with desk.database.reading() as session:
        query = select(LedgerEntry.leaf).where(LedgerEntry.type == "version.validated").order_by(LedgerEntry.seq)
        leaves = [bytes(leaf) for leaf in session.execute(query).scalars()]
    assert b'"judged_by":["test-samples"]' in leaves[1]
    assert b'"relearned-class"' in leaves[1]
    assert b"guard" not in leaves[0] + leaves[2]


def test_an_honest_fine_tune_is_accepted_and_may_have_an_alias(desk: Desk) -> None:
    published = publish(desk)
    tuned = upload(desk, touched(desk.storage.path(published.artifact_sha256).read_bytes()))
    assert (tuned.state, judged(tuned)) == (VersionState.READY, ("clear", "test-samples", "clear"))
    with desk.database.reading() as session:
        refuse_forgotten(session, session.get_one(ModelVersion, tuned.id))


def test_with_flag_it_is_taken_and_marked_and_gets_no_alias(desk: Desk, learned: Learned) -> None:
    publish(desk)
    flagged = upload(desk_with(desk, relearning_guard="flag"), touched(learned.weights))
    assert (flagged.state, judged(flagged)) == (VersionState.READY, ("flagged", "test-samples", "above"))
    with desk.database.reading() as session, pytest.raises(HoldsForgottenClass):
        refuse_forgotten(session, session.get_one(ModelVersion, flagged.id))


@pytest.mark.parametrize("options", [{}, {"relearning_guard": "flag", "guard_samples": False}])
def test_the_original_bytes_under_another_name_are_known_by_their_digest(
    desk: Desk, learned: Learned, options: dict[str, Any]
) -> None:
    publish(desk)
    foreign = another_model(desk, "fresh-start", labels=[f"Ziffer {index}" for index in range(NUM_CLASSES)])
    caught = upload(desk_with(desk, **options), learned.weights, foreign)
    assert (caught.state, judged(caught)) == (VersionState.REFUSED, ("refused", "digest", "above"))


def test_prototypes_recognise_the_class_in_what_knows_the_others_and_say_nothing_otherwise(
    desk: Desk, learned: Learned
) -> None:
    allowed = desk_with(desk, guard_prototypes=True, guard_samples=False)
    published = publish(allowed)
    tuned = touched(desk.storage.path(published.artifact_sha256).read_bytes())
    found = [upload(allowed, weights) for weights in (touched(learned.weights), tuned, untrained())]
    assert [(one.state, judged(one)) for one in found] == [
        (VersionState.REFUSED, ("refused", "prototypes", "above")),
        (VersionState.READY, ("clear", "prototypes", "clear")),
        (VersionState.READY, ("unmeasured", "label-map", "unmeasured")),
    ]


def test_labels_alone_measure_nothing_and_that_is_said(desk: Desk, learned: Learned) -> None:
    blind = desk_with(desk, guard_samples=False)
    origin = versions_of(desk.database)[0].id
    publish(desk)
    same = upload(blind, touched(learned.weights))
    assert (same.state, judged(same)) == (VersionState.READY, ("unmeasured", "label-map", "unmeasured"))
    with desk.database.reading() as session, pytest.raises(HoldsForgottenClass):
        refuse_forgotten(session, session.get_one(ModelVersion, same.id))
    kin = upload(blind, touched(touched(learned.weights)), another_model(desk, "kin", origin=origin))
    assert (kin.state, judged(kin)) == (VersionState.REFUSED, ("refused", "label-map", "above"))
    renamed = [f"Ziffer {index}" for index in range(NUM_CLASSES)]
    silent = upload(blind, touched(untrained()), another_model(desk, "renamed", origin=origin, labels=renamed))
    assert (silent.state, silent.guard) == (VersionState.READY, None)


def test_damaged_samples_leave_it_to_the_labels(desk: Desk, learned: Learned) -> None:
    publish(desk)
    for content in (learned.train, learned.test):
        path = desk.storage.path(hashlib.sha256(content).hexdigest())
        path.chmod(0o640)
        path.write_bytes(b"gone")
    found = upload(desk, touched(learned.weights))
    assert judged(found) == ("unmeasured", "label-map", "unmeasured")
