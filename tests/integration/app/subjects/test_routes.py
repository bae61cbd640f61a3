"""Every route that reads: before a data subject is erased they tell who it was, afterwards none of them does."""

import base64
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.integration.app.api import Api
from tests.integration.app.audit.test_checkpoints import make_keys
from tests.integration.app.publishing import publish
from tests.integration.app.subjects.test_erasure import LABEL, NOTE, REFERENCE, TICKET

ENCODED = re.compile(rb"[A-Za-z0-9+/]{24,}={0,2}")
RECIPE = {"optimiser": {"name": "adamw"}, "learning_rate": 0.01, "weight_decay": 0.0, "epochs": 1, "batch_size": 8}
OWN_LIST = {"/datasets/d"}
"""The data set has images under that name, so it goes on naming them; `?labels=true` and a purge are for that."""


@pytest.fixture
def api(sqlite_url: str, tmp_path: Path) -> Iterator[Api]:
    made = Api(sqlite_url, tmp_path, checkpoint_interval=timedelta(0))
    made.register(labels=[LABEL, "bee", "cat", "dog"])
    make_keys(made)
    yield made
    made.resources.close()


def paths(api: Api, *requests: str) -> Iterator[str]:
    """Every path that can be read, with what there is put in for its parameters."""
    every = {
        "{number}": ["1", "2", "3"],
        "{request_id}": list(requests),
        "{alias}": ["prod"],
        "{kind}": ["json", "html", "csv", "class-unlearning", "test-result", "svr"],
        "{reference}": [REFERENCE],
        "{index}": ["0"],
        "{size}": ["1"],
        "{recall}": ["1"],
    }
    for path, verbs in api.app.openapi()["paths"].items():
        if "get" not in verbs or "{replay_id}" in path or "{retraining_id}" in path:
            continue
        found = [path.replace("{name}", "d" if path.startswith("/datasets") else "m")]
        for parameter, values in every.items():
            found = [one.replace(parameter, value) for one in found for value in values if parameter in one] or found
        yield from found
    yield from (f"/audit/report.{kind}?model=m" for kind in ("json", "html", "csv"))
    yield f"/audit/report?subject={REFERENCE}"


def read(api: Api, path: str) -> bytes:
    """What the answer says, whatever its status; base64 in it is read too."""
    content: bytes = api.local.get(path).content
    encoded = (one[: len(one) // 4 * 4] for one in ENCODED.findall(content))
    return content + b"".join(base64.b64decode(one) for one in encoded)


def telling(answers: dict[str, bytes], needle: str) -> set[str]:
    return {path for path, answer in answers.items() if needle.encode() in answer}


def test_no_route_tells_what_was_erased(api: Api) -> None:
    one = publish(api, LABEL, subject_reference=REFERENCE, note=NOTE, external_reference=TICKET)
    other = publish(api, "bee", value=2.0)
    absent = {"absent_classes": [LABEL], "dataset": "d"}
    assert api.local.post("/models/m/references", json=absent).status_code == 201
    assert api.local.put("/models/m/recipe", json=RECIPE).status_code == 201
    assert api.local.post("/models/m/retrain", json=absent).status_code == 202
    requests = one.id, other.id
    before = {path: read(api, path) for path in paths(api, *requests)}
    expected = {"/models/m", "/models/m/versions/1/labels", "/models/m/references", "/models/m/retrain", "/unlearn"}
    assert telling(before, LABEL) >= expected | OWN_LIST | {
        f"/unlearn/{one.id}/evidence",
        f"/unlearn/{other.id}/report.json",
    }
    for needle in (REFERENCE, NOTE, TICKET):
        assert f"/unlearn/{one.id}/evidence" in telling(before, needle)

    assert api.local.delete(f"/subjects/{REFERENCE}").status_code == 200

    after = {path: read(api, path) for path in before}
    assert telling(after, LABEL) == OWN_LIST
    for needle in (NOTE, TICKET):
        assert telling(after, needle) == set()
    # The only echo is of the question, which whoever asks knows already.
    assert {path for path in telling(after, REFERENCE) if REFERENCE not in path} == set()
    model = api.local.get("/models/m").json()
    assert model["labels"] == [None, None, "cat", "dog"]
    assert [gone["label"] for gone in model["forgotten"]] == [None, "bee"]
    old = api.local.get("/models/m/versions/1/labels").json()["items"]
    assert [item["label"] for item in old] == [None, "bee", "cat", "dog"]
    assert (old[0]["state"], old[0]["request"]) == ("retired", one.id)
