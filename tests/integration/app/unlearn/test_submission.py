"""What is accepted, what is refused, and that a refusal leaves nothing behind."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select

from core.ledger.tables import LedgerEntry
from core.requests.spec import UnlearnSpec
from core.requests.tables import Job, UnlearnRequest
from core.states import DatasetState, VersionState
from models_store.registry import find_model
from tests.integration.app.api import LABELS, Api, add_dataset, add_model, add_ready_version, body, enough, forget


def count(api: Api) -> tuple[int, int]:
    """Requests and ledger entries there are."""
    with api.database.reading() as session:
        requests = session.execute(select(func.count()).select_from(UnlearnRequest)).scalar_one()
        entries = session.execute(select(func.count()).select_from(LedgerEntry)).scalar_one()
    return requests, entries


def test_an_accepted_request_is_committed_with_its_job_before_the_answer(api: Api) -> None:
    answer = api.local.post("/unlearn", json=body("bee", 3, external_reference="T-1", seed=7))
    shown = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/unlearn/{shown['id']}"
    assert int(answer.headers["retry-after"]) >= 1
    assert shown["classes"] == [{"index": 1, "label": "bee"}, {"index": 3, "label": "dog"}]
    assert shown["state"] == "queued"
    with api.database.reading() as session:
        job = session.execute(select(Job).where(Job.id == UUID(shown["id"]))).scalar_one()
        spec = UnlearnSpec.model_validate(job.spec)
        assert (spec.class_indices, spec.seed, spec.dataset) == ([1, 3], 7, "d")
        assert (job.tenant, job.actor) == ("default", "local:loopback")


def test_the_ledger_entry_names_neither_class_nor_data_subject(api: Api) -> None:
    secret = "Erika Mustermann"
    api.register("other", labels=[secret, "x", "y"])
    client = api.with_key("requests:submit", tenant="other")
    shown = client.post("/unlearn", json=body(secret, subject_reference="subject-4711", note="a note")).json()
    with api.database.reading() as session:
        leaves = [
            entry.leaf
            for entry in session.execute(select(LedgerEntry).order_by(LedgerEntry.seq)).scalars()
            if entry.request_id == UUID(shown["id"])
        ]
    assert len(leaves) == 1
    leaf = json.loads(leaves[0])
    assert leaf["to"] == "queued"
    assert leaf["tenant"] == "other"
    assert leaf["subject"].startswith("hmac-sha256:")
    assert len(leaf["data"]["classes"]) == 1
    for word in (secret, "Erika", "Mustermann", "subject-4711", "a note"):
        assert word.encode() not in b"".join(leaves)


@pytest.mark.parametrize(
    ("members", "status", "slug", "pointer"),
    [
        ({"model": "nobody"}, 404, "unknown-model", None),
        ({"version": 9}, 404, "unknown-version", None),
        ({"alias": "production"}, 404, "unknown-alias", None),
        ({"dataset": "nothing"}, 404, "unknown-dataset", None),
        ({"policy": "lax"}, 404, "unknown-policy", "#/policy"),
        ({"classes": []}, 422, "validation-error", "#/classes"),
        ({"classes": ["eel"]}, 422, "unknown-class", "#/classes/0"),
        ({"classes": ["ant", 4]}, 422, "unknown-class", "#/classes/1"),
        ({"classes": [-1]}, 422, "validation-error", "#/classes/0"),
        ({"classes": [True]}, 422, "validation-error", "#/classes/0"),
        ({"classes": [1.0]}, 422, "validation-error", "#/classes/0"),
        ({"classes": [None]}, 422, "validation-error", "#/classes/0"),
        ({"classes": ["a\x00"]}, 422, "unknown-class", "#/classes/0"),
        ({"classes": ["ant", 0]}, 422, "class-named-twice", "#/classes/1"),
        ({"classes": LABELS}, 422, "no-class-retained", "#/classes"),
        ({"classes": "ant"}, 422, "validation-error", "#/classes"),
        ({"version": 1, "alias": "a"}, 422, "validation-error", "#"),
        ({"version": 2**40}, 422, "validation-error", "#/version"),
        ({"version": "1"}, 422, "validation-error", "#/version"),
        ({"seed": -1}, 422, "validation-error", "#/seed"),
        ({"seed": 2**64}, 422, "validation-error", "#/seed"),
        ({"method": {"name": "magic"}}, 422, "validation-error", "#/method/name"),
        ({"method": {"alpha_r": 1}}, 422, "validation-error", "#/method"),
        ({"method": {"name": "refit", "alpha_r": 1, "alpha_f": 1}}, 422, "validation-error", "#/method"),
        ({"method": {"num_samples": 10**9}}, 422, "validation-error", "#/method/num_samples"),
        ({"thresholds": {"nonsense": {"at_most": 0.1}}}, 422, "validation-error", "#/thresholds/nonsense"),
        (
            {"thresholds": {"forget_accuracy_test": {"at_most": 0.5}}},
            422,
            "looser-threshold",
            "#/thresholds/forget_accuracy_test",
        ),
        ({"legal_ground": "because"}, 422, "validation-error", "#/legal_ground"),
        ({"received_on": "2999-01-01"}, 422, "received-in-future", "#/received_on"),
        ({"received_on": "yesterday"}, 422, "validation-error", "#/received_on"),
        ({"note": "x" * 2001}, 422, "validation-error", "#/note"),
        ({"note": "a\x00b"}, 422, "validation-error", "#/note"),
        ({"model": "\ud800"}, 422, "validation-error", "#/model"),
        ({"model": None}, 422, "validation-error", "#/model"),
        ({"surprise": 1}, 422, "validation-error", "#/surprise"),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing_behind(
    small_api: Api, members: dict[str, Any], status: int, slug: str, pointer: str | None
) -> None:
    before = count(small_api)
    sent = json.dumps({**body("ant"), **members})
    answer = small_api.local.post("/unlearn", content=sent, headers={"Content-Type": "application/json"})
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (status, f"urn:expunge:problem:{slug}")
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == status
    assert problem["instance"] == f"urn:uuid:{answer.headers['x-request-id']}"
    assert [item.get("pointer") for item in problem.get("errors", [{}])] == [pointer]
    assert count(small_api) == before


@pytest.mark.parametrize("sent", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"seed": 1e999}'])
def test_a_body_that_is_no_request_is_a_problem_and_not_a_crash(small_api: Api, sent: bytes) -> None:
    answer = small_api.local.post("/unlearn", content=sent, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Traceback" not in answer.text


def test_values_postgresql_cannot_hold_are_refused_and_not_a_crash(api: Api) -> None:
    for note in ("\x00", "\ud800", "x\udfff"):
        sent = json.dumps(body("ant", note=note))
        answer = api.local.post("/unlearn", content=sent, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422
    assert api.local.get("/unlearn?model=%00").status_code == 422
    assert api.local.get("/unlearn", params={"external_reference": "\N{SNOWMAN}"}).status_code == 200
    assert api.local.get("/unlearn?external_reference=%FF%FE").status_code == 200


def test_a_class_being_deleted_cannot_be_requested_again(api: Api) -> None:
    first = api.local.post("/unlearn", json=body("ant")).json()
    answer = api.local.post("/unlearn", json=body("bee", "ant"))
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (409, "urn:expunge:problem:already-requested")
    assert problem["request"] == first["links"]["self"]
    assert problem["errors"][0]["pointer"] == "#/classes/1"
    assert api.local.post("/unlearn", json=body("bee")).status_code == 202


def test_a_cancelled_request_frees_its_classes(api: Api) -> None:
    first = api.local.post("/unlearn", json=body("ant")).json()
    assert api.local.delete(first["links"]["cancel"]).status_code == 200
    assert api.local.post("/unlearn", json=body("ant")).status_code == 202


def test_open_requests_count_when_the_last_class_is_asked_for(api: Api) -> None:
    assert api.local.post("/unlearn", json=body("ant", "bee")).status_code == 202
    answer = api.local.post("/unlearn", json=body("cat", "dog"))
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:expunge:problem:no-class-retained")


def test_a_deleted_class_is_refused_with_a_link_to_the_request_that_deleted_it(api: Api) -> None:
    job_id = forget(api, 0)
    answer = api.local.post("/unlearn", json=body("ant"))
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:expunge:problem:already-deleted"
    assert answer.json()["request"] == f"/unlearn/{job_id}"


def test_a_version_that_still_holds_a_deleted_class_is_no_base(api: Api) -> None:
    forget(api, 0)
    answer = api.local.post("/unlearn", json=body("bee", version=1))
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:expunge:problem:holds-forgotten-class")
    assert api.local.post("/unlearn", json=body("bee", version=2)).status_code == 202


def upload_after_deleting_ant(api: Api) -> None:
    """Version 2 has lost class 0; version 3 is a fresh upload that knows it again."""
    forget(api, 0)
    with api.database.writing() as session:
        add_ready_version(session, find_model(session, "default", "m"), artifact_sha256="cd" * 32)


def test_the_newest_version_is_the_base_even_if_it_holds_a_deleted_class(api: Api) -> None:
    upload_after_deleting_ant(api)
    named = api.local.post("/unlearn", json=body("bee", version=3))
    assert (named.status_code, named.json()["type"]) == (409, "urn:expunge:problem:holds-forgotten-class")
    assert api.local.post("/unlearn", json=body("bee")).status_code == 202


def test_a_deleted_class_that_is_back_needs_images_to_be_erased_with(small_api: Api) -> None:
    upload_after_deleting_ant(small_api)
    rest = enough(LABELS[1:])
    with small_api.database.writing() as session:
        add_dataset(session, "default", rest, labels=LABELS, name="without-ant")
    problem = small_api.local.post("/unlearn", json=body("bee", dataset="without-ant")).json()
    assert problem["type"] == "urn:expunge:problem:too-few-samples"
    assert (problem["class_index"], problem["split"], problem["count"]) == (0, "train", 0)
    assert problem["errors"][0]["pointer"] == "#/dataset"
    assert small_api.local.post("/unlearn", json=body("bee", dataset="without-ant", version=2)).status_code == 202


def test_all_classes_but_one_is_the_most(small_api: Api) -> None:
    assert small_api.local.post("/unlearn", json=body("ant", "bee", "cat")).status_code == 202


@pytest.mark.parametrize("state", [VersionState.VALIDATING, VersionState.REFUSED])
def test_a_version_that_is_not_ready_is_no_base(small_api: Api, state: VersionState) -> None:
    with small_api.database.writing() as session:
        add_ready_version(session, find_model(session, "default", "m"), state=state)
    answer = small_api.local.post("/unlearn", json=body("ant", version=2))
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:expunge:problem:version-not-ready")


def test_a_model_without_weights_has_no_version_to_erase_from(small_api: Api) -> None:
    with small_api.database.writing() as session:
        add_model(session, "default", LABELS, name="empty")
    answer = small_api.local.post("/unlearn", json=body("ant", model="empty"))
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:expunge:problem:unknown-version")


def test_a_model_whose_only_weights_are_being_checked_is_not_ready_rather_than_unknown(small_api: Api) -> None:
    with small_api.database.writing() as session:
        model = add_model(session, "default", LABELS, name="young")
        add_ready_version(session, model, state=VersionState.VALIDATING)
    answer = small_api.local.post("/unlearn", json=body("ant", model="young"))
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:expunge:problem:version-not-ready")


@pytest.mark.parametrize("state", [DatasetState.DRAFT, DatasetState.VALIDATING, DatasetState.REFUSED])
def test_a_data_set_that_is_not_ready_is_refused(small_api: Api, state: DatasetState) -> None:
    with small_api.database.writing() as session:
        add_dataset(session, "default", enough(LABELS), labels=LABELS, name="later", state=state)
    answer = small_api.local.post("/unlearn", json=body("ant", dataset="later"))
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:expunge:problem:dataset-not-ready")
    assert ("GET /datasets/later says why" in answer.json()["detail"]) == (state is DatasetState.REFUSED)


def few(split: str, label: str, images: int) -> dict[str, dict[str, int]]:
    """Enough of everything but one."""
    counts = enough(LABELS)
    counts[split] = {**counts[split], label: images}
    return counts


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (few("train", "ant", 19), {"class_index": 0, "split": "train", "count": 19, "limit": 20}),
        (few("test", "ant", 9), {"class_index": 0, "split": "test", "count": 9, "limit": 10}),
        (few("test", "ant", 34), {"class_index": 0, "split": "test", "count": 34, "limit": 35}),
        (few("train", "ant", 34), {"class_index": 0, "split": "train", "count": 34, "limit": 35}),
        (few("train", "dog", 0), {"class_index": 3, "split": "train", "count": 0, "limit": 1}),
    ],
)
def test_too_few_images_are_refused_naming_the_limit(
    small_api: Api, counts: dict[str, dict[str, int]], expected: dict[str, Any]
) -> None:
    with small_api.database.writing() as session:
        add_dataset(session, "default", counts, labels=LABELS, name="few")
    answer = small_api.local.post("/unlearn", json=body("ant", dataset="few"))
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (422, "urn:expunge:problem:too-few-samples")
    assert {name: problem[name] for name in expected} == expected
    assert "ant" not in problem["detail"]


def test_a_class_with_many_images_does_not_make_up_for_one_with_few(small_api: Api) -> None:
    with small_api.database.writing() as session:
        add_dataset(session, "default", few("test", "bee", 34), labels=LABELS, name="few")
    problem = small_api.local.post("/unlearn", json=body("ant", "bee", dataset="few")).json()
    assert (problem["class_index"], problem["count"], problem["limit"]) == (1, 34, 35)
    assert problem["errors"][0]["pointer"] == "#/classes/1"


@pytest.mark.parametrize(("left", "status"), [(34, 422), (0, 202)])
def test_a_class_deleted_before_is_gone_from_the_data_set_or_can_be_verified(
    small_api: Api, left: int, status: int
) -> None:
    forget(small_api, 0)
    with small_api.database.writing() as session:
        add_dataset(session, "default", few("test", "ant", left), labels=LABELS, name="few")
    answer = small_api.local.post("/unlearn", json=body("bee", dataset="few"))
    assert answer.status_code == status, answer.text
    if status == 422:
        assert (answer.json()["class_index"], answer.json()["errors"][0]["pointer"]) == (0, "#/dataset")


def test_a_data_set_without_test_images_is_refused(small_api: Api) -> None:
    with small_api.database.writing() as session:
        add_dataset(session, "default", {"train": enough(LABELS)["train"]}, labels=LABELS, name="half")
    answer = small_api.local.post("/unlearn", json=body("ant", dataset="half"))
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:expunge:problem:missing-split")
    assert answer.json()["split"] == "test"


def test_labels_that_differ_are_listed(small_api: Api) -> None:
    labels = ["ant", "bee", "cat", "fox"]
    with small_api.database.writing() as session:
        add_dataset(session, "default", enough(labels), labels=labels, name="foxes")
    answer = small_api.local.post("/unlearn", json=body("ant", dataset="foxes"))
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (422, "urn:expunge:problem:label-mismatch")
    assert (problem["only_in_dataset"], problem["only_in_model"]) == (["fox"], ["dog"])


def test_an_unknown_request_is_not_found_by_any_route(small_api: Api) -> None:
    client, path = small_api.local, f"/unlearn/{uuid4()}"
    answers = [client.get(path), client.delete(path), client.post(f"{path}/retry"), client.get(f"{path}/events")]
    assert [answer.status_code for answer in answers] == [404] * 4
    assert {answer.json()["type"] for answer in answers} == {"urn:expunge:problem:unknown-request"}
    assert client.get("/unlearn/not-an-id").status_code == 422
