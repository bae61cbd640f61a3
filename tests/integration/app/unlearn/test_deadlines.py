"""Until when the data subject must be answered, over HTTP and with the watch that looks on."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from dateutil.relativedelta import relativedelta
from sqlalchemy import update

from core.deadlines.tables import Deadline
from core.deadlines.watch import Alarm, watch
from core.ledger.entries import commitment
from core.requests import claims
from core.requests.tables import UnlearnRequest
from core.states import JobState
from tests.integration.app.api import Api, body

WEEK = timedelta(days=7)
WHY = "Awaiting a copy of the passport of Jane Roe."
MANY_LABELS = [f"label-{number}" for number in range(12)]
Move = Callable[..., Any]


def today() -> date:
    return datetime.now(UTC).date()


def ago(days: int) -> str:
    return (today() - timedelta(days=days)).isoformat()


def submit(api: Api, label: str | int = "ant", **members: Any) -> str:
    answer = api.local.post("/unlearn", json=body(label, **members))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def move(api: Api, request: str, what: str, **members: Any) -> Any:
    return api.local.post(f"/unlearn/{request}/deadline/{what}", json={"reason": WHY} | members)


def deadline(api: Api, request: str) -> dict[str, Any]:
    shown: dict[str, Any] = api.local.get(f"/unlearn/{request}").json()["deadline"]
    return shown


def slug(answer: Any) -> str:
    return f"{answer.status_code} {answer.json()['type'].removeprefix('urn:expunge:problem:')}"


def entries(api: Api, kind: str) -> list[dict[str, Any]]:
    return [leaf for leaf in api.ledger() if leaf["type"] == kind]


def end(api: Api, state: JobState) -> None:
    lease = claims.claim(api.database, owner="w", ttl=WEEK)
    assert lease is not None
    with api.database.writing() as session:
        claims.finish(session, lease, state)


def set_columns(api: Api, request: str, **columns: Any) -> None:
    with api.database.writing() as session:
        session.execute(update(Deadline).where(Deadline.job_id == UUID(request)).values(**columns))


def test_an_answer_is_due_a_calendar_month_after_receipt(api: Api) -> None:
    now, earlier = submit(api), submit(api, "bee", received_on=ago(20))
    for request, received in ((now, today()), (earlier, today() - timedelta(days=20))):
        due = (received + relativedelta(months=1)).isoformat()
        shown = api.local.get(f"/unlearn/{request}").json()
        assert (shown["received_on"], shown["deadline"]["due_on"]) == (received.isoformat(), due)
        assert (shown["deadline"]["overdue"], shown["deadline"]["in_time"]) == (False, None)
        (accepted,) = [leaf for leaf in entries(api, "request.accepted") if leaf["request"] == request]
        assert accepted["data"]["due_on"] == due
        assert accepted["data"]["received_on"] == received.isoformat()


def test_a_date_of_receipt_that_must_be_a_slip_is_refused(api: Api) -> None:
    answer = api.local.post("/unlearn", json=body("ant", received_on=ago(367)))
    assert slug(answer) == "422 received-too-long-ago"
    assert answer.json()["errors"][0]["pointer"] == "#/received_on"
    assert submit(api, received_on=ago(366))


def test_an_extension_is_counted_from_receipt_and_written_down_without_its_words(api: Api) -> None:
    request = submit(api, received_on=ago(10))
    shown = move(api, request, "extend", months=2).json()["deadline"]
    due = (today() - timedelta(days=10) + relativedelta(months=3)).isoformat()
    assert (shown["due_on"], shown["further_months"]) == (due, 2)
    (step,) = shown["steps"]
    assert (step["kind"], step["reason"], step["actor"], step["due_on"]) == ("extended", WHY, "local:loopback", due)
    (entry,) = entries(api, "request.deadline_extended")
    with api.database.reading() as session:
        key = session.get_one(UnlearnRequest, UUID(request)).commitment_key or b""
    assert entry["data"]["reason"] == commitment(key, "reason", WHY)
    assert (entry["data"]["due_on"], entry["data"]["months"]) == (due, 2)
    assert WHY not in json.dumps(api.ledger())


def test_an_extension_comes_once_with_a_reason_in_time_and_by_two_months_at_most(api: Api) -> None:
    request, late = submit(api), submit(api, "bee", received_on=ago(40))
    assert slug(move(api, request, "extend", months=3)) == "422 validation-error"
    blank = move(api, request, "extend", reason="    ")
    assert blank.json()["errors"][0]["detail"].endswith("Expected a reason of 3 to 2,000 characters, got 0.")
    assert slug(api.local.post(f"/unlearn/{request}/deadline/extend", json={})) == "422 validation-error"
    assert slug(move(api, late, "extend")) == "409 deadline-extension-refused"
    assert move(api, request, "extend", months=1).status_code == 200
    assert slug(move(api, request, "extend", months=1)) == "409 deadline-extension-refused"
    api.local.delete(f"/unlearn/{request}")
    assert slug(move(api, request, "extend")) == "409 deadline-extension-refused"
    assert len(entries(api, "request.deadline_extended")) == 1


def test_on_its_last_day_it_may_be_extended_and_a_day_later_it_is_overdue(api: Api) -> None:
    request = submit(api)
    set_columns(api, request, due_on=today() - timedelta(days=1))
    assert deadline(api, request)["overdue"]
    assert slug(move(api, request, "extend")) == "409 deadline-extension-refused"
    set_columns(api, request, due_on=today())
    assert not deadline(api, request)["overdue"]
    assert move(api, request, "extend").status_code == 200


def test_a_pause_stops_the_clock_and_moves_the_day_by_its_length(api: Api) -> None:
    request = submit(api)
    due = date.fromisoformat(deadline(api, request)["due_on"])
    paused = move(api, request, "pause").json()["deadline"]
    assert (paused["paused_on"], paused["due_on"]) == (today().isoformat(), due.isoformat())
    assert slug(move(api, request, "pause")) == "409 deadline-pause-refused"
    set_columns(api, request, paused_on=today() - timedelta(days=5), due_on=today() - timedelta(days=1))
    assert not deadline(api, request)["overdue"]
    assert watch(api.database, warning=WEEK) == []
    shown = move(api, request, "resume", reason="The passport came.").json()["deadline"]
    assert (shown["due_on"], shown["days_paused"]) == ((due + timedelta(days=5)).isoformat(), 5)
    assert shown["paused_on"] is None
    assert slug(move(api, request, "resume")) == "409 deadline-not-paused"
    assert [step["kind"] for step in shown["steps"]] == ["paused", "resumed"]
    extended = move(api, request, "extend", months=1).json()["deadline"]
    assert extended["due_on"] == (today() + relativedelta(months=2) + timedelta(days=5)).isoformat()
    late = submit(api, "bee", received_on=ago(40))
    assert slug(move(api, late, "pause")) == "409 deadline-pause-refused"


def test_what_is_owed_and_late_can_be_listed_and_all_sorted_by_the_day(api: Api) -> None:
    days = {"ant": 40, "bee": 50, "cat": 3}
    requests = {label: submit(api, label, received_on=ago(days[label])) for label in days}
    late = api.local.get("/unlearn?overdue=true").json()["items"]
    assert [item["id"] for item in late] == [requests["bee"], requests["ant"]]
    assert all(item["overdue"] for item in late)
    assert [item["id"] for item in api.local.get("/unlearn?overdue=false").json()["items"]] == [requests["cat"]]
    seen, path = [], "/unlearn?sort=due&limit=1"
    while path:
        page = api.local.get(path).json()
        seen += [item["id"] for item in page["items"]]
        path = page["next"]
    assert seen == [requests[label] for label in ("bee", "ant", "cat")]
    assert api.local.get("/unlearn?overdue=true&sort=due&limit=1").json()["next"].count("overdue=true") == 1
    api.local.delete(f"/unlearn/{requests['bee']}")
    assert [item["id"] for item in api.local.get("/unlearn?overdue=true").json()["items"]] == [requests["ant"]]


def test_eight_watches_at_once_say_once_what_is_overdue(database_url: str, tmp_path: Path) -> None:
    api = Api(database_url, tmp_path)
    api.register(labels=MANY_LABELS)
    late = {submit(api, label, received_on=ago(40)) for label in MANY_LABELS[:6]}
    submit(api, MANY_LABELS[7])
    with ThreadPoolExecutor(8) as pool:
        said = [one for found in pool.map(lambda _: watch(api.database, warning=WEEK), range(16)) for one in found]
    said += watch(api.database, warning=WEEK)  # whatever a watch left because another held its row
    assert sorted(said) == sorted((UUID(request), Alarm.OVERDUE) for request in late)
    assert {leaf["request"] for leaf in entries(api, "request.overdue")} == late
    assert len(entries(api, "request.overdue")) == len(late)
    for request in late:
        assert [step["kind"] for step in deadline(api, request)["steps"]] == ["overdue"]
    api.resources.close()


def test_a_deadline_that_comes_near_is_said_once_and_again_when_it_was_moved(api: Api) -> None:
    request = submit(api, received_on=ago(26))
    assert watch(api.database, warning=timedelta(0)) == []
    before = api.local.get(f"/unlearn/{request}").headers["etag"]
    for _ in range(2):
        watch(api.database, warning=WEEK)
    assert api.local.get(f"/unlearn/{request}").headers["etag"] != before
    assert [leaf["request"] for leaf in entries(api, "request.deadline_approaching")] == [request]
    move(api, request, "extend")
    assert watch(api.database, warning=timedelta(days=70)) == [(UUID(request), Alarm.APPROACHING)]


def test_publication_closes_the_deadline_and_a_failure_does_not(api: Api) -> None:
    published, rejected, late = submit(api), submit(api, "bee"), submit(api, "cat", received_on=ago(40))
    for state in (JobState.PUBLISHED, JobState.REJECTED, JobState.FAILED):
        end(api, state)
    shown = deadline(api, published)
    assert (shown["closed_on"], shown["closed_by"], shown["in_time"]) == (today().isoformat(), "published", True)
    assert deadline(api, rejected)["closed_on"] is None
    assert watch(api.database, warning=timedelta(0)) == [(UUID(late), Alarm.OVERDUE)]
    assert slug(move(api, published, "answer")) == "409 deadline-closed"
    answered = move(api, late, "answer").json()["deadline"]
    assert (answered["closed_by"], answered["in_time"]) == ("answered", False)
    assert api.local.get("/unlearn?overdue=true").json()["items"] == []


def test_while_it_is_worked_on_no_other_answer_is_written_down(api: Api) -> None:
    request = submit(api)
    assert slug(move(api, request, "answer")) == "409 request-not-final"


def test_a_subject_who_is_owed_an_answer_is_not_erased_and_the_reasons_go_with_the_key(api: Api) -> None:
    request = submit(api, subject_reference="jane")
    move(api, request, "pause")
    end(api, JobState.FAILED)
    refused = api.local.delete("/subjects/jane")
    assert slug(refused) == "409 subject-has-open-requests"
    assert "/deadline/answer" in refused.json()["detail"]
    assert WHY in json.dumps(deadline(api, request))
    move(api, request, "answer")
    assert api.local.delete("/subjects/jane").json()["requests"] == [request]
    assert WHY not in json.dumps(deadline(api, request))


@pytest.mark.parametrize("what", ["extend", "pause", "resume", "answer"])
def test_a_deadline_is_moved_by_its_tenant_with_the_scope_only(small_api: Api, what: str) -> None:
    request = submit(small_api)
    path = f"/unlearn/{request}/deadline/{what}"
    assert small_api.with_key("requests:submit").post(path, json={"reason": WHY}).status_code == 403
    foreign = small_api.with_key("deadlines:write", tenant="other").post(path, json={"reason": WHY})
    assert slug(foreign) == "404 unknown-request"
    assert deadline(small_api, request)["steps"] == []
