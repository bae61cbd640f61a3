"""Following a request: reading, polling, lists, cancelling, retrying, events."""

import json
import threading
from datetime import timedelta
from uuid import UUID

import anyio
import pytest

from app.unlearn import events
from core.requests import claims
from core.states import JobState
from tests.integration.app.api import Api, body, forget

MINUTE = timedelta(minutes=1)
PROBLEM = {"slug": "boom", "title": "Boom", "detail": "It broke."}


def submit(api: Api, *classes: str | int, **members: object) -> str:
    """The path of a new request."""
    answer = api.local.post("/unlearn", json=body(*classes, **members))
    assert answer.status_code == 202, answer.text
    return str(answer.headers["location"])


def claim(api: Api) -> claims.Lease:
    """What a worker does first."""
    lease = claims.claim(api.database, owner="w", ttl=MINUTE)
    assert lease is not None
    return lease


def end(api: Api, lease: claims.Lease, to: JobState) -> None:
    """What a worker does last."""
    with api.database.writing() as session:
        claims.finish(session, lease, to, problem=PROBLEM if to is JobState.FAILED else None)


def test_polling_costs_nothing_until_something_changes(api: Api) -> None:
    path = submit(api, "ant")
    first = api.local.get(path)
    again = api.local.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    claims.report_progress(api.database, claim(api), step="load", percent=3)
    changed = api.local.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert changed.status_code == 200
    assert (changed.json()["state"], changed.json()["step"], changed.json()["percent"]) == ("running", "load", 3)
    assert (changed.json()["attempt"], changed.json()["fence"]) == (1, 1)


def test_retry_after_is_sent_until_the_request_is_final(api: Api) -> None:
    path = submit(api, "ant")
    assert "retry-after" in api.local.get(path).headers
    end(api, claim(api), JobState.REJECTED)
    final = api.local.get(path)
    assert "retry-after" not in final.headers
    assert (final.json()["links"]["cancel"], final.json()["links"]["retry"]) == (None, None)


def test_the_subject_reference_is_not_shown(small_api: Api) -> None:
    path = submit(small_api, "ant", subject_reference="subject-4711")
    assert "subject-4711" not in small_api.local.get(path).text
    assert "subject-4711" not in small_api.local.get("/unlearn").text


def test_pages_of_the_list_add_up_to_all_requests_newest_first(api: Api) -> None:
    paths = [submit(api, name) for name in ("ant", "bee", "cat")]
    seen: list[str] = []
    following = "/unlearn?limit=2"
    while following:
        page = api.local.get(following).json()
        seen += [item["links"]["self"] for item in page["items"]]
        following = page["next"]
    assert seen == paths[::-1]


def test_the_list_can_be_filtered(small_api: Api) -> None:
    ant = submit(small_api, "ant", external_reference="T-1")
    submit(small_api, "bee", external_reference="T-2")
    small_api.local.delete(ant)

    def found(query: str) -> list[str]:
        return [item["classes"][0]["label"] for item in small_api.local.get(f"/unlearn?{query}").json()["items"]]

    assert found("state=cancelled") == ["ant"]
    assert found("external_reference=T-2") == ["bee"]
    assert found("model=m") == ["bee", "ant"]
    assert found("model=other") == []
    assert small_api.local.get("/unlearn?state=lost").status_code == 422


