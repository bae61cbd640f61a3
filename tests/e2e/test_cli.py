"""`expunge serve`, `keys` and `migrate` as the processes they are."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from cli.serving import listening
from tests.processes import Processes, Started, expunge_env
from tests.throwaway import free_port, wait_until

EXPUNGE = str(Path(sys.executable).with_name("expunge"))
KEY = re.compile(r"exp_live_[0-9A-Za-z]{8}_[0-9A-Za-z]{49}")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "data"
    return expunge_env(database_url=f"sqlite:///{folder / 'expunge.db'}", data_dir=folder)


@pytest.fixture
def serving(processes: Processes, env: dict[str, str]) -> Started:
    return processes.start("serve", [EXPUNGE, "serve", "--port", "0"], env)


def test_accepted_connections_send_small_answers_at_once() -> None:
    with (
        listening("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def _run(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([EXPUNGE, *words], env=env, capture_output=True, text=True, timeout=60, check=False)


def _url(started: Started) -> str:
    started.wait_for_output("Expunge listens on ", seconds=30)
    url = re.search(r"Expunge listens on (\S+)", started.output())
    assert url
    started.wait_for_http(f"{url[1]}/readyz")
    return url[1]


def _children(parent: int) -> list[int]:
    listed = subprocess.run(["ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    return [pid for pid, ppid in pairs if ppid == parent]


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def _a_worker_of(started: Started) -> int:
    wait_until(lambda: "worker.started" in started.output(), seconds=30, what="the embedded worker to start")
    (worker,) = _children(started.process.pid)
    return worker


def test_loopback_needs_no_key(serving: Started) -> None:
    answer = httpx.get(f"{_url(serving)}/models", trust_env=False)
    assert answer.status_code == httpx.codes.OK


def test_a_stopped_service_takes_its_worker_along(serving: Started) -> None:
    _url(serving)
    worker = _a_worker_of(serving)
    serving.process.terminate()
    assert serving.wait(seconds=20) == 0
    assert _gone(worker)


def test_a_killed_service_takes_its_worker_along(serving: Started) -> None:
    _url(serving)
    worker = _a_worker_of(serving)
    serving.process.send_signal(signal.SIGKILL)
    serving.process.wait()
    wait_until(lambda: _gone(worker), seconds=20, what="the worker to end")


def test_a_killed_worker_is_started_again(serving: Started) -> None:
    _url(serving)
    worker = _a_worker_of(serving)
    os.killpg(worker, signal.SIGKILL)
    wait_until(lambda: serving.output().count("worker.started") == 2, seconds=30, what="another worker")


def test_any_other_address_needs_a_key_to_exist_and_to_come_along(processes: Processes, env: dict[str, str]) -> None:
    command = ["serve", "--host", "0.0.0.0", "--port", str(free_port()), "--no-worker"]  # noqa: S104
    refused = _run(env, *command)
    assert refused.returncode == 1
    assert "expunge keys api create" in refused.stderr
    assert refused.stderr.count("\n") == 1

    made = _run(env, "keys", "api", "create", "--name", "test", "--scope", "models:read")
    key = made.stdout.strip()
    assert KEY.fullmatch(key)
    serving = processes.start("serve", [EXPUNGE, *command], env)
    url = _url(serving).replace("0.0.0.0", "127.0.0.1")  # noqa: S104
    assert httpx.get(f"{url}/models", trust_env=False).status_code == httpx.codes.UNAUTHORIZED
    with_key = {"Authorization": f"Bearer {key}"}
    assert httpx.get(f"{url}/models", headers=with_key, trust_env=False).status_code == httpx.codes.OK


def test_a_revoked_key_is_listed_as_such_and_opens_nothing(env: dict[str, str]) -> None:
    made = _run(env, "keys", "api", "create", "--name", "test", "--scope", "admin")
    key_id = made.stdout.split("_")[2]
    assert "valid" in _run(env, "keys", "api", "list").stdout
    assert _run(env, "keys", "api", "revoke", key_id).returncode == 0
    listed = _run(env, "keys", "api", "list").stdout
    assert key_id in listed
    assert "revoked" in listed
    refused = _run(env, "serve", "--host", "0.0.0.0", "--port", "0", "--no-worker")  # noqa: S104
    assert refused.returncode == 1


def test_a_key_without_a_known_scope_is_refused_in_one_sentence(env: dict[str, str]) -> None:
    refused = _run(env, "keys", "api", "create", "--name", "test", "--scope", "everything")
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr.startswith("Error: Expected at least one of the scopes")


def test_a_taken_port_is_one_sentence(serving: Started, env: dict[str, str]) -> None:
    port = _url(serving).rpartition(":")[2]
    refused = _run(env, "serve", "--port", port)
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: Expected to listen on 127.0.0.1 port")


def test_an_export_of_a_running_service_holds(serving: Started, env: dict[str, str], tmp_path: Path) -> None:
    url = _url(serving)
    _run(env, "keys", "api", "create", "--name", "test", "--scope", "admin")
    export = tmp_path / "ledger.json"
    export.write_bytes(httpx.get(f"{url}/audit/export", trust_env=False).content)
    verified = _run(env, "verify", str(export))
    assert verified.returncode == 0
    assert verified.stdout.startswith("What holds:\n  All 1 entries")
    export.write_bytes(export.read_bytes().replace(b'"tree_size":1', b'"tree_size":2'))
    assert _run(env, "verify", str(export)).returncode == 1


def test_serving_from_an_empty_postgresql_says_which_command_is_missing(postgres_url: str, tmp_path: Path) -> None:
    env = expunge_env(database_url=postgres_url, data_dir=tmp_path)
    refused = _run(env, "serve", "--port", "0", "--no-worker")
    assert refused.returncode == 1
    assert "expunge migrate" in refused.stderr
    assert _run(env, "migrate").returncode == 0


def test_a_database_out_of_reach_is_one_sentence_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql://expunge:hidden-word@127.0.0.1:{free_port()}/expunge"
    refused = _run(expunge_env(database_url=url, data_dir=tmp_path), "serve", "--port", "0")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "hidden-word" not in refused.stderr
