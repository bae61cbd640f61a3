"""Weights on their way in: what is kept, what is refused, and that a refusal leaves nothing behind."""

import base64
import hashlib
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update

from core.requests.tables import Job
from core.states import JobKind, JobState
from models_store.tables import ModelVersion
from tests.integration.app.api import Api, registration, safetensors

WEIGHTS = "/models/digits/weights"


@pytest.fixture
def model(api: Api) -> Api:
    """The application with the model `digits` and no weights."""
    assert api.call("POST", "/models", body=registration()).status == 201
    return api


def field(algorithm: str, content: bytes) -> str:
    digest = hashlib.new(algorithm.replace("-", ""), content).digest()
    return f"{algorithm}=:{base64.b64encode(digest).decode()}:"


def assert_nothing_was_kept(api: Api) -> None:
    assert api.stored() == []
    assert api.call("GET", "/models/digits/versions").json()["items"] == []
    assert api.ledger_types() == ["model.registered"]


def test_uploaded_weights_are_a_version_that_waits_for_its_validation(model: Api, weights: bytes) -> None:
    answer = model.call("PUT", WEIGHTS, content=weights, repr_digest=field("sha-256", weights))
    assert (answer.status, answer.headers["location"]) == (202, "/models/digits/versions/1")
    shown = model.call("GET", "/models/digits/versions/1").json()
    assert shown == answer.json()
    assert (shown["state"], shown["sha256"], shown["size_bytes"]) == (
        "validating",
        hashlib.sha256(weights).hexdigest(),
        len(weights),
    )
    assert (shown["parent"], shown["request"], shown["verdict"], shown["problem"]) == (None, None, None, None)
    assert [path.read_bytes() for path in model.stored()] == [weights]
    with model.database.reading() as session:
        (job,) = session.execute(select(Job)).scalars()
        (version,) = session.execute(select(ModelVersion)).scalars()
    assert (job.kind, job.state, job.subject_id, job.model_id, job.spec) == (
        JobKind.VALIDATE_VERSION,
        JobState.QUEUED,
        version.id,
        None,
        {"model": "digits", "version": 1},
    )
    assert model.ledger_types() == ["model.registered", "version.added", "request.accepted"]


def test_same_bytes_again_are_the_existing_version(model: Api, weights: bytes) -> None:
    first = model.call("PUT", WEIGHTS, content=weights)
    again = model.call("PUT", WEIGHTS, content=weights)
    assert (again.status, again.json()) == (200, first.json())
    other = model.call("PUT", WEIGHTS, content=safetensors(1.0))
    assert (other.status, other.json()["version"]) == (202, 2)
    assert model.ledger_types().count("version.added") == 2


def test_same_bytes_at_once_are_one_version(model: Api, weights: bytes) -> None:
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = list(pool.map(lambda _: model.call("PUT", WEIGHTS, content=weights), range(8)))
    assert sorted(answer.status for answer in answers) == [200] * 7 + [202]
    assert {answer.json()["version"] for answer in answers} == {1}


def test_same_bytes_are_validated_anew_when_the_validation_broke(model: Api, weights: bytes) -> None:
    model.call("PUT", WEIGHTS, content=weights)
    with model.database.writing() as session:
        session.execute(update(Job).values(state=JobState.FAILED))
    again = model.call("PUT", WEIGHTS, content=weights)
    assert (again.status, again.json()["version"]) == (202, 1)
    with model.database.reading() as session:
        assert len(session.execute(select(Job.id).where(Job.state == JobState.QUEUED)).all()) == 1


def test_unknown_model_is_told_before_the_body_is_read(api: Api, weights: bytes) -> None:
    answer = api.call("PUT", "/models/nobody/weights", content=weights)
    assert (answer.status, answer.num_read) == (404, 0)
    assert api.stored() == []


