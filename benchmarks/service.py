"""The service's figures, measured where this runs: `python benchmarks/service.py [--out FILE] [--postgres-url URL]`.

1. `expunge demo`: wall time by part, seconds by step.
2. Seconds from a committed 202 to the first step of an idle worker: its next process warm, and none kept warm.
3. The API process: whether torch is in `sys.modules`, resident memory, seconds from start to the first answer.
4. `POST /unlearn`: p50 and p99 of the latency, worker off, one client and four at once, SQLite and PostgreSQL. Each
   request is withdrawn again, unmeasured, or the next one for the same class would be refused.

`--postgres-url` names a server's maintenance database; a database of our own is made there and dropped. Nothing here is
a limit: the figures are printed, not judged.
"""

import argparse
import json
import os
import platform
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
from sqlalchemy import create_engine, select, text
from sqlalchemy.engine import make_url

from cli.demo.client import Client, connected
from cli.demo.digits import LABELS, load_digits
from core.db.migrate import upgrade
from core.db.session import Database, normalise_url
from core.requests.tables import Job, JobStep

Json = dict[str, Any]

REQUESTS = 200
CLIENTS = 4
ROUNDS = 3
"""Repetitions of the start-up figures; the median is reported."""
WARM_SECONDS = 20.0
"""How long a worker may load its next process before the warm figure is taken."""

_EXPUNGE = (sys.executable, "-m", "cli.main")
_ADDRESS = re.compile(r"Expunge listens on (\S+)")


def main() -> None:
    arguments = _arguments()
    found: Json = {"machine": machine()}
    report(found, "machine")
    parts: dict[str, Callable[[], Json]] = {
        "api_process": api_process,
        "submit_sqlite": lambda: submit(None),
        "submit_postgresql": lambda: submit(arguments.postgres_url),
        "first_step": first_step,
        "demo": demo,
    }
    if not arguments.postgres_url:
        del parts["submit_postgresql"]
        print("\nsubmit_postgresql: not measured, no --postgres-url")
    for name, measure in parts.items():
        if arguments.only and name not in arguments.only:
            continue
        found[name] = measure()
        report(found, name)
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=2) + "\n")


def machine() -> Json:
    names = ("torch", "fastapi", "uvicorn", "sqlalchemy", "psycopg", "pydantic")
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": _cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: version(name) for name in names},
    }


