"""The demonstration notices what an API can get wrong, and passes on what it says."""

import base64
import hashlib
from collections.abc import Callable

import httpx
import pytest

from cli.demo.client import Client, repr_digest
from cli.failures import Failure

CONTENT = b"weights"


def _client(answer: Callable[[httpx.Request], httpx.Response]) -> Client:
    return Client(httpx.Client(transport=httpx.MockTransport(answer), base_url="http://service"))


def _artifact(content: bytes, *, digest_of: bytes = CONTENT) -> httpx.Response:
    digest = hashlib.sha256(digest_of)
    headers = {"Repr-Digest": repr_digest(digest.digest()), "ETag": f'"sha256-{digest.hexdigest()}"'}
    return httpx.Response(200, content=content, headers=headers)


def test_a_whole_download_is_taken() -> None:
    artifact = _client(lambda _request: _artifact(CONTENT)).download("/artifact")
    assert artifact.content == CONTENT
    assert artifact.sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_a_download_with_other_bytes_is_refused() -> None:
    with pytest.raises(Failure, match="Expected the download to have the digests"):
        _client(lambda _request: _artifact(CONTENT[:-1])).download("/artifact")


def test_a_download_without_digests_is_refused() -> None:
    with pytest.raises(Failure, match="Expected the download to have the digests"):
        _client(lambda _request: httpx.Response(200, content=CONTENT)).download("/artifact")


def test_a_problem_is_passed_on_as_its_sentence() -> None:
    problem = httpx.Response(409, json={"title": "Conflict", "detail": "The class is gone already."})
    with pytest.raises(Failure, match="got 409: The class is gone already"):
        _client(lambda _request: problem).submit("digits", "3", 0)


def test_a_service_that_hangs_up_is_one_sentence() -> None:
    def hang_up(request: httpx.Request) -> httpx.Response:
        raise httpx.RemoteProtocolError("gone", request=request)

    with pytest.raises(Failure, match=r"Expected an answer to GET /audit/export, got none"):
        _client(hang_up).export()


def test_a_refused_upload_says_why() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"state": "refused", "problem": {"detail": "NaN in 1 tensor."}})
        return httpx.Response(202, headers={"Location": "/models/digits/versions/1"})

    with pytest.raises(Failure, match="NaN in 1 tensor"):
        _client(answer).register_model("digits", "expunge/small_convnet", CONTENT)


def test_weights_are_sent_with_their_digest() -> None:
    seen = {}

    def answer(request: httpx.Request) -> httpx.Response:
        seen[request.method] = request
        ready = {"state": "ready"} if request.method == "GET" else {}
        return httpx.Response(200, json=ready, headers={"Location": "/models/digits/versions/1"})

    _client(answer).register_model("digits", "expunge/small_convnet", CONTENT)
    sent = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    assert seen["PUT"].headers["Repr-Digest"] == f"sha-256=:{sent}:"


def test_names_of_earlier_runs_are_left_alone() -> None:
    taken = {"/models/digits", "/datasets/digits-2"}
    client = _client(lambda request: httpx.Response(200 if request.url.path in taken else 404))
    assert client.free_name() == "digits-3"


def test_an_unchanged_request_is_shown_from_the_last_answer() -> None:
    answers = iter([
        httpx.Response(200, json={"state": "running"}, headers={"ETag": '"1"'}),
        httpx.Response(304),
        httpx.Response(200, json={"state": "published"}, headers={"ETag": '"2"'}),
    ])
    sent, shown = [], []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers.get("If-None-Match"))
        return next(answers)

    final = _client(answer).follow("/unlearn/1", lambda request: shown.append(request["state"]))
    assert final["state"] == "published"
    assert sent == [None, '"1"', '"1"']
    assert shown == ["running", "running", "published"]
