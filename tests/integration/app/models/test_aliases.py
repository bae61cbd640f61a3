"""Names that move over versions, and movers who must say what they saw."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.app.api import Api, forget, safetensors

ALIAS = "/models/digits/aliases/production"


def test_alias_is_made_shown_moved_and_removed(ready: Api) -> None:
    made = ready.call("PUT", ALIAS, body={"version": 1}, if_none_match="*")
    assert (made.status, made.headers["location"]) == (201, ALIAS)
    assert made.headers["etag"] == f'"{made.json()["revision"]}"'
    shown = ready.call("GET", ALIAS)
    assert (shown.json(), shown.headers["etag"]) == (made.json(), made.headers["etag"])
    assert ready.call("GET", "/models/digits/aliases").json()["items"] == [made.json()]
    assert ready.call("GET", "/models/digits").json()["aliases"] == [made.json()]
    moved = ready.call("PUT", ALIAS, body={"version": 1}, if_match=made.headers["etag"])
    assert moved.status == 200
    assert moved.headers["etag"] != made.headers["etag"]
    removed = ready.call("DELETE", ALIAS, if_match=moved.headers["etag"])
    assert (removed.status, removed.body) == (204, b"")
    assert (ready.call("GET", ALIAS).status, ready.call("GET", ALIAS).slug) == (404, "unknown-alias")
    assert ready.ledger_types()[-3:] == ["alias.moved", "alias.moved", "alias.removed"]


def test_alias_made_again_has_no_entity_tag_of_before(ready: Api) -> None:
    old = ready.call("PUT", ALIAS, body={"version": 1}, if_none_match="*").headers["etag"]
    ready.call("DELETE", ALIAS, if_match=old)
    ready.call("PUT", ALIAS, body={"version": 1}, if_none_match="*")
    assert ready.call("PUT", ALIAS, body={"version": 1}, if_match=old).status == 412


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_change_without_a_precondition_is_refused(ready: Api, method: str) -> None:
    ready.call("PUT", ALIAS, body={"version": 1}, if_none_match="*")
    answer = ready.call(method, ALIAS, body={"version": 1})
    assert (answer.status, answer.slug) == (428, "precondition-required")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_change_of_another_state_is_refused(ready: Api, method: str) -> None:
    tag = ready.call("PUT", ALIAS, body={"version": 1}, if_none_match="*").headers["etag"]
    for condition in ('"999"', f"W/{tag}", "nonsense", '""'):
        answer = ready.call(method, ALIAS, body={"version": 1}, if_match=condition)
        assert (answer.status, answer.slug) == (412, "version-conflict")
    assert ready.call("GET", ALIAS).headers["etag"] == tag


def test_alias_that_is_there_is_not_made_again(ready: Api) -> None:
    ready.call("PUT", ALIAS, body={"version": 1}, if_none_match="*")
    assert ready.call("PUT", ALIAS, body={"version": 1}, if_none_match="*").status == 412


def test_alias_that_is_not_there_cannot_be_moved_or_removed(ready: Api) -> None:
    assert ready.call("PUT", ALIAS, body={"version": 1}, if_match='"1"').status == 412
    assert ready.call("DELETE", ALIAS, if_match='"1"').status == 404


def test_of_many_who_move_from_one_state_one_succeeds(ready: Api) -> None:
    tag = ready.call("PUT", ALIAS, body={"version": 1}, if_none_match="*").headers["etag"]
    with ThreadPoolExecutor(max_workers=10) as pool:
        statuses = list(
            pool.map(lambda _: ready.call("PUT", ALIAS, body={"version": 1}, if_match=tag).status, range(10))
        )
    assert sorted(statuses) == [200] + [412] * 9


def test_of_many_who_make_one_alias_one_succeeds(ready: Api) -> None:
    with ThreadPoolExecutor(max_workers=10) as pool:
        statuses = list(
            pool.map(lambda _: ready.call("PUT", ALIAS, body={"version": 1}, if_none_match="*").status, range(10))
        )
    assert sorted(statuses) == [201] + [412] * 9


def test_version_under_validation_gets_no_alias(ready: Api) -> None:
    ready.call("PUT", "/models/digits/weights", content=safetensors(1.0))
    answer = ready.call("PUT", ALIAS, body={"version": 2}, if_none_match="*")
    assert (answer.status, answer.slug) == (409, "version-not-ready")


def test_version_that_holds_a_deleted_class_gets_no_alias(ready: Api) -> None:
    forget(ready, 2, model_name="digits")
    answer = ready.call("PUT", ALIAS, body={"version": 1}, if_none_match="*")
    assert (answer.status, answer.slug, answer.json()["class_indices"]) == (409, "holds-forgotten-class", [2])


def test_deleted_class_is_shown_with_the_request_that_removed_it(ready: Api) -> None:
    job = forget(ready, 2, model_name="digits")
    assert ready.call("GET", "/models/digits").json()["forgotten"] == [
        {"index": 2, "label": "two", "request": str(job), "links": {"request": f"/unlearn/{job}"}}
    ]


def test_body_without_a_version_number_is_refused(ready: Api) -> None:
    for body in ({"version": 0}, {"version": "1"}, {"version": True}, {"version": 2**31}, {}):
        assert ready.call("PUT", ALIAS, body=body, if_none_match="*").pointers == ["#/version"]


def test_unknown_version_is_not_found(ready: Api) -> None:
    answer = ready.call("PUT", ALIAS, body={"version": 7}, if_none_match="*")
    assert (answer.status, answer.slug) == (404, "unknown-version")


def test_bad_alias_name_is_refused(ready: Api) -> None:
    for name in ("7", "Production", "-x", "a" * 65, "a b"):
        answer = ready.call("PUT", f"/models/digits/aliases/{name}", body={"version": 1}, if_none_match="*")
        assert (answer.status, answer.json()["errors"][0]["parameter"]) == (422, "alias")