def demo() -> Json:
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        done = subprocess.run(
            [*_EXPUNGE, "demo", "--figures", str(figures)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            return {"failed": done.stderr.strip()}
        content: Json = json.loads(figures.read_text())
        return {"wall_seconds": _rounded(content["seconds"]), "step_seconds": content["steps"]}


def first_step() -> Json:
    """From the moment the request's row was made to the moment its first step began, by the database's clock."""
    return {kept: _first_step(warm=kept == "warm") for kept in ("warm", "cold")}


def api_process() -> Json:
    starts, memory = [], []
    for _ in range(ROUNDS):
        with _folder() as folder:
            upgrade(_sqlite(folder))
            began = time.monotonic()
            with _serving(folder, "--no-worker", path="/livez") as (url, pid):
                starts.append(time.monotonic() - began)
                httpx.get(f"{url}/models", trust_env=False).raise_for_status()
                memory.append(_resident_mb(pid))
    code = "import sys, app.main; app.main.create_app(); print('torch' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    return {
        "torch_in_sys_modules": loaded == "True",
        "resident_mb": round(statistics.median(memory), 1),
        "cold_start_seconds": round(statistics.median(starts), 2),
    }


def submit(postgres_url: str | None) -> Json:
    with _folder() as folder, _database(postgres_url, folder) as url:
        environment = {"EXPUNGE_DATABASE_URL": url}
        with _serving(folder, environment=environment) as (address, _pid), connected(address) as client:
            _register(client)
        with _serving(folder, "--no-worker", environment=environment) as (address, _pid):
            _submit_often(address, LABELS[9], 10)  # the first few open connections and fill caches
            return {
                "sequential": _latency(address, clients=1),
                f"{CLIENTS}_clients": _latency(address, clients=CLIENTS),
            }


def report(found: Json, name: str) -> None:
    print(f"\n{name}")
    _print(found[name], "  ")
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    parser.add_argument("--postgres-url", help="a PostgreSQL server's maintenance database")
    parser.add_argument("--only", action="append", help="measure only this part; may be repeated")
    return parser.parse_args()


def _first_step(*, warm: bool) -> Json:
    seconds = []
    with _folder() as folder:
        environment = {"EXPUNGE_KEEP_RUNNER_WARM": str(warm).lower(), "EXPUNGE_TORCH_THREADS": "1"}
        with _serving(folder, environment=environment) as (address, _pid), connected(address) as client:
            _register(client)
            for digit in range(ROUNDS):
                time.sleep(WARM_SECONDS if warm else 1)
                answer = client.submit("digits", LABELS[digit], 0)
                client.follow(answer.headers["Location"], lambda _request: None)
                seconds.append(_waited(_sqlite(folder), UUID(answer.json()["id"])))
    return {"median_seconds": round(statistics.median(seconds), 2), "all": [round(value, 2) for value in seconds]}


def _waited(url: str, job_id: UUID) -> float:
    """From the request's row to the start of its first step, by the database's clock."""
    with Database(url, pooled=False).reading() as session:
        query = select(Job.created_at, JobStep.started_at).join(JobStep, JobStep.job_id == Job.id)
        created, began = session.execute(query.where(Job.id == job_id, JobStep.step == "load")).one()
    return float((began - created).total_seconds())


def _latency(address: str, *, clients: int) -> Json:
    """Each client asks for a class of its own, so that none is refused for another's sake."""
    began = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        jobs = [pool.submit(_submit_often, address, LABELS[number], REQUESTS // clients) for number in range(clients)]
        milliseconds = sorted(value for job in jobs for value in job.result())
    cuts = statistics.quantiles(milliseconds, n=100, method="inclusive")
    return {
        "requests": len(milliseconds),
        "p50_ms": round(cuts[49], 1),
        "p99_ms": round(cuts[98], 1),
        "wall_seconds": round(time.monotonic() - began, 1),
    }


def _submit_often(address: str, label: str, times: int) -> list[float]:
    body = {"model": "digits", "dataset": "digits", "classes": [label]}
    milliseconds = []
    with httpx.Client(base_url=address, timeout=30, trust_env=False) as http:
        for _ in range(times):
            began = time.perf_counter()
            answer = http.post("/unlearn", json=body, headers={"Idempotency-Key": f'"{uuid4()}"'})
            milliseconds.append((time.perf_counter() - began) * 1000)
            answer.raise_for_status()
            http.delete(answer.headers["Location"]).raise_for_status()
    return milliseconds


def _register(client: Client) -> None:
    """The digits, and a network with arbitrary weights: nothing here asks whether it has learned."""
    import torch

    from cli.demo.training import ARCHITECTURE
    from models_store.architectures import build, initialise
    from models_store.weights import save_state

    network = build(ARCHITECTURE, {}, num_classes=len(LABELS), channels=1)
    initialise(network, torch.Generator().manual_seed(0))
    client.register_dataset("digits", load_digits(0).as_npz())
    client.register_model("digits", ARCHITECTURE, save_state(network))


@contextmanager
def _serving(
    folder: Path, *options: str, environment: dict[str, str] | None = None, path: str = "/readyz"
) -> Iterator[tuple[str, int]]:
    """`expunge serve` on a free port: its address and process id, once `path` is answered."""
    variables = {"EXPUNGE_DATA_DIR": str(folder), **(environment or {})}
    # `env` replaces itself by the command, so the process id is the service's.
    command = [
        "env",
        *(f"{name}={value}" for name, value in variables.items()),
        *_EXPUNGE,
        "serve",
        "--port",
        "0",
        *options,
    ]
    log = folder / f"serve-{uuid4().hex}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield _wait_for(log, process, path), process.pid
    finally:
        process.terminate()
        process.wait()


def _wait_for(log: Path, process: subprocess.Popen[bytes], path: str) -> str:
    while process.poll() is None:
        match = _ADDRESS.search(log.read_text())
        if match:
            try:
                if httpx.get(match[1] + path, timeout=1, trust_env=False).is_success:
                    return match[1]
            except httpx.HTTPError:
                pass
        time.sleep(0.01)
    raise SystemExit(f"The service ended: {log.read_text()}")


@contextmanager
def _database(postgres_url: str | None, folder: Path) -> Iterator[str]:
    """A migrated database of our own, of either kind."""
    if postgres_url is None:
        upgrade(_sqlite(folder))
        yield _sqlite(folder)
        return
    name = f"expunge_bench_{uuid4().hex[:12]}"
    server = create_engine(normalise_url(postgres_url), isolation_level="AUTOCOMMIT")
    own = make_url(normalise_url(postgres_url)).set(database=name).render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        upgrade(own)
        yield own
    finally:
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        server.dispose()


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="expunge-bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _sqlite(folder: Path) -> str:
    return f"sqlite:///{folder / 'expunge.db'}"


def _resident_mb(pid: int) -> float:
    command = [shutil.which("ps") or "/bin/ps", "-o", "rss=", "-p", str(pid)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(shown) * 1024 / 1e6


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", information.read_text()) if information.exists() else None
    return found[1] if found else platform.processor()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _rounded(seconds: Json) -> Json:
    return {name: round(value, 2) for name, value in seconds.items()}


def _print(value: Any, indent: str) -> None:
    for name, inner in value.items():
        if isinstance(inner, dict):
            print(f"{indent}{name}")
            _print(inner, indent + "  ")
        else:
            print(f"{indent}{name:<24} {inner}")


if __name__ == "__main__":
    main()
