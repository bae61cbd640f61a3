"""Data sets from draft to sealed."""

import hashlib
import io
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select, update

from core.requests.tables import Job
from core.states import DatasetState, JobKind, JobState
from models_store.tables import Dataset
from tests.integration.app.api import Api

CONTENT = "/datasets/digits/content"
SEAL = "/datasets/digits/seal"


def zipped(text: str = "pixels") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("train/zero/1.png"), text)  # without the hour, for the digest
    return file.getvalue()


def tarred(mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        archive.addfile(tarfile.TarInfo("train/zero/1.png"))
    return file.getvalue()


@pytest.fixture
def draft(api: Api) -> Api:
    """The application with the draft `digits`."""
    assert api.call("POST", "/datasets", body={"name": "digits"}).status == 201
    return api


def jobs(api: Api) -> list[Job]:
    with api.database.reading() as session:
        return list(session.execute(select(Job)).scalars())


def test_draft_is_shown_as_it_was_registered(api: Api) -> None:
    made = api.call("POST", "/datasets", body={"name": "digits", "labels": ["zero", "one"]})
    assert (made.status, made.headers["location"]) == (201, "/datasets/digits")
    shown = api.call("GET", "/datasets/digits").json()
    assert shown == made.json()
    assert (shown["state"], shown["labels"], shown["sources"]) == ("draft", ["zero", "one"], [])
    assert shown["links"] == {"self": "/datasets/digits", "content": CONTENT, "seal": SEAL}
    assert jobs(api) == []
    assert api.ledger_types() == ["dataset.registered"]


def test_ledger_holds_no_label(api: Api) -> None:
    api.call("POST", "/datasets", body={"name": "staff", "labels": ["Ada Lovelace", "somebody else"]})
    assert api.ledger()[0]["data"] == {"dataset": "staff", "sources": []}


def test_splits_are_uploaded_and_sealed_and_wait_for_their_validation(draft: Api) -> None:
    files = {"train": zipped("a"), "test": tarred("w"), "validation": tarred("w:gz")}
    for split, content in files.items():
        answer = draft.call("PUT", f"{CONTENT}?split={split}", content=content)
        assert (answer.status, answer.json()["state"]) == (202, "draft")
    sealed = draft.call("POST", SEAL)
    assert (sealed.status, sealed.json()["state"]) == (202, "validating")
    assert {source["split"]: source["sha256"] for source in sealed.json()["sources"]} == {
        split: hashlib.sha256(content).hexdigest() for split, content in files.items()
    }
    (job,) = jobs(draft)
    with draft.database.reading() as session:
        (dataset,) = session.execute(select(Dataset)).scalars()
    assert (job.kind, job.state, job.subject_id, job.spec) == (
        JobKind.VALIDATE_DATASET,
        JobState.QUEUED,
        dataset.id,
        {"dataset": "digits"},
    )
    assert draft.ledger_types() == ["dataset.registered", "request.accepted", "dataset.sealed"]
    assert draft.ledger()[-1]["data"]["sources"][0] == {
        "split": "train",
        "sha256": hashlib.sha256(files["train"]).hexdigest(),
    }


def test_whole_file_seals_the_set(draft: Api) -> None:
    answer = draft.call("PUT", CONTENT, content=zipped())
    assert (answer.status, answer.json()["state"]) == (202, "validating")
    assert [source["split"] for source in answer.json()["sources"]] == ["all"]
    assert len(jobs(draft)) == 1


def test_split_of_a_draft_is_replaced(draft: Api) -> None:
    draft.call("PUT", f"{CONTENT}?split=train", content=zipped("a"))
    answer = draft.call("PUT", f"{CONTENT}?split=train", content=zipped("b"))
    (source,) = answer.json()["sources"]
    assert source["sha256"] == hashlib.sha256(zipped("b")).hexdigest()


def test_sealed_set_takes_nothing_more(draft: Api) -> None:
    before = draft.call("PUT", CONTENT, content=zipped()).json()
    for answer in (
        draft.call("PUT", CONTENT, content=zipped("other")),
        draft.call("PUT", f"{CONTENT}?split=test", content=zipped("other")),
        draft.call("POST", SEAL),
    ):
        assert (answer.status, answer.slug, answer.json()["state"]) == (409, "dataset-sealed", "validating")
    assert draft.call("GET", "/datasets/digits").json() == before
    assert len(jobs(draft)) == 1


def test_refusal_to_a_sealed_set_comes_before_the_body_is_read(draft: Api) -> None:
    draft.call("PUT", CONTENT, content=zipped())
    assert draft.call("PUT", CONTENT, content=zipped("other")).num_read == 0
    assert len(draft.stored()) == 1


@pytest.mark.parametrize("state", [DatasetState.READY, DatasetState.REFUSED])
def test_set_that_was_read_takes_nothing_more(draft: Api, state: DatasetState) -> None:
    with draft.database.writing() as session:
        session.execute(update(Dataset).values(state=state))
    assert draft.call("PUT", CONTENT, content=zipped()).status == 409


@pytest.mark.parametrize(
    ("splits", "missing"), [([], ["test", "train"]), (["train"], ["test"]), (["test", "validation"], ["train"])]
)
def test_set_without_train_or_test_is_not_sealed(draft: Api, splits: list[str], missing: list[str]) -> None:
    for split in splits:
        draft.call("PUT", f"{CONTENT}?split={split}", content=zipped())
    answer = draft.call("POST", SEAL)
    assert (answer.status, answer.slug, answer.json()["missing"]) == (422, "missing-split", missing)
    assert draft.call("GET", "/datasets/digits").json()["state"] == "draft"
    assert jobs(draft) == []


def test_whole_file_and_splits_do_not_mix(draft: Api) -> None:
    draft.call("PUT", f"{CONTENT}?split=train", content=zipped())
    answer = draft.call("PUT", CONTENT, content=zipped())
    assert (answer.status, answer.slug) == (409, "mixed-sources")


def test_set_is_sealed_once_however_many_ask_at_once(draft: Api) -> None:
    for split in ("train", "test"):
        draft.call("PUT", f"{CONTENT}?split={split}", content=zipped(split))
    with ThreadPoolExecutor(max_workers=8) as pool:
        statuses = list(pool.map(lambda _: draft.call("POST", SEAL).status, range(8)))
    assert sorted(statuses) == [202] + [409] * 7
    assert len(jobs(draft)) == 1


def test_body_that_is_no_archive_is_refused_at_once(draft: Api) -> None:
    for content in (b"", b"plain text", b"\x89PNG\r\n\x1a\n", b"\x80\x04pickle", b"PK\x07\x08"):
        answer = draft.call("PUT", CONTENT, content=content)
        assert (answer.status, answer.slug) == (422, "malformed-dataset")
    assert draft.stored() == []
    assert draft.call("GET", "/datasets/digits").json()["sources"] == []


def test_wrong_digest_cut_and_oversize_leave_nothing(draft: Api) -> None:
    content = zipped()
    wrong = draft.call("PUT", CONTENT, content=content, repr_digest=f"sha-256=:{'A' * 43}=:")
    assert (wrong.status, wrong.slug) == (400, "digest-mismatch")
    cut = draft.call("PUT", CONTENT, content=[content[:20]], cut=True, content_length=str(len(content)))
    assert (cut.status, cut.slug) == (400, "incomplete-upload")
    announced = draft.call("PUT", CONTENT, content=content + b"." * 20_000)
    assert (announced.status, announced.num_read) == (413, 0)
    crossing = draft.call("PUT", CONTENT, content=[content] + [b"." * 1_000] * 1_000)
    assert crossing.status == 413
    assert crossing.num_read <= 22
    assert draft.stored() == []
    assert draft.call("GET", "/datasets/digits").json()["state"] == "draft"


def test_bad_split_and_unknown_set_are_refused_unread(draft: Api) -> None:
    bad = draft.call("PUT", f"{CONTENT}?split=all", content=zipped())
    assert (bad.status, bad.json()["errors"][0]["parameter"]) == (422, "split")
    unknown = draft.call("PUT", "/datasets/nobody/content", content=zipped())
    assert (unknown.status, unknown.slug, unknown.num_read) == (404, "unknown-dataset", 0)
    assert draft.call("POST", "/datasets/nobody/seal").status == 404
    assert draft.call("GET", "/datasets/nobody").status == 404


def test_second_set_of_a_name_is_refused(draft: Api) -> None:
    again = draft.call("POST", "/datasets", body={"name": "digits"})
    assert (again.status, again.slug) == (409, "name-taken")


def test_bad_registration_is_refused_where_it_is_bad(api: Api) -> None:
    bad: list[tuple[dict[str, Any], str]] = [
        ({"name": "Digits"}, "#/name"),
        ({"name": "../x"}, "#/name"),
        ({"labels": ["a", "a"]}, "#/labels"),
        ({"labels": ["a"]}, "#/labels"),
        ({"paths": {"dev": "a.zip"}}, "#/paths/dev"),
        ({"paths": {"all": ""}}, "#/paths/all"),
        ({"paths": {"all": 1}}, "#/paths/all"),
        ({"url": "file:///etc/passwd"}, "#/url"),
    ]
    for changes, pointer in bad:
        answer = api.call("POST", "/datasets", body={"name": "digits"} | changes)
        assert answer.status == 422, changes
        assert pointer in answer.pointers, changes
    assert api.ledger() == []


def test_pages_hold_every_set_once_in_order(api: Api) -> None:
    names = [f"set-{number}" for number in range(5)]
    for name in names:
        api.call("POST", "/datasets", body={"name": name})
    first = api.call("GET", "/datasets?limit=3").json()
    second = api.call("GET", first["next"]).json()
    assert [item["name"] for item in first["items"] + second["items"]] == names
    assert second["next"] is None


def test_counts_are_those_a_worker_found(draft: Api) -> None:
    counts = {"train": {"zero": 3, "one": 2}, "test": {"zero": 1, "one": 1}}
    with draft.database.writing() as session:
        summary = {"counts": counts, "num_images": 7}
        session.execute(update(Dataset).values(state=DatasetState.READY, labels=["zero", "one"], summary=summary))
    shown = draft.call("GET", "/datasets/digits").json()
    assert (shown["counts"], shown["num_images"], shown["labels"]) == (counts, 7, ["zero", "one"])