def test_sha512_beside_an_unknown_algorithm_is_enough(model: Api, weights: bytes) -> None:
    digests = f"unixsum=1, {field('sha-512', weights)}"
    assert model.call("PUT", WEIGHTS, content=weights, repr_digest=digests).status == 202


@pytest.mark.parametrize("algorithm", ["sha-256", "sha-512"])
def test_wrong_digest_is_refused_and_nothing_is_kept(model: Api, weights: bytes, algorithm: str) -> None:
    answer = model.call("PUT", WEIGHTS, content=weights, repr_digest=field(algorithm, weights + b"."))
    assert (answer.status, answer.slug) == (400, "digest-mismatch")
    assert_nothing_was_kept(model)


def test_one_wrong_digest_beside_a_right_one_is_refused(model: Api, weights: bytes) -> None:
    digests = f"{field('sha-256', weights)}, {field('sha-512', b'')}"
    assert model.call("PUT", WEIGHTS, content=weights, repr_digest=digests).status == 400
    assert_nothing_was_kept(model)


def test_digest_that_cannot_be_checked_is_refused_before_the_body_is_read(model: Api, weights: bytes) -> None:
    for digest in ("sha-256=abc", "sha-256=:AAAA:", "???", "", "md5=:AAAA:", "sha-256"):
        answer = model.call("PUT", WEIGHTS, content=weights, repr_digest=digest)
        assert (answer.status, answer.slug, answer.num_read) == (400, "digest-mismatch", 0)
    assert_nothing_was_kept(model)


def test_body_that_is_no_safetensors_file_is_refused_at_once(model: Api) -> None:
    bad = {
        "empty": b"",
        "text": b"not a model",
        "truncated": safetensors(1.0, 2.0)[:-1],
        "trailing": safetensors(1.0, 2.0) + b"\x00",
        "oversize header": struct.pack("<Q", 2**40) + b"{}",
        "duplicate key": struct.pack("<Q", 60) + b'{"w":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"w":1}',
        "pickle": b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00.",
    }
    for what, content in bad.items():
        answer = model.call("PUT", WEIGHTS, content=content)
        assert (answer.status, answer.slug) == (422, "malformed-weights"), what
    assert_nothing_was_kept(model)


def test_announced_body_over_the_limit_is_refused_unread(model: Api) -> None:
    answer = model.call("PUT", WEIGHTS, content=b"." * 100_001)
    assert (answer.status, answer.slug, answer.num_read) == (413, "content-too-large", 0)
    assert_nothing_was_kept(model)


def test_unannounced_body_over_the_limit_is_refused_where_it_crosses_it(model: Api) -> None:
    answer = model.call("PUT", WEIGHTS, content=[b"." * 10_000] * 1_000)
    assert (answer.status, answer.slug) == (413, "content-too-large")
    assert answer.num_read == 11
    assert_nothing_was_kept(model)


def test_upload_cut_in_the_middle_leaves_nothing(model: Api, weights: bytes) -> None:
    answer = model.call("PUT", WEIGHTS, content=[weights[:4_000]], cut=True, content_length=str(len(weights)))
    assert (answer.status, answer.slug) == (400, "incomplete-upload")
    assert_nothing_was_kept(model)


def test_length_other_than_announced_is_refused(model: Api, weights: bytes) -> None:
    for length in ("10", "9000", "-1", "x", "1" * 30):
        answer = model.call("PUT", WEIGHTS, content=[weights], content_length=length)
        assert answer.status in {400, 413}
    assert_nothing_was_kept(model)


def test_failure_after_the_bytes_came_leaves_no_row_and_no_partial_file(
    model: Api, weights: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("disk on fire")

    monkeypatch.setattr("app.models.service.enqueue", broken)
    answer = model.call("PUT", WEIGHTS, content=weights)
    assert answer.status == 500
    assert b"fire" not in answer.body
    assert model.call("GET", "/models/digits/versions").json()["items"] == []
    assert [path for path in model.stored() if path.parent.name == "tmp"] == []
