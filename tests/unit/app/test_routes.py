"""What every route has: a scope, a text, problems that are told, a name that stays."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from fastapi.routing import APIRoute

from app.auth import authenticate
from app.keys.service import SCOPES
from app.main import create_app
from core.settings import Settings

OPEN = {"/livez", "/readyz", "/.well-known/expunge", "/openapi.json", "/docs"}

NAMES = {
    ("POST", "/unlearn"): ("submit_request", "requests:submit"),
    ("GET", "/unlearn"): ("list_requests", "requests:read"),
    ("GET", "/unlearn/{request_id}"): ("show_request", "requests:read"),
    ("DELETE", "/unlearn/{request_id}"): ("cancel_request", "requests:cancel"),
    ("POST", "/unlearn/{request_id}/retry"): ("retry_request", "requests:submit"),
    ("POST", "/unlearn/{request_id}/override"): ("override_request", "override"),
    ("GET", "/unlearn/{request_id}/events"): ("follow_request", "requests:read"),
    ("GET", "/unlearn/{request_id}/evidence"): ("download_evidence", "audit:read"),
    ("POST", "/unlearn/{request_id}/audit"): ("audit_request", "requests:submit"),
    ("GET", "/unlearn/{request_id}/audit"): ("show_audit", "requests:read"),
    ("DELETE", "/unlearn/{request_id}/audit"): ("cancel_audit", "requests:cancel"),
    ("GET", "/models/{name}/versions/{number}/artifact"): ("download_artifact", "artifacts:read"),
    ("HEAD", "/models/{name}/versions/{number}/artifact"): ("describe_artifact", "artifacts:read"),
    ("POST", "/models/{name}/versions/{number}/break-glass"): ("break_glass", "break-glass"),
    ("POST", "/unlearn/{request_id}/replay"): ("replay_request", "requests:submit"),
    ("GET", "/unlearn/{request_id}/replays"): ("list_replays", "requests:read"),
    ("GET", "/unlearn/{request_id}/replays/{replay_id}"): ("show_replay", "requests:read"),
    ("DELETE", "/unlearn/{request_id}/replays/{replay_id}"): ("cancel_replay", "requests:cancel"),
    ("GET", "/models/{name}/versions/{number}/labels"): ("list_labels", "models:read"),
    ("POST", "/unlearn/{request_id}/purge"): ("purge_request", "purge"),
    ("GET", "/unlearn/{request_id}/purge"): ("show_purge", "requests:read"),
    ("GET", "/recalls"): ("list_recalls", "artifacts:read"),
    ("POST", "/recalls/{recall}/acknowledgements"): ("acknowledge_recall", "artifacts:read"),
    ("GET", "/recalls/{recall}/acknowledgements"): ("list_acknowledgements", "artifacts:read"),
    ("GET", "/policies"): ("list_policies", "policies:read"),
    ("PUT", "/policies/{name}"): ("put_policy", "policies:write"),
    ("GET", "/policies/{name}"): ("show_policy", "policies:read"),
    ("GET", "/policies/{name}/versions/{number}"): ("show_policy_version", "policies:read"),
    ("GET", "/models/{name}/versions/{number}/attestations"): ("list_attestations", "artifacts:read"),
    ("GET", "/models/{name}/versions/{number}/attestations/{kind}"): ("download_attestation", "artifacts:read"),
    ("GET", "/models/{name}/versions/{number}/model.sig"): ("download_model_signature", "artifacts:read"),
    ("GET", "/audit/entries"): ("list_ledger_entries", "audit:read"),
    ("GET", "/audit/entries/{index}/tlog-proof"): ("show_entry_proof", "audit:read"),
    ("GET", "/unlearn/{request_id}/proof.tlog-proof"): ("show_request_proof", "audit:read"),
    ("GET", "/audit/proof/inclusion"): ("prove_inclusion", "audit:read"),
    ("GET", "/audit/proof/consistency"): ("prove_consistency", "audit:read"),
    ("GET", "/audit/checkpoint"): ("show_newest_checkpoint", "audit:read"),
    ("GET", "/audit/checkpoints/{size}"): ("show_checkpoint", "audit:read"),
    ("POST", "/audit/checkpoints/{size}/cosignatures"): ("add_cosignatures", "audit:read"),
    ("GET", "/.well-known/expunge"): ("show_signing_keys", None),
    ("GET", "/audit/export"): ("export_ledger", "audit:read"),
    ("GET", "/audit/report"): ("report_request", "audit:read"),
    ("GET", "/audit/report.{kind}"): ("report_as", "audit:read"),
    ("GET", "/audit/report/plots/{name}"): ("report_plot", "audit:read"),
    ("GET", "/unlearn/{request_id}/report"): ("report_one", "audit:read"),
    ("GET", "/unlearn/{request_id}/report.{kind}"): ("report_one_as", "audit:read"),
    ("GET", "/livez"): ("live", None),
    ("GET", "/readyz"): ("ready", None),
}


@pytest.fixture(scope="module")
def application() -> Any:
    return create_app(Settings())


def routes(holder: Any) -> Iterator[Any]:
    """Every route, those of included routers too."""
    for route in holder.routes:
        included = getattr(route, "original_router", None)
        if included is None:
            yield route
        else:
            yield from routes(included)


def scopes_of(route: APIRoute) -> list[str]:
    """The scopes that the route's caller must hold."""
    asked = [one for one in route.dependant.dependencies if one.call is authenticate]
    return [scope for one in asked for scope in one.own_oauth_scopes or []]


