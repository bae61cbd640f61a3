"""References, recipes and retrainings over HTTP: what is taken, what is refused, and what stands in rows and ledger."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update

from core.requests import claims
from core.requests.tables import Job
from core.states import DatasetState, JobKind, JobState, VersionState
from models_store.recipes import Recipe, RetrainSpec
from models_store.tables import Dataset, ModelVersion, Reference, ReferenceState
from tests.integration.app.api import Answer, Api, add_dataset, enough, registration, safetensors

LABELS = registration()["labels"]
REFERENCES, RETRAIN, RECIPE = "/models/digits/references", "/models/digits/retrain", "/models/digits/recipe"
SMALL: dict[str, Any] = {
    "optimiser": {"name": "sgd", "momentum": 0.9, "nesterov": True},
    "learning_rate": 0.1,
    "weight_decay": 5e-4,
    "epochs": 10,
    "batch_size": 64,
    "schedule": {"name": "cosine", "warmup_epochs": 1},
    "augmentation": {"flip": True, "crop_padding": 4},
    "label_smoothing": 0.1,
    "seed": {"policy": "fixed", "seed": 11},
}


@pytest.fixture
def stocked(ready: Api) -> Api:
    """The model `digits` with a ready version, and data sets of every sort."""
    counts = enough(LABELS)
    with ready.database.writing() as session:
        add_dataset(session, "default", counts, labels=LABELS, name="digits")
        add_dataset(session, "default", counts, labels=LABELS, name="unread", state=DatasetState.VALIDATING)
        add_dataset(session, "default", {"train": counts["train"]}, labels=LABELS, name="no-test")
        few_test = counts["test"] | {"one": 9}
        add_dataset(session, "default", counts | {"test": few_test}, labels=LABELS, name="few-test")
        others = {"train": counts["train"], "test": {"zero": 50, "one": 5, "two": 4}}
        add_dataset(session, "default", others, labels=LABELS, name="few-others")
        untaught = {"train": counts["train"] | {"two": 0}, "test": counts["test"]}
        add_dataset(session, "default", untaught, labels=LABELS, name="untaught")
        tiny = {"train": dict.fromkeys(LABELS, 9), "test": counts["test"]}
        add_dataset(session, "default", tiny, labels=LABELS, name="tiny")
        add_dataset(session, "default", enough(["a", "b", "c"]), labels=["a", "b", "c"], name="others")
    return ready


def asked(*absent: str | int, **members: Any) -> dict[str, Any]:
    return {"absent_classes": list(absent), "dataset": "digits", **members}


def register(api: Api, *absent: str | int, **members: Any) -> Answer:
    return api.call("POST", REFERENCES, body=asked(*absent, **members))


def retrain(api: Api, *absent: str | int, **members: Any) -> Answer:
    return api.call("POST", RETRAIN, body=asked(*absent, **members))


def jobs_of(api: Api, kind: JobKind) -> list[Job]:
    with api.database.reading() as session:
        return list(session.execute(select(Job).where(Job.kind == kind).order_by(Job.seq)).scalars())


# ----------------------------------------------------------------------------------------------------------- references


def test_a_reference_is_a_draft_until_its_weights_come_and_then_waits_for_its_check(
    stocked: Api, weights: bytes
) -> None:
    made = register(stocked, 2, "one", note="from the audit")
    assert (made.status, made.headers["location"]) == (201, f"{REFERENCES}/1")
    draft = made.json()
    assert draft["absent_classes"] == [{"index": 1, "label": "one"}, {"index": 2, "label": "two"}]
    assert (draft["state"], draft["origin"], draft["sha256"], draft["note"]) == (
        "draft",
        "uploaded",
        None,
        "from the audit",
    )
    sent = stocked.call("PUT", draft["links"]["weights"], content=weights)
    assert (sent.status, sent.headers["location"]) == (202, f"{REFERENCES}/1")
    shown = stocked.call("GET", f"{REFERENCES}/1").json()
    assert shown == sent.json()
    assert (shown["state"], shown["sha256"]) == ("validating", hashlib.sha256(weights).hexdigest())
    assert "weights" not in shown["links"]
    job = jobs_of(stocked, JobKind.VALIDATE_VERSION)[-1]
    assert (job.state, job.subject_id, job.spec) == (JobState.QUEUED, None, {"model": "digits", "reference": 1})
    with stocked.database.reading() as session:
        assert session.execute(select(Reference)).unique().scalar_one().job_id == job.id
    assert stocked.ledger_types()[-3:] == ["reference.registered", "request.accepted", "reference.uploaded"]
    assert stocked.ledger()[-1]["data"]["num_absent"] == 2
    assert not any(word in str(stocked.ledger()) for word in ("from the audit", "'one'", "absent_classes"))


def test_the_same_bytes_again_are_nothing_new_and_other_bytes_are_refused(stocked: Api, weights: bytes) -> None:
    register(stocked, 1)
    path = f"{REFERENCES}/1/weights"
    stocked.call("PUT", path, content=weights)
    written = len(stocked.ledger())
    assert stocked.call("PUT", path, content=weights).status == 200
    other = stocked.call("PUT", path, content=safetensors(1.0))
    assert (other.status, other.slug) == (409, "reference-sealed")
    assert len(stocked.ledger()) == written


def test_the_same_bytes_are_checked_anew_when_the_check_broke(stocked: Api, weights: bytes) -> None:
    register(stocked, 1)
    path = f"{REFERENCES}/1/weights"
    stocked.call("PUT", path, content=weights)
    broken = jobs_of(stocked, JobKind.VALIDATE_VERSION)[-1]
    with stocked.database.writing() as session:
        session.execute(update(Job).where(Job.id == broken.id).values(state=JobState.FAILED))
    assert stocked.call("PUT", path, content=weights).status == 202
    with stocked.database.reading() as session:
        reference = session.execute(select(Reference)).unique().scalar_one()
        assert reference.job_id not in (None, broken.id)


def test_of_several_who_send_different_weights_at_once_one_succeeds(stocked: Api) -> None:
    register(stocked, 1)
    path = f"{REFERENCES}/1/weights"
    with ThreadPoolExecutor(max_workers=6) as pool:
        answers = list(pool.map(lambda number: stocked.call("PUT", path, content=safetensors(number)), range(6)))
    assert sorted(answer.status for answer in answers) == [202] + [409] * 5


def test_numbers_are_given_once_and_pages_hold_every_reference_in_order(stocked: Api) -> None:
    with ThreadPoolExecutor(max_workers=5) as pool:
        made = list(pool.map(lambda _: register(stocked, 1).json()["reference"], range(5)))
    assert sorted(made) == [1, 2, 3, 4, 5]
    seen, page = [], f"{REFERENCES}?limit=2"
    while page:
        answer = stocked.call("GET", page).json()
        seen += [item["reference"] for item in answer["items"]]
        page = answer["next"]
    assert seen == [1, 2, 3, 4, 5]


BAD: list[tuple[dict[str, Any], int, str, str | None]] = [
    ({"absent_classes": ["three"]}, 422, "unknown-class", "#/absent_classes/0"),
    ({"absent_classes": [0, 3]}, 422, "unknown-class", "#/absent_classes/1"),
    ({"absent_classes": [1, "one"]}, 422, "class-named-twice", "#/absent_classes/1"),
    ({"absent_classes": [0, 1, 2]}, 422, "no-class-retained", "#/absent_classes"),
    ({"absent_classes": []}, 422, "validation-error", "#/absent_classes"),
    ({"absent_classes": [True]}, 422, "validation-error", "#/absent_classes/0"),
    ({"dataset": "nowhere"}, 404, "unknown-dataset", None),
    ({"dataset": "unread"}, 409, "dataset-not-ready", None),
    ({"dataset": "no-test"}, 422, "missing-split", "#/dataset"),
    ({"dataset": "few-test"}, 422, "too-few-samples", "#/absent_classes/0"),
    ({"dataset": "few-others", "absent_classes": [0]}, 422, "too-few-samples", "#/dataset"),
    ({"dataset": "others"}, 422, "label-mismatch", "#/dataset"),
    ({"note": "x" * 2001}, 422, "validation-error", "#/note"),
    ({"sha256": "ab" * 32}, 422, "validation-error", "#/sha256"),
]


def test_bad_references_and_retrainings_are_refused_where_they_are_bad(stocked: Api) -> None:
    stocked.call("PUT", RECIPE, body=SMALL)
    before = stocked.ledger()
    for changes, status, slug, pointer in BAD:
        for path in (REFERENCES, RETRAIN):
            answer = stocked.call("POST", path, body=asked("one") | changes)
            assert (answer.status, answer.slug) == (status, slug), (path, changes)
            assert pointer is None or pointer in answer.pointers, (path, changes)
    assert stocked.ledger() == before
    assert stocked.call("GET", REFERENCES).json()["items"] == []


def test_a_model_without_a_version_that_is_ready_takes_no_reference(stocked: Api) -> None:
    with stocked.database.writing() as session:
        session.execute(update(ModelVersion).values(state=VersionState.VALIDATING))
    assert register(stocked, 1).slug == "version-not-ready"
    stocked.call("POST", "/models", body=registration(name="empty"))
    answer = stocked.call("POST", "/models/empty/references", body=asked(1))
    assert (answer.status, answer.slug) == (404, "unknown-version")


def test_weights_that_cannot_be_taken_leave_a_draft(stocked: Api, weights: bytes) -> None:
    register(stocked, 1)
    path = f"{REFERENCES}/1/weights"
    stored = stocked.stored()
    assert stocked.call("PUT", path, content=b"not a model").slug == "malformed-weights"
    assert stocked.call("PUT", path, content=weights, repr_digest="sha-256=:AAAA:").slug == "digest-mismatch"
    too_large = stocked.call("PUT", path, content=b"." * 100_001)
    assert (too_large.status, too_large.num_read) == (413, 0)
    for unknown in (f"{REFERENCES}/2/weights", "/models/nobody/references/1/weights"):
        answer = stocked.call("PUT", unknown, content=weights)
        assert (answer.status, answer.num_read) == (404, 0)
    assert stocked.stored() == stored
    assert stocked.call("GET", f"{REFERENCES}/1").json()["state"] == "draft"


def test_the_limit_of_weights_holds_for_references_and_not_that_of_json(
    sqlite_url: str, tmp_path: Path, weights: bytes
) -> None:
    api = Api(sqlite_url, tmp_path / "data", max_body_bytes=2_000)
    assert api.call("PUT", f"{REFERENCES}/1/weights", content=weights).status == 404
    assert api.call("POST", REFERENCES, body=asked(1, note="x" * 4_000)).status == 413
    api.resources.close()


def test_other_tenants_and_readers_are_kept_out(stocked: Api) -> None:
    register(stocked, 1)
    stocked.call("PUT", RECIPE, body=SMALL)
    identifier = retrain(stocked, 1).json()["id"]
    foreign = stocked.with_key("models:read", "models:write", tenant="other")
    for path in (REFERENCES, f"{REFERENCES}/1", RECIPE, RETRAIN, f"{RETRAIN}/{identifier}"):
        assert foreign.get(path).status_code == 404
    assert foreign.delete(f"{RETRAIN}/{identifier}").status_code == 404
    reader = stocked.with_key("models:read")
    assert reader.get(f"{REFERENCES}/1").status_code == 200
    for method, path in (
        ("POST", REFERENCES),
        ("PUT", f"{REFERENCES}/1/weights"),
        ("PUT", RECIPE),
        ("POST", RETRAIN),
        ("DELETE", f"{RETRAIN}/{identifier}"),
    ):
        assert reader.request(method, path, json=asked(1)).status_code == 403, path


# -------------------------------------------------------------------------------------------------------------- recipes


def test_a_changed_recipe_is_a_new_version_and_the_same_one_is_not(stocked: Api) -> None:
    first = stocked.call("PUT", RECIPE, body=SMALL)
    assert (first.status, first.json()["version"], first.headers["etag"]) == (201, 1, '"1"')
    assert first.json()["sha256"] == Recipe.model_validate(SMALL).sha256
    again = stocked.call("PUT", RECIPE, body=dict(reversed(SMALL.items())))
    assert (again.status, again.json()) == (200, first.json())
    second = stocked.call("PUT", RECIPE, body=SMALL | {"epochs": 20})
    assert (second.status, second.json()["version"]) == (200, 2)
    third = stocked.call("PUT", RECIPE, body=SMALL)
    assert (third.json()["version"], third.json()["sha256"]) == (3, first.json()["sha256"])
    assert stocked.call("GET", RECIPE).json() == third.json()
    assert stocked.call("GET", f"{RECIPE}?version=2").json() == second.json()
    assert stocked.call("GET", second.json()["links"]["self"]).json()["recipe"]["epochs"] == 20
    assert stocked.ledger_types()[-3:] == ["recipe.added"] * 3
    assert stocked.ledger()[-1]["data"] == {"model": "digits", "recipe": 3, "sha256": third.json()["sha256"]}


def test_a_missing_recipe_is_told_as_such(stocked: Api) -> None:
    for answer in (stocked.call("GET", RECIPE), retrain(stocked, 1)):
        assert (answer.status, answer.slug) == (404, "unknown-recipe")
    stocked.call("PUT", RECIPE, body=SMALL)
    assert stocked.call("GET", f"{RECIPE}?version=2").status == 404
    assert stocked.call("PUT", "/models/nobody/recipe", body=SMALL).slug == "unknown-model"


def test_a_bad_recipe_is_refused_where_it_is_bad(stocked: Api) -> None:
    for changes, pointer in (
        ({"epochs": 0}, "#/epochs"),
        ({"learning_rate": 0}, "#/learning_rate"),
        ({"optimiser": {"name": "lion"}}, "#/optimiser"),
        ({"optimiser": {"name": "sgd", "momentum": 2}}, "#/optimiser"),
        ({"schedule": {"name": "cosine", "warmup_epochs": 10}}, "#"),
        ({"factory": "os.system"}, "#/factory"),
    ):
        for method, path, body, prefix in (
            ("PUT", RECIPE, SMALL | changes, "#"),
            ("POST", RETRAIN, asked(1, recipe=SMALL | changes), "#/recipe"),
        ):
            answer = stocked.call(method, path, body=body)
            assert answer.status == 422, changes
            assert pointer.replace("#", prefix) in answer.pointers, (path, changes)


# ---------------------------------------------------------------------------------------------------------- retrainings


def test_a_retraining_is_queued_with_the_recipe_as_it_was(stocked: Api) -> None:
    stocked.call("PUT", RECIPE, body=SMALL)
    answer = retrain(stocked, "two", 0, note="for the audit")
    shown = answer.json()
    assert (answer.status, answer.headers["location"]) == (202, f"{RETRAIN}/{shown['id']}")
    assert int(answer.headers["retry-after"]) >= 1
    assert (shown["state"], shown["seed"], shown["recipe_version"], shown["reference"]) == ("queued", 11, 1, None)
    assert [one["index"] for one in shown["absent_classes"]] == [0, 2]
    stocked.call("PUT", RECIPE, body=SMALL | {"epochs": 99})
    again = stocked.call("GET", shown["links"]["self"])
    assert (again.json(), again.headers["etag"]) == (shown, answer.headers["etag"])
    assert stocked.call("GET", shown["links"]["self"], if_none_match=answer.headers["etag"]).status == 304
    (job,) = jobs_of(stocked, JobKind.RETRAIN)
    spec = RetrainSpec.model_validate(job.spec)
    assert (spec.recipe, spec.absent_classes, spec.dataset) == (Recipe.model_validate(SMALL), [0, 2], "digits")
    leaf = stocked.ledger()[-2]
    assert (leaf["type"], leaf["request"], leaf["data"]["kind"]) == ("request.accepted", shown["id"], "retrain")
    assert not any(word in str(stocked.ledger()) for word in ("for the audit", "'two'"))
    assert stocked.call("GET", f"/unlearn/{shown['id']}").status == 404


def test_seed_and_recipe_of_the_request_come_before_those_of_the_model(stocked: Api) -> None:
    stocked.call("PUT", RECIPE, body=SMALL)
    own = SMALL | {"epochs": 3, "seed": {"policy": "fresh"}}
    shown = retrain(stocked, 1, recipe=own).json()
    assert (shown["recipe"]["epochs"], shown["recipe_version"]) == (3, None)
    assert shown["seed"] != retrain(stocked, 1, recipe=own).json()["seed"]
    assert retrain(stocked, 1, seed=5, recipe=own).json()["seed"] == 5
    assert retrain(stocked, 1, seed=0).json()["seed"] == 0
    assert stocked.call("GET", RECIPE).json()["version"] == 1
    for seed in (-1, 2**53, "1", 1.5):
        assert "#/seed" in retrain(stocked, 1, seed=seed).pointers


def test_a_data_set_that_cannot_teach_a_class_is_refused(stocked: Api) -> None:
    stocked.call("PUT", RECIPE, body=SMALL)
    assert register(stocked, 1, dataset="untaught").status == 201
    for name, told in (("untaught", "class index 2"), ("tiny", "the classes to be learned, got 18")):
        answer = retrain(stocked, 1, dataset=name)
        assert (answer.status, answer.slug) == (422, "too-few-samples")
        assert told in answer.json()["detail"]
    assert retrain(stocked, 2, dataset="untaught").status == 202


def test_a_waiting_retraining_is_withdrawn_at_once_and_a_running_one_soon(stocked: Api) -> None:
    stocked.call("PUT", RECIPE, body=SMALL)
    running = retrain(stocked, 1).json()["links"]["self"]
    job = jobs_of(stocked, JobKind.RETRAIN)[-1]
    lease = claims.claim(stocked.database, owner="w", ttl=stocked.resources.settings.lease_ttl, only=job.id)
    assert lease is not None
    waiting = retrain(stocked, 1).json()["links"]["self"]
    gone = stocked.call("DELETE", waiting)
    assert (gone.status, gone.json()["state"], "retry-after" in gone.headers) == (200, "cancelled", False)
    assert "cancel" not in gone.json()["links"]
    again = stocked.call("DELETE", waiting)
    assert (again.status, again.slug) == (409, "invalid-transition")
    soon = stocked.call("DELETE", running)
    assert (soon.status, soon.json()["state"], soon.json()["cancel_requested"]) == (202, "running", True)
    unknown = stocked.call("DELETE", f"{RETRAIN}/{uuid4()}")
    assert (unknown.status, unknown.slug) == (404, "unknown-retraining")


def test_a_finished_retraining_leads_to_its_reference_which_takes_no_weights(stocked: Api, weights: bytes) -> None:
    stocked.call("PUT", RECIPE, body=SMALL)
    shown = retrain(stocked, 1).json()
    with stocked.database.writing() as session:
        job = session.execute(select(Job).where(Job.id == UUID(shown["id"]))).scalar_one()
        job.state, job.result = JobState.COMPLETED, {"reference": 1}
        reference = Reference(
            model_id=job.model_id,
            number=1,
            tenant=job.tenant,
            actor="worker:w",
            state=ReferenceState.READY,
            absent_classes=[1],
            dataset_id=session.execute(select(Dataset.id).where(Dataset.name == "digits")).scalar_one(),
            artifact_sha256="ab" * 32,
            size_bytes=1,
            job_id=job.id,
            recipe=SMALL,
            recipe_version=1,
            seed=11,
            created_at=job.created_at,
        )
        session.add(reference)
    done = stocked.call("GET", shown["links"]["self"]).json()
    made = stocked.call("GET", done["links"]["reference"]).json()
    assert (made["origin"], made["links"]["retraining"]) == ("retrained", shown["links"]["self"])
    refused = stocked.call("PUT", f"{REFERENCES}/1/weights", content=weights)
    assert (refused.status, refused.slug, refused.num_read) == (409, "reference-sealed", 0)


def test_retrainings_are_listed_newest_first(stocked: Api) -> None:
    stocked.call("PUT", RECIPE, body=SMALL)
    made = [retrain(stocked, 1, seed=seed).json()["id"] for seed in range(5)]
    seen, page = [], f"{RETRAIN}?limit=2"
    while page:
        answer = stocked.call("GET", page).json()
        seen += [item["id"] for item in answer["items"]]
        page = answer["next"]
    assert seen == made[::-1]
    for after in ("x", str(uuid4())):
        answer = stocked.call("GET", f"{RETRAIN}?after={after}")
        assert (answer.status, answer.json()["errors"][0]["parameter"]) == (422, "after")
