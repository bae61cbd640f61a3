"""Registering models, and everything that is not a model."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from app.keys import service as keys
from tests.integration.app.api import Api, registration

INPUT = registration()["input"]
BAD: list[tuple[dict[str, Any], str]] = [
    ({"name": "Digits"}, "#/name"),
    ({"name": ""}, "#/name"),
    ({"name": "a" * 129}, "#/name"),
    ({"name": "../digits"}, "#/name"),
    ({"name": "digits\n"}, "#/name"),
    ({"architecture": "torchvision/resnet19"}, "#/architecture"),
    ({"architecture": "os.system"}, "#/architecture"),
    ({"architecture": ""}, "#/architecture"),
    ({"architecture_options": {"width": 5}}, "#/architecture_options/width"),
    ({"architecture_options": {"weights": "DEFAULT"}}, "#/architecture_options/weights"),
    ({"architecture_options": {"width": [16]}}, "#/architecture_options/width"),
    ({"architecture_options": {"width": 10**400}}, "#/architecture_options/width"),
    ({"architecture_options": {"width": float("nan")}}, "#/architecture_options/width"),
    ({"labels": []}, "#/labels"),
    ({"labels": ["only"]}, "#/labels"),
    ({"labels": ["a", "a"]}, "#/labels"),
    ({"labels": ["caf\u00e9", "cafe\u0301"]}, "#/labels"),
    ({"labels": ["a", ""]}, "#/labels/1"),
    ({"labels": ["a", "b" * 257]}, "#/labels/1"),
    ({"labels": ["a", 2]}, "#/labels/1"),
    ({"labels": ["a", "b\x00"]}, "#/labels"),
    ({"labels": ["a", "\ud800"]}, "#/labels/1"),
    ({"labels": None}, "#/labels"),
    ({"input": INPUT | {"channels": 2}}, "#/input/channels"),
    ({"input": INPUT | {"std": [0.0]}}, "#/input/std/0"),
    ({"input": INPUT | {"mean": [0.1, 0.2, 0.3]}}, "#/input"),
    ({"input": INPUT | {"size": 8}}, "#/input/size"),
    ({"factory": "builtins.eval"}, "#/factory"),
]


def test_registered_model_is_shown_as_it_was_sent(api: Api) -> None:
    sent = registration(architecture_options={"width": 16})
    made = api.call("POST", "/models", body=sent)
    assert made.status == 201
    shown = api.call("GET", made.headers["location"])
    assert shown.json() == made.json()
    assert {name: shown.json()[name] for name in ("name", "architecture", "architecture_options", "labels")} == {
        name: sent[name] for name in ("name", "architecture", "architecture_options", "labels")
    }
    assert shown.json()["input"] == INPUT | {"crop_ratio": 1.0}
    assert shown.json()["links"]["weights"] == "/models/digits/weights"
    assert api.ledger_types() == ["model.registered"]


def test_ledger_holds_no_label(api: Api) -> None:
    api.call("POST", "/models", body=registration(labels=["Ada Lovelace", "somebody else"]))
    (leaf,) = api.ledger()
    assert leaf["data"] == {"model": "digits", "architecture": "expunge/small_convnet", "num_labels": 2}


def test_second_model_of_a_name_is_refused_and_writes_nothing(api: Api) -> None:
    api.call("POST", "/models", body=registration())
    again = api.call("POST", "/models", body=registration())
    assert (again.status, again.slug) == (409, "name-taken")
    assert again.json()["links"] == {"model": "/models/digits"}
    assert api.ledger_types() == ["model.registered"]


def test_of_fifty_who_register_one_name_at_once_one_succeeds(api: Api) -> None:
    with ThreadPoolExecutor(max_workers=50) as pool:
        statuses = list(pool.map(lambda _: api.call("POST", "/models", body=registration()).status, range(50)))
    assert sorted(statuses) == [201] + [409] * 49
    assert api.ledger_types() == ["model.registered"]


def test_bad_registration_is_refused_where_it_is_bad(api: Api) -> None:
    # One test and not one for each row: a database of its own for each would cost more than all of them together.
    for changes, pointer in BAD:
        answer = api.call("POST", "/models", body=registration(**changes))
        assert (answer.status, answer.headers["content-type"]) == (422, "application/problem+json"), changes
        assert pointer in answer.pointers, changes
    assert api.ledger() == []


def test_labels_are_kept_in_composed_unicode(api: Api) -> None:
    made = api.call("POST", "/models", body=registration(labels=["cafe\u0301", "tea"]))
    assert made.json()["labels"] == ["caf\u00e9", "tea"]


def test_unknown_model_is_not_found(api: Api) -> None:
    for path in ("/models/nobody", "/models/nobody/versions", "/models/nobody/aliases"):
        answer = api.call("GET", path)
        assert (answer.status, answer.slug) == (404, "unknown-model")


def test_pages_hold_every_model_once_in_order(api: Api) -> None:
    names = [f"model-{number}" for number in range(7)]
    for name in names:
        api.call("POST", "/models", body=registration(name=name))
    seen, page = [], "/models?limit=3"
    sizes = []
    while page:
        answer = api.call("GET", page).json()
        seen += [item["name"] for item in answer["items"]]
        sizes.append(len(answer["items"]))
        page = answer["next"]
    assert seen == names
    assert sizes == [3, 3, 1]


def test_bad_page_is_refused(api: Api) -> None:
    for query in ("limit=0", "limit=201", "limit=x", "after=x", "after=-1", "after=99999999999"):
        answer = api.call("GET", f"/models?{query}")
        assert answer.status == 422
        assert answer.json()["errors"][0]["parameter"] == query.split("=")[0]


def test_another_tenant_sees_nothing_and_may_use_the_name(api: Api) -> None:
    api.call("POST", "/models", body=registration())
    with api.database.writing() as session:
        _, secret = keys.create(
            session, tenant="other", actor="test", name="k", scopes=["models:read", "models:write"], environment="test"
        )
    bearer = f"Bearer {secret}"
    assert api.call("GET", "/models/digits", authorization=bearer).status == 404
    assert api.call("GET", "/models", authorization=bearer).json()["items"] == []
    assert api.call("POST", "/models", body=registration(), authorization=bearer).status == 201
    refused = api.call("GET", "/models/digits/versions/1/artifact", authorization=bearer)
    assert (refused.status, refused.json()["scope"]) == (403, "artifacts:read")
