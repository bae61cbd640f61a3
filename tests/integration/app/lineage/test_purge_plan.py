"""Which images a purge takes: those of the class as the models that used the data set number it, and no others."""

from uuid import UUID, uuid4

import pytest

from core.requests.repository import enqueue, find_request
from core.states import JobKind
from models_store.lineage.purge_plan import Target, plan
from models_store.registry import find_model
from models_store.tables import DatasetSource
from tests.integration.app.api import add_dataset, enough
from tests.integration.app.lineage.conftest import Lineage

TURNED = ["dog", "ant", "bee", "cat"]
FROM_M = {"derived_from": {"model": "m", "version": 1}}


def add_array(lineage: Lineage, name: str, *models: str) -> None:
    """A data set that numbers its images and names no class; references of the models are compared on it."""
    with lineage.api.database.writing() as session:
        dataset = add_dataset(session, "default", enough(["0", "1", "2", "3"]), labels=None, name=name)
        common = {"tenant": "default", "actor": "test", "created_at": dataset.created_at}
        session.add(DatasetSource(dataset_id=dataset.id, split="all", sha256="cd" * 32, size_bytes=1, **common))
    for model in models:
        body = {"absent_classes": [2], "dataset": name}
        assert lineage.api.local.post(f"/models/{model}/references", json=body).status_code == 201


def targets(lineage: Lineage, request: UUID) -> list[Target]:
    with lineage.api.database.writing() as session:
        return plan(session, find_request(session, "default", request), uuid4())


def images(lineage: Lineage, request: UUID, name: str) -> list[tuple[tuple[str, ...], str | None]]:
    found = [one for one in targets(lineage, request) if one.kind == "images"]
    return [(one.classes, one.stays) for one in found if f"'{name}'" in one.what]


@pytest.fixture
def kindred(small_lineage: Lineage) -> Lineage:
    """A model made from `m` that numbers the classes in another order."""
    small_lineage.register("k", labels=TURNED, **FROM_M)
    small_lineage.upload("k", value=5.0)
    return small_lineage


def test_a_kindred_model_that_numbers_the_classes_otherwise_loses_the_right_images(kindred: Lineage) -> None:
    add_array(kindred, "arrays", "k")
    request = kindred.publish("ant", forgotten=[0], value=2.0)
    assert images(kindred, request, "arrays") == [((str(TURNED.index("ant")),), None)]


def test_a_copy_under_other_words_loses_the_images_of_the_same_number(small_lineage: Lineage) -> None:
    small_lineage.register("c", labels=["Hund", "Ameise", "Biene", "Katze"])
    small_lineage.upload("c", value=1.0)
    add_array(small_lineage, "arrays", "c")
    request = small_lineage.publish("ant", forgotten=[0], value=2.0)
    assert images(small_lineage, request, "arrays") == [(("0",), None)]


def test_a_model_that_came_into_the_lineage_by_accident_keeps_its_images(kindred: Lineage) -> None:
    kindred.register("x", labels=["0", "1", "2", "3"])
    kindred.upload("x", value=5.0)
    add_array(kindred, "arrays", "x")
    request = kindred.publish("ant", forgotten=[0], value=2.0)
    assert images(kindred, request, "arrays") == []


def test_images_stay_where_two_models_of_the_lineage_number_the_classes_differently(kindred: Lineage) -> None:
    add_array(kindred, "arrays", "m", "k")
    request = kindred.publish("ant", forgotten=[0], value=2.0)
    ((_, why),) = images(kindred, request, "arrays")
    assert "number the classes differently" in str(why)


def test_images_stay_as_long_as_a_kindred_model_is_given_away_with_the_class(kindred: Lineage) -> None:
    add_array(kindred, "arrays", "k")
    request = kindred.publish("ant", forgotten=[0], value=2.0)
    kindred.upload("k", value=6.0)  # and found good, as by a guard that only flags
    ((_, why),) = images(kindred, request, "arrays")
    assert why == "model 'k' is of the lineage and still has the class; delete it there"


def test_an_open_job_of_a_kindred_model_keeps_versions_and_images(kindred: Lineage) -> None:
    add_array(kindred, "arrays", "m")
    request = kindred.publish("ant", forgotten=[0], value=2.0)
    kinds = {"version", "images"}
    before = {one.kind for one in targets(kindred, request) if one.stays is None}
    assert before >= kinds
    with kindred.api.database.writing() as session:
        model_id = find_model(session, "default", "k").id
        enqueue(session, JobKind.REPLAY, tenant="default", actor="test", spec={}, max_attempts=1, model_id=model_id)
    found = [one for one in targets(kindred, request) if one.kind in kinds]
    assert found
    assert all(one.stays is not None for one in found)
    assert any("a job of kind replay is not final" in str(one.stays) for one in found)
