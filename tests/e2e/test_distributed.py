"""The processes of docker-compose.yml without containers: the whole job, a worker shot in the middle, equal bytes."""

import contextlib
import hashlib
import json
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from cli.demo.digits import Digits, load_digits
from cli.demo.training import Trained, train
from core.ledger.export import check_export
from tests.e2e.client import Client
from tests.processes import Processes, Started, expunge_env
from tests.throwaway import free_port, wait_until

SEED = 7


@dataclass(frozen=True)
class Material:
    """The trained classifier and its data, as files to upload."""

    npz: bytes
    weights: bytes


@pytest.fixture(scope="module")
def material() -> Material:
    digits: Digits = load_digits(0)
    trained: Trained = train(digits, 0, lambda _epoch, _loss: None)
    return Material(digits.as_npz(), trained.weights)


@dataclass
class Cluster:
    """uvicorn, dispatcher and Celery workers against PostgreSQL and Redis."""

    processes: Processes
    env: dict[str, str]
    url: str
    client: Client

    def start_worker(self, name: str) -> Started:
        return self.processes.start_service("worker", self.env | {"EXPUNGE_WORKER_NAME": name})


@pytest.fixture
def cluster(processes: Processes, postgresql_url: str, clean_redis_url: str, tmp_path: Path) -> Iterator[Cluster]:
    port = str(free_port())
    env = expunge_env(
        database_url=postgresql_url,
        redis_url=clean_redis_url,
        data_dir=tmp_path / "data",
        EXPUNGE_HOST="127.0.0.1",
        EXPUNGE_PORT=port,
        EXPUNGE_LEASE_TTL="6",
        EXPUNGE_HEARTBEAT_INTERVAL="1",
        EXPUNGE_REAP_INTERVAL="1",
        EXPUNGE_RING_INTERVAL="0.5",
        EXPUNGE_RING_AGAIN_AFTER="2",
    )
    assert processes.start_service("migrate", env).wait(seconds=60) == 0
    key = new_key(processes, env)
    url = f"http://127.0.0.1:{port}"
    api = processes.start_service("api", env)
    processes.start_service("dispatcher", env)
    api.wait_for_http(f"{url}/readyz")
    with contextlib.closing(Client(url, key)) as client:
        yield Cluster(processes, env, url, client)


def new_key(processes: Processes, env: dict[str, str]) -> str:
    created = processes.start("keys", ["expunge", "keys", "api", "create", "--name", "e2e", "--scope", "admin"], env)
    assert created.wait(seconds=30) == 0, created.output()
    found = re.search(r"exp_\w+", created.output())
    assert found is not None, created.output()
    return found.group()


def download(client: Client, number: int) -> bytes:
    answer = client.http.get(f"/models/digits/versions/{number}/artifact").raise_for_status()
    assert answer.headers["etag"] == f'"sha256-{hashlib.sha256(answer.content).hexdigest()}"'
    return answer.content


def check_ledger(client: Client) -> list[dict[str, Any]]:
    document = client.get("/audit/export")
    findings = check_export(document)
    assert all(finding.holds for finding in findings), findings
    entries: list[dict[str, Any]] = document["entries"]
    return entries


def test_the_whole_job_runs_on_the_composed_processes(cluster: Cluster, material: Material) -> None:
    for name in ("gpu0", "gpu1"):
        cluster.start_worker(name)
    client = cluster.client
    client.register(material.npz, material.weights)

    original = download(client, 1)
    done = client.wait_final(client.submit("3", seed=SEED, subject_reference="subject-4711"))

    assert done["state"] == "published", json.dumps(done, indent=1)
    assert done["new_version"] == 2
    assert download(client, 2) != original
    assert client.http.get("/models/digits/versions/1/artifact").status_code == 410
    assert client.http.get("/livez").status_code == 200
    entries = check_ledger(client)
    assert len(entries) >= 8
    report = client.http.get("/audit/report", params={"request": done["id"]}, headers={"Accept": "text/html"})
    assert "subject-4711" in report.raise_for_status().text


def test_two_requests_queued_at_once_end_with_both_classes_gone(cluster: Cluster, material: Material) -> None:
    client = cluster.client
    cluster.start_worker("gpu0")
    client.register(material.npz, material.weights)
    requests = [client.submit("1", seed=SEED), client.submit("8", seed=SEED)]
    cluster.start_worker("gpu1")

    finals = [client.wait_final(request) for request in requests]

    assert [final["state"] for final in finals] == ["published", "published"], json.dumps(finals, indent=1)
    assert [version["forgotten"] for version in client.versions()][-1] == [1, 8]


def test_a_worker_shot_in_the_middle_loses_nothing_and_publishes_once(cluster: Cluster, material: Material) -> None:
    client = cluster.client
    doomed = cluster.start_worker("doomed")
    client.register(material.npz, material.weights)
    request = client.submit("5", seed=SEED)
    doomed.wait_for(
        lambda: client.state(request)["step"] in {"unlearn", "verify"}, seconds=60, what="the job to be in its middle"
    )

    doomed.signal_group(signal.SIGKILL)
    cluster.start_worker("heir")
    done = client.wait_final(request)

    assert done["state"] == "published", json.dumps(done, indent=1)
    assert done["attempt"] == 2
    assert [version["version"] for version in client.versions() if version["request"] == request] == [2]
    check_ledger(client)


def test_embedded_and_distributed_mode_give_the_same_bytes(
    cluster: Cluster, processes: Processes, sqlite_url: str, material: Material, tmp_path: Path
) -> None:
    cluster.start_worker("gpu0")
    port = str(free_port())
    env = expunge_env(database_url=sqlite_url, data_dir=tmp_path / "embedded")
    serve = processes.start("serve", ["expunge", "serve", "--port", port], env)
    serve.wait_for_http(f"http://127.0.0.1:{port}/readyz")
    results = []
    with contextlib.closing(Client(f"http://127.0.0.1:{port}")) as embedded:
        for client in (cluster.client, embedded):
            client.register(material.npz, material.weights)
            done = client.wait_final(client.submit("2", seed=SEED))
            assert done["state"] == "published", json.dumps(done, indent=1)
            results.append((done, download(client, 2)))

    assert {result["result"]["environment"]["threads"] for result, _bytes in results} == {1}
    assert results[0][1] == results[1][1]


def test_losing_redis_with_all_its_data_loses_no_request(cluster: Cluster, material: Material) -> None:
    """The doorbell is emptied while requests wait; the dispatcher rings again from the table."""
    client = cluster.client
    worker = cluster.start_worker("gpu0")
    client.register(material.npz, material.weights)
    worker.stop()
    request = client.submit("4", seed=SEED)
    with Redis.from_url(cluster.env["EXPUNGE_REDIS_URL"]) as redis:
        redis.flushdb()
    cluster.start_worker("gpu1")

    assert client.wait_final(request)["state"] == "published"


def test_submitting_needs_no_redis_at_all(cluster: Cluster) -> None:
    """The request path never speaks to Redis: an API process whose Redis is gone still answers and says `degraded`."""
    port = str(free_port())
    env = cluster.env | {"EXPUNGE_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0", "EXPUNGE_PORT": port}
    api = cluster.processes.start_service("api", env)
    wait_until(lambda: api.running, seconds=5, what="the second API process")
    api.wait_for_http(f"http://127.0.0.1:{port}/readyz")
