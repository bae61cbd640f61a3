"""The demonstration as a client of the API: nothing here knows more than any other program on the network."""

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import uuid4

import httpx

from cli.demo.digits import LABELS, MEAN, SIDE, STD
from cli.failures import Failure

Json = dict[str, Any]

POLL_SECONDS = 0.15
VALIDATION_SECONDS = 60.0
UNLEARN_SECONDS = 300.0
FINAL_STATES = frozenset({"published", "rejected", "failed", "cancelled", "denied"})


@dataclass(frozen=True)
class Artifact:
    """A downloaded version."""

    content: bytes
    sha256: str


class Client:
    """What the demonstration does over HTTP, step by step.

    Args:
        http: a client with the base URL set.
    """

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def free_name(self) -> str:
        """A name that neither a model nor a data set has: a kept folder may hold those of earlier runs."""
        for number in range(1, 1000):
            name = "digits" if number == 1 else f"digits-{number}"
            answers = [self._http.get(f"/{kind}/{name}").status_code for kind in ("models", "datasets")]
            if answers == [httpx.codes.NOT_FOUND] * 2:
                return name
        raise Failure("Expected fewer than 999 earlier demonstrations in this folder; choose another --data-dir.")

    def register_dataset(self, name: str, npz: bytes) -> Json:
        """Register and upload the data set, and wait until a worker has read it."""
        self._send("POST", "/datasets", json={"name": name, "labels": list(LABELS)})
        self._send("PUT", f"/datasets/{name}/content", content=npz)
        return self._until_validated(f"/datasets/{name}")

    def register_model(self, name: str, architecture: str, weights: bytes) -> Json:
        """Register the model, upload its weights with their digest, and wait until a worker has tried them."""
        registration = {
            "name": name,
            "architecture": architecture,
            "labels": list(LABELS),
            "input": {"height": SIDE, "width": SIDE, "channels": 1, "mean": [MEAN], "std": [STD], "resize": "none"},
        }
        self._send("POST", "/models", json=registration)
        headers = {"Repr-Digest": repr_digest(sha256(weights).digest())}
        answer = self._send("PUT", f"/models/{name}/weights", content=weights, headers=headers)
        return self._until_validated(answer.headers["Location"])

    def submit(self, name: str, label: str, seed: int) -> httpx.Response:
        """Ask for the deletion: 202, and the request's address in `Location`."""
        body = {
            "model": name,
            "dataset": name,
            "classes": [label],
            "seed": seed,
            "legal_ground": "art17_1_b",
            "external_reference": "demo",
        }
        return self._send("POST", "/unlearn", json=body, headers={"Idempotency-Key": f'"{uuid4()}"'})

    def follow(self, location: str, show: Callable[[Json], None]) -> Json:
        """Poll until the request is final, with its ETag, so that nothing is sent twice.

        Raises:
            Failure: it takes too long.
        """
        deadline, etag, state = time.monotonic() + UNLEARN_SECONDS, "", {}
        while time.monotonic() < deadline:
            answer = self._send("GET", location, headers={"If-None-Match": etag} if etag else {})
            if answer.status_code != httpx.codes.NOT_MODIFIED:
                state, etag = answer.json(), answer.headers["ETag"]
            show(state)
            if state["state"] in FINAL_STATES:
                return state
            time.sleep(POLL_SECONDS)
        msg = f"Expected the request to end within {UNLEARN_SECONDS:.0f} s, got state {state.get('state')!r}."
        raise Failure(msg)

    def download(self, path: str) -> Artifact:
        """The version's weights, checked against both digests that the service sent along.

        Raises:
            Failure: the bytes are not those that were announced.
        """
        answer = self._send("GET", path)
        digest = sha256(answer.content)
        announced = (answer.headers.get("Repr-Digest"), answer.headers.get("ETag"))
        wanted = (repr_digest(digest.digest()), f'"sha256-{digest.hexdigest()}"')
        if announced != wanted:
            msg = f"Expected the download to have the digests {announced} it was sent with, got {wanted}."
            raise Failure(msg)
        return Artifact(answer.content, digest.hexdigest())

    def report(self, path: str, *, html: bool = False) -> httpx.Response:
        """The audit report, for machines or for people."""
        return self._send("GET", path, headers={"Accept": "text/html" if html else "application/json"})

    def export(self) -> bytes:
        """The whole ledger as a file."""
        return self._send("GET", "/audit/export").content

    def _until_validated(self, location: str) -> Json:
        deadline = time.monotonic() + VALIDATION_SECONDS
        while time.monotonic() < deadline:
            found: Json = self._send("GET", location).json()
            if found["state"] == "ready":
                return found
            if found["state"] == "refused":
                msg = f"Expected {location} to be accepted, got refused: {_detail(found.get('problem'))}"
                raise Failure(msg)
            time.sleep(POLL_SECONDS)
        msg = f"Expected a worker to check {location} within {VALIDATION_SECONDS:.0f} s, got no answer."
        raise Failure(msg)

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **arguments)
        except httpx.HTTPError as error:
            msg = f"Expected an answer to {method} {path}, got none ({type(error).__name__})."
            raise Failure(msg) from error
        if answer.is_error:
            msg = f"Expected {method} {path} to succeed, got {answer.status_code}: {_problem_of(answer)}"
            raise Failure(msg)
        return answer


@contextmanager
def connected(url: str) -> Iterator[Client]:
    """A client of the service at this URL; proxies of the environment are not asked."""
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as http:
        yield Client(http)


def repr_digest(digest: bytes) -> str:
    """A SHA-256 as the `Repr-Digest` header spells it (RFC 9530 section 3)."""
    return f"sha-256=:{base64.b64encode(digest).decode()}:"


def _problem_of(answer: httpx.Response) -> str:
    try:
        return _detail(answer.json())
    except ValueError:
        return answer.text[:200]


def _detail(problem: Any) -> str:
    found = problem.get("detail") or problem.get("title") if isinstance(problem, dict) else None
    return str(found or "no reason was given.")
