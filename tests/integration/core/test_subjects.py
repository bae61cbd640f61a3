"""The requests of one data subject."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.requests.subjects import requests_of_subject
from tests.integration.app.api import Api, body


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    made = Api(database_url, tmp_path)
    for tenant in ("default", "other"):
        made.register(tenant)
    yield made
    made.resources.close()


def found(api: Api, tenant: str, reference: str) -> list[str]:
    with api.database.reading() as session:
        return [str(request.job_id) for request in requests_of_subject(session, tenant, reference)]


def test_the_requests_of_a_subject_are_those_of_this_tenant_oldest_first(api: Api) -> None:
    mine = [
        api.local.post("/unlearn", json=body(label, subject_reference="crm/42")).json()["id"]
        for label in ("ant", "bee")
    ]
    api.local.post("/unlearn", json=body("cat", subject_reference="crm/421"))
    theirs = api.with_key("requests:submit", tenant="other").post(
        "/unlearn", json=body("ant", subject_reference="crm/42")
    )
    assert found(api, "default", "crm/42") == mine
    assert found(api, "other", "crm/42") == [theirs.json()["id"]]
    assert found(api, "default", "crm/4") == []
