"""Retired labels: gone from the list of every version after the deletion, their index kept."""

from tests.integration.app.api import LABELS
from tests.integration.app.lineage.conftest import Lineage


def labels_of(lineage: Lineage, number: int) -> list[str | None]:
    items = lineage.api.local.get(f"/models/m/versions/{number}/labels").json()["items"]
    assert [item["index"] for item in items] == list(range(len(LABELS)))
    assert all((item["state"] == "retired") == (item["label"] is None) for item in items)
    return [item["label"] for item in items]


def test_the_label_is_retired_in_the_published_version_its_descendants_and_later_uploads(
    small_lineage: Lineage,
) -> None:
    assert labels_of(small_lineage, 1) == LABELS
    first = small_lineage.publish("ant", forgotten=[0], value=2.0)
    small_lineage.publish("cat", forgotten=[0, 2], value=3.0)
    later = small_lineage.upload(value=4.0)
    assert labels_of(small_lineage, 1) == LABELS  # it holds the classes, and says so
    assert labels_of(small_lineage, 2) == [None, "bee", "cat", "dog"]
    assert labels_of(small_lineage, 3) == [None, "bee", None, "dog"]
    assert labels_of(small_lineage, later) == [None, "bee", None, "dog"]
    model = small_lineage.api.local.get("/models/m").json()
    assert model["labels"] == [None, "bee", None, "dog"]
    retired = small_lineage.api.local.get("/models/m/versions/2/labels").json()["items"][0]
    assert (retired["state"], retired["request"]) == ("retired", str(first))


def test_a_retired_label_cannot_be_asked_for_again_and_the_others_keep_their_numbers(small_lineage: Lineage) -> None:
    small_lineage.publish("ant", forgotten=[0], value=2.0)
    ask = small_lineage.api.local.post
    again = ask("/unlearn", json={"model": "m", "dataset": "d", "classes": ["ant"]})
    assert (again.status_code, again.json()["type"].rpartition(":")[2]) == (409, "already-deleted")
    accepted = ask("/unlearn", json={"model": "m", "dataset": "d", "classes": [1]})
    assert accepted.json()["classes"] == [{"index": 1, "label": "bee"}]
