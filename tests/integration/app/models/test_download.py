"""Weights on their way out: whole, in parts, and never other bytes than those that were stored."""

import base64
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.app.api import Api

ARTIFACT = "/models/digits/versions/1/artifact"


def blob(api: Api) -> Path:
    (path,) = api.stored()
    path.chmod(0o640)
    return path


def test_download_is_what_was_uploaded_and_says_so_twice(ready: Api, weights: bytes) -> None:
    answer = ready.call("GET", ARTIFACT)
    digest = hashlib.sha256(weights)
    assert (answer.status, answer.body) == (200, weights)
    assert answer.headers["content-length"] == str(len(weights))
    assert answer.headers["etag"] == f'"sha256-{digest.hexdigest()}"'
    assert answer.headers["repr-digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-disposition"] == 'attachment; filename="digits-v1.safetensors"'
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_head_has_the_headers_of_get_and_no_content(ready: Api) -> None:
    got, head = ready.call("GET", ARTIFACT), ready.call("HEAD", ARTIFACT, range="bytes=0-9")
    unique = {"x-request-id"}
    assert (head.status, head.body) == (200, b"")
    assert {n: v for n, v in head.headers.items() if n not in unique} == {
        n: v for n, v in got.headers.items() if n not in unique
    }


def test_download_resumed_in_ranges_is_the_whole(ready: Api, weights: bytes) -> None:
    tag, assembled, step = ready.call("HEAD", ARTIFACT).headers["etag"], b"", 1_500
    digests = set()
    while len(assembled) < len(weights):
        wanted = f"bytes={len(assembled)}-{len(assembled) + step - 1}"
        part = ready.call("GET", ARTIFACT, range=wanted, if_range=tag)
        last = min(len(assembled) + step, len(weights)) - 1
        assert part.status == 206
        assert part.headers["content-range"] == f"bytes {len(assembled)}-{last}/{len(weights)}"
        assert part.headers["content-length"] == str(len(part.body))
        digests.add(part.headers["repr-digest"])
        assembled += part.body
    assert assembled == weights
    digest = base64.b64encode(hashlib.sha256(assembled).digest()).decode()
    assert digests == {f"sha-256=:{digest}:"}


def test_range_outside_the_file_is_refused_with_its_size(ready: Api, weights: bytes) -> None:
    answer = ready.call("GET", ARTIFACT, range=f"bytes={len(weights)}-")
    assert answer.status == 416
    assert answer.headers["content-range"] == f"bytes */{len(weights)}"
    assert answer.headers["content-type"] == "application/problem+json"


def test_several_ranges_are_answered_with_the_whole(ready: Api, weights: bytes) -> None:
    answer = ready.call("GET", ARTIFACT, range="bytes=0-1,3-4")
    assert (answer.status, answer.body) == (200, weights)


def test_range_of_another_file_is_answered_with_the_whole(ready: Api, weights: bytes) -> None:
    tag = ready.call("HEAD", ARTIFACT).headers["etag"]
    for condition in ('"sha256-other"', f"W/{tag}", "Wed, 21 Oct 2015 07:28:00 GMT", "*"):
        answer = ready.call("GET", ARTIFACT, range="bytes=0-9", if_range=condition)
        assert (answer.status, answer.body) == (200, weights)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_caller_who_has_it_gets_word_only(ready: Api, method: str) -> None:
    tag = ready.call("HEAD", ARTIFACT).headers["etag"]
    for condition in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = ready.call(method, ARTIFACT, if_none_match=condition)
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)


def test_caller_who_has_another_gets_it(ready: Api, weights: bytes) -> None:
    assert ready.call("GET", ARTIFACT, if_none_match='"sha256-other"').body == weights


def test_version_that_is_not_ready_is_not_sent(ready: Api) -> None:
    content = ready.stored()[0].read_bytes()
    changed = content[:-1] + bytes([content[-1] ^ 1])
    assert ready.call("PUT", "/models/digits/weights", content=changed).status == 202
    answer = ready.call("GET", "/models/digits/versions/2/artifact")
    assert (answer.status, answer.slug, answer.json()["state"]) == (409, "version-not-ready", "validating")


def test_unknown_version_is_not_found(ready: Api) -> None:
    for path in ("/models/digits/versions/2/artifact", "/models/digits/versions/2"):
        answer = ready.call("GET", path)
        assert (answer.status, answer.slug) == (404, "unknown-version")


def test_number_that_no_version_can_have_is_refused(ready: Api) -> None:
    for number in ("0", "-1", "x", str(2**31)):
        assert ready.call("GET", f"/models/digits/versions/{number}").status == 422


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("was_served_before", [False, True])
def test_flipped_bit_on_disk_is_not_sent_and_stands_in_the_ledger(
    ready: Api, weights: bytes, method: str, was_served_before: bool
) -> None:
    if was_served_before:
        assert ready.call("GET", ARTIFACT).status == 200
    path = blob(ready)
    damaged = weights[:-1] + bytes([weights[-1] ^ 1])
    path.write_bytes(damaged)
    # A clock too coarse to tell the two writes apart would hide the change from the memory of checked files.
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    answers = [ready.call(method, ARTIFACT) for _ in range(3)]
    assert [answer.status for answer in answers] == [500, 500, 500]
    assert all(damaged[-8:] not in answer.body for answer in answers)
    if method == "GET":
        assert answers[0].slug == "stored-digest-mismatch"
    (leaf,) = [leaf for leaf in ready.ledger() if leaf["type"] == "artifact.damaged"]
    assert leaf["data"] == {
        "model": "digits",
        "version": 1,
        "sha256": hashlib.sha256(weights).hexdigest(),
        "found": hashlib.sha256(damaged).hexdigest(),
    }


def test_lost_file_is_damage_too(ready: Api) -> None:
    blob(ready).unlink()
    answer = ready.call("GET", ARTIFACT)
    assert (answer.status, answer.slug) == (500, "stored-digest-mismatch")
    assert ready.ledger_types()[-1] == "artifact.damaged"


def test_uploading_the_bytes_again_heals_the_damage(ready: Api, weights: bytes) -> None:
    blob(ready).write_bytes(b"." * len(weights))
    assert ready.call("GET", ARTIFACT).status == 500
    assert ready.call("PUT", "/models/digits/weights", content=weights).status == 200
    assert ready.call("GET", ARTIFACT).body == weights


def test_many_at_once_all_get_the_whole(ready: Api, weights: bytes) -> None:
    with ThreadPoolExecutor(max_workers=8) as pool:
        bodies = list(pool.map(lambda _: ready.call("GET", ARTIFACT).body, range(16)))
    assert bodies == [weights] * 16