def test_every_route_declares_one_scope_that_exists(application: Any) -> None:
    checked = 0
    for route in routes(application):
        if route.path in OPEN:
            continue
        assert isinstance(route, APIRoute), route
        assert len(scopes_of(route)) == 1, route.path
        assert scopes_of(route)[0] in SCOPES
        checked += 1
    assert checked >= 9


def test_the_open_routes_are_these_five_and_ask_for_nobody(application: Any) -> None:
    found = {route.path: route for route in routes(application)}
    assert set(found) >= OPEN
    assert all(scopes_of(found[path]) == [] for path in OPEN - {"/openapi.json"})


def test_names_and_scopes_of_operations_stay(application: Any) -> None:
    described = application.openapi()["paths"]
    for (method, path), (name, scope) in NAMES.items():
        operation = described[path][method.lower()]
        assert operation["operationId"] == name
        assert operation.get("security", []) == ([{"ApiKey": [scope]}] if scope else [])


def test_stored_weights_leave_by_three_doors_only_and_each_asks_for_quarantine(application: Any) -> None:
    """A new route that sends weights belongs here, and into the tests of quarantine."""
    binary = "application/vnd.safetensors"
    doors = {
        operation["operationId"]
        for path in application.openapi()["paths"].values()
        for operation in path.values()
        if any(binary in answer.get("content", {}) for answer in operation["responses"].values())
    }
    assert doors == {"download_artifact", "describe_artifact", "break_glass"}


def test_every_operation_has_a_text_and_a_name_of_its_own(application: Any) -> None:
    operations = [one for path in application.openapi()["paths"].values() for one in path.values()]
    assert all(one.get("description") for one in operations)
    names = [one["operationId"] for one in operations]
    assert len(names) == len(set(names))


def test_every_problem_is_described_as_one(application: Any) -> None:
    description = application.openapi()
    assert "Problem" in description["components"]["schemas"]
    assert "HTTPValidationError" not in str(description)
    for path, operations in description["paths"].items():
        for operation in operations.values():
            told = {status: one for status, one in operation["responses"].items() if status >= "400"}
            if path in OPEN:
                continue
            assert {"401", "403", "422", "503"} <= set(told), path
            assert all(list(one["content"]) == ["application/problem+json"] for one in told.values()), path


def test_the_documentation_can_be_switched_off() -> None:
    paths = {route.path for route in routes(create_app(Settings(docs=False)))}
    assert paths.isdisjoint({"/docs", "/openapi.json"})


def test_the_scopes_of_keys_are_those_of_the_type() -> None:
    from app.keys.service import Scope

    assert get_args(Scope) == SCOPES