@pytest.mark.parametrize(
    "query", ["after=nonsense", "after=00000000-0000-0000-0000-000000000000", "limit=0", "limit=x"]
)
def test_a_page_that_cannot_be_is_refused_naming_the_parameter(small_api: Api, query: str) -> None:
    answer = small_api.local.get(f"/unlearn?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == query.split("=", maxsplit=1)[0]


def test_a_waiting_request_is_cancelled_at_once_and_only_once(api: Api) -> None:
    path = submit(api, "ant")
    cancelled = api.local.delete(path)
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    again = api.local.delete(path)
    assert (again.status_code, again.json()["type"]) == (409, "urn:expunge:problem:invalid-transition")
    assert again.json()["state"] == "cancelled"


def test_a_running_request_is_asked_to_stop(api: Api) -> None:
    path = submit(api, "ant")
    lease = claim(api)
    asked = api.local.delete(path)
    assert (asked.status_code, asked.json()["state"], asked.json()["cancel_requested"]) == (202, "running", True)
    assert api.local.delete(path).status_code == 202
    assert claims.heartbeat(api.database, lease, ttl=MINUTE) is True


def test_only_a_failed_request_can_be_retried(api: Api) -> None:
    path = submit(api, "ant")
    assert api.local.post(f"{path}/retry").status_code == 409
    end(api, claim(api), JobState.FAILED)
    failed = api.local.get(path).json()
    assert (failed["state"], failed["problem"]["slug"]) == ("failed", "boom")
    retried = api.local.post(failed["links"]["retry"])
    assert (retried.status_code, retried.json()["state"], retried.json()["problem"]) == (202, "queued", None)
    assert retried.headers["location"] == path
    assert claim(api).fence > 1


def test_a_failed_request_whose_class_is_gone_meanwhile_cannot_be_retried(api: Api) -> None:
    path = submit(api, "ant")
    end(api, claim(api), JobState.FAILED)
    forget(api, 0)
    answer = api.local.post(f"{path}/retry")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:expunge:problem:already-deleted")


def test_a_failed_request_whose_class_another_one_took_over_cannot_be_retried(api: Api) -> None:
    path = submit(api, "ant")
    end(api, claim(api), JobState.FAILED)
    submit(api, "ant")
    answer = api.local.post(f"{path}/retry")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:expunge:problem:already-requested")


def test_a_failed_request_that_would_leave_no_class_any_more_cannot_be_retried(small_api: Api) -> None:
    path = submit(small_api, "ant", "bee")
    end(small_api, claim(small_api), JobState.FAILED)
    submit(small_api, "cat", "dog")
    answer = small_api.local.post(f"{path}/retry")
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:expunge:problem:no-class-retained")


def test_a_request_tried_again_begins_at_zero(small_api: Api) -> None:
    path = submit(small_api, "ant")
    lease = claim(small_api)
    claims.report_progress(small_api.database, lease, step="verify", percent=80)
    end(small_api, lease, JobState.FAILED)
    retried = small_api.local.post(f"{path}/retry").json()
    assert (retried["step"], retried["percent"]) == (None, 0)


def read_events(text: str) -> list[tuple[str, int, dict[str, object]]]:
    """(name, id, data) of every event."""
    blocks = [dict(line.split(": ", 1) for line in block.split("\n")) for block in text.strip().split("\n\n")]
    return [(one["event"], int(one["id"]), json.loads(one["data"])) for one in blocks if "event" in one]


def test_events_end_with_the_final_state(api: Api) -> None:
    path = submit(api, "ant")
    end(api, claim(api), JobState.REJECTED)
    answer = api.local.get(f"{path}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    ((name, revision, data),) = read_events(answer.text)
    assert (name, data["state"], data["percent"]) == ("final", "rejected", 100)
    known = api.local.get(f"{path}/events", headers={"Last-Event-ID": str(revision)})
    assert known.status_code == 204


def test_every_change_is_an_event(small_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    path = submit(small_api, "ant")
    lease = claim(small_api)
    percents = iter([10, 60])

    async def work(_seconds: float) -> None:
        # What happens between two looks: the worker gets on.
        percent = next(percents, None)
        if percent is None:
            end(small_api, lease, JobState.REJECTED)
        else:
            claims.report_progress(small_api.database, lease, step="unlearn", percent=percent)

    monkeypatch.setattr(anyio, "sleep", work)
    found = read_events(small_api.local.get(f"{path}/events").text)
    assert [(name, data["percent"]) for name, _, data in found] == [
        ("progress", 0),
        ("progress", 10),
        ("progress", 60),
        ("final", 100),
    ]
    assert [revision for _, revision, _ in found] == sorted({revision for _, revision, _ in found})


def test_streams_are_counted_and_given_back(small_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    path = submit(small_api, "ant")
    small_api.local.delete(path)
    monkeypatch.setattr(events, "_slots", threading.BoundedSemaphore(1))
    for _ in range(3):
        assert small_api.local.get(f"{path}/events").status_code == 200
    assert events._slots.acquire(blocking=False)
    busy = small_api.local.get(f"{path}/events")
    assert (busy.status_code, busy.json()["type"]) == (503, "urn:expunge:problem:too-many-streams")
    assert "retry-after" in busy.headers


def test_a_request_of_another_tenant_does_not_exist(api: Api) -> None:
    api.register("other")
    path = submit(api, "ant")
    stranger = api.with_key("requests:read", "requests:cancel", "requests:submit", "audit:read", tenant="other")
    request_id = UUID(path.rsplit("/", 1)[1])
    assert stranger.get("/unlearn").json()["items"] == []
    assert stranger.get(path).status_code == 404
    assert stranger.delete(path).status_code == 404
    assert stranger.post(f"{path}/retry").status_code == 404
    assert stranger.get(f"{path}/events").status_code == 404
    assert stranger.get(f"/unlearn?after={request_id}").status_code == 422
    assert stranger.get(f"/audit/report?request={request_id}").status_code == 404
    assert api.local.get(path).json()["state"] == "queued"
    mine = stranger.post("/unlearn", json=body("ant")).json()
    assert [item["id"] for item in stranger.get("/unlearn").json()["items"]] == [mine["id"]]
