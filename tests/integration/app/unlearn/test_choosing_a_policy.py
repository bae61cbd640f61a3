"""Which policy a request is judged by: named, pinned, tightened, and refused when its tests cannot be made."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from core.policy.catalogue import TestName
from core.policy.policies import STANDARD
from core.requests.spec import UnlearnSpec
from core.requests.tables import Job, UnlearnRequest
from models_store.references import add_reference
from models_store.registry import find_dataset, find_model
from models_store.tables import ReferenceState
from tests.integration.app.api import LABELS, Api, add_dataset, body, enough, forget

MARGINS: dict[str, Any] = {"forget_accuracy_test": {"at_most": 0.1}}
NARROWER: dict[str, Any] = {"forget_accuracy_test": {"at_most": 0.08}}


def write(api: Api, margins: dict[str, Any], name: str = "ours") -> None:
    assert api.call("PUT", f"/policies/{name}", body={"deciding": margins}).status == 201


def spec_of(api: Api, request: dict[str, Any]) -> UnlearnSpec:
    with api.database.reading() as session:
        job = session.execute(select(Job).where(Job.id == UUID(request["id"]))).scalar_one()
        return UnlearnSpec.model_validate(job.spec)


def test_a_request_is_judged_by_the_newest_version_there_is_when_it_comes(api: Api) -> None:
    write(api, MARGINS)
    first = api.local.post("/unlearn", json=body("ant", policy="ours")).json()
    write(api, NARROWER)
    second = api.local.post("/unlearn", json=body("bee", policy="ours")).json()
    assert [(one["policy"], one["policy_version"]) for one in (first, second)] == [("ours", 1), ("ours", 2)]
    assert spec_of(api, first).policy.as_json() == {"name": "ours", "version": 1, "deciding": MARGINS}
    assert spec_of(api, second).policy.as_json()["deciding"] == NARROWER


def test_a_version_can_be_pinned(api: Api) -> None:
    write(api, MARGINS)
    write(api, NARROWER)
    shown = api.local.post("/unlearn", json=body("ant", policy="ours/1")).json()
    assert (shown["policy"], shown["policy_version"]) == ("ours", 1)
    assert spec_of(api, shown).policy.as_json()["deciding"] == MARGINS
    with api.database.reading() as session:
        row = session.execute(select(UnlearnRequest)).scalar_one()
        assert (row.policy_name, row.policy_version) == ("ours", 1)


def test_the_standard_is_taken_unless_another_is_named(small_api: Api) -> None:
    shown = small_api.local.post("/unlearn", json=body("ant")).json()
    assert (shown["policy"], shown["policy_version"]) == ("standard", STANDARD.version)
    assert spec_of(small_api, shown).policy == STANDARD
    pinned = small_api.local.post("/unlearn", json=body("bee", policy="standard/1")).json()
    assert TestName.HEAD_OUTLIER not in spec_of(small_api, pinned).policy.deciding


@pytest.mark.parametrize("name", ["lax", "ours/2", "ours/0", "ours/x", "standard/9", "", "a b", "ours/1/1", "\u0661"])
def test_an_unknown_policy_or_version_is_not_found(small_api: Api, name: str) -> None:
    write(small_api, MARGINS)
    answer = small_api.local.post("/unlearn", json=body("ant", policy=name))
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (404, "urn:expunge:problem:unknown-policy")
    assert problem["errors"][0]["pointer"] == "#/policy"


def test_the_policy_of_another_tenant_is_unknown(small_api: Api) -> None:
    write(small_api, MARGINS)
    small_api.register("other")
    stranger = small_api.with_key("requests:submit", tenant="other")
    assert stranger.post("/unlearn", json=body("ant", policy="ours")).status_code == 404


@pytest.mark.parametrize(
    ("thresholds", "slug"),
    [
        ({"forget_accuracy_test": {"at_most": 0.08}}, None),
        ({"worst_class_drop": {"at_most": 0.3}}, None),
        ({"forget_accuracy_test": {"at_most": 0.2}}, "looser-threshold"),
        ({"false_forget_rate": {"at_most": 0.0}}, "impossible-threshold"),
        ({"false_forget_rate": {"at_least": 0.1}}, "impossible-threshold"),
        ({"membership_auc": {"at_least": 0.6, "at_most": 0.7}}, "impossible-threshold"),
        ({"probe_gap": {"at_most": 0.1}}, "no-reference"),
        ({"klom_excess": {"at_most": 1.0}}, "no-audit"),
        ({"klom": {"at_most": 1.0}}, "impossible-threshold"),
    ],
)
def test_a_policy_of_ones_own_may_be_tightened_within_reason(
    small_api: Api, thresholds: dict[str, Any], slug: str | None
) -> None:
    write(small_api, MARGINS)
    answer = small_api.local.post("/unlearn", json=body("ant", policy="ours", thresholds=thresholds))
    if slug is None:
        assert answer.status_code == 202, answer.text
        (name,) = thresholds
        assert spec_of(small_api, answer.json()).policy.as_json()["deciding"] == {**MARGINS, name: thresholds[name]}
    else:
        assert (answer.status_code, answer.json()["type"]) == (422, f"urn:expunge:problem:{slug}")


def test_a_policy_that_compares_needs_a_reference_and_says_which(api: Api) -> None:
    answer = api.local.post("/unlearn", json=body("dog", "bee", policy="with-reference"))
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (422, "urn:expunge:problem:no-reference")
    assert problem["class_indices"] == [1, 3]
    assert "POST /models/m/references" in problem["detail"]
    assert "with-reference/2" in problem["detail"]
    assert "probe_gap" in problem["tests"]
    assert "dog" not in problem["detail"]
    assert problem["errors"][0]["pointer"] == "#/policy"
    with api.database.reading() as session:
        assert session.execute(select(func.count()).select_from(UnlearnRequest)).scalar_one() == 0


def add_a_reference(api: Api, *absent: int, state: ReferenceState = ReferenceState.READY) -> None:
    with api.database.writing() as session:
        model, dataset = find_model(session, "default", "m"), find_dataset(session, "default", "d")
        add_reference(
            session,
            model,
            actor="test",
            event="reference.registered",
            state=state,
            absent_classes=absent,
            dataset_id=dataset.id,
        )


def test_a_policy_that_compares_is_taken_once_a_fitting_reference_is_ready(api: Api) -> None:
    request = body("bee", policy="with-reference")
    add_a_reference(api, 1, state=ReferenceState.VALIDATING)
    add_a_reference(api, 2)
    assert api.local.post("/unlearn", json=request).json()["type"] == "urn:expunge:problem:no-reference"
    add_a_reference(api, 1)
    assert api.local.post("/unlearn", json=request).status_code == 202


def test_a_reference_must_lack_the_classes_deleted_before_as_well(small_api: Api) -> None:
    forget(small_api, 0)
    add_a_reference(small_api, 1)
    refused = small_api.local.post("/unlearn", json=body("bee", policy="with-reference"))
    assert (refused.status_code, refused.json()["class_indices"]) == (422, [0, 1])
    add_a_reference(small_api, 0, 1)
    assert small_api.local.post("/unlearn", json=body("bee", policy="with-reference")).status_code == 202


def counts(split: str, images: int, *labels: str) -> dict[str, dict[str, int]]:
    """Enough of everything but of these classes in one split."""
    found = enough(LABELS)
    found[split] = {**found[split], **dict.fromkeys(labels, images)}
    return found


@pytest.mark.parametrize(
    ("margins", "images", "expected"),
    [
        (
            {"restored_classifier_forget_accuracy": {"at_most": 0.05}},
            counts("test", 72, "ant"),
            {"split": "test", "count": 72, "limit": 73, "class_index": 0},
        ),
        (
            {"false_forget_rate": {"at_most": 0.05}},
            counts("test", 24, "bee", "cat", "dog"),
            {"split": "test", "count": 72, "limit": 73, "retained": 3},
        ),
        (
            {"worst_class_drop": {"at_most": 0.2}},
            counts("test", 0, "cat"),
            {"split": "test", "count": 0, "limit": 1, "class_index": 2},
        ),
    ],
)
def test_images_that_no_result_could_pass_with_are_refused_naming_the_limit(
    small_api: Api, margins: dict[str, Any], images: dict[str, dict[str, int]], expected: dict[str, Any]
) -> None:
    write(small_api, margins)
    write(small_api, MARGINS, name="undemanding")
    with small_api.database.writing() as session:
        add_dataset(session, "default", images, labels=LABELS, name="few")
    problem = small_api.local.post("/unlearn", json=body("ant", dataset="few", policy="ours")).json()
    assert problem["type"] == "urn:expunge:problem:too-few-samples"
    assert {name: problem[name] for name in expected} == expected
    assert str(expected["limit"]) in problem["detail"]
    assert small_api.local.post("/unlearn", json=body("ant", dataset="few", policy="undemanding")).status_code == 202
