"""How long an audit takes: `python benchmarks/shadows.py [--pairs 16] [--workers 2] [--out FILE]`.

The real service in a folder of its own: one API process, workers as processes of their own with one thread each,
SQLite and no Redis. The digits model of `expunge demo` is trained, one class deleted, and the deletion audited with
so many pairs of shadow models, trained by the same recipe. Printed are the seconds from the audit's 202 to its end,
the processor seconds of API and workers from start to stop (which another program's load changes less), the seconds of
single shadows, and the measures. Nothing here is a limit: the figures are printed, not judged.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from cli.demo.client import Client, connected
from cli.demo.digits import LABELS, load_digits
from cli.demo.training import train
from core.db.session import Database
from core.requests.tables import Job
from core.states import JobKind, JobState
from models_store.shadows import MAX_PAIRS, MIN_PAIRS

Json = dict[str, Any]

RECIPE: Json = {
    "optimiser": {"name": "adamw"},
    "learning_rate": 5e-3,
    "weight_decay": 1e-2,
    "epochs": 30,
    "batch_size": 64,
    "schedule": {"name": "one-cycle"},
    "augmentation": {"crop_padding": 1},
    "label_smoothing": 0.1,
}
CLASS = LABELS[3]
WITHIN_SECONDS = 3600.0
POLL_SECONDS = 0.5
_EXPUNGE = (sys.executable, "-m", "cli.main")
_ADDRESS = re.compile(r"Expunge listens on (\S+)")


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="expunge-bench-", ignore_cleanup_errors=True) as name:
        found = measure(Path(name), pairs=arguments.pairs, workers=arguments.workers)
    print(json.dumps(found, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=2) + "\n")


def measure(folder: Path, *, pairs: int, workers: int) -> Json:
    """Run the audit once, and say how it went."""
    with _service(folder, workers=workers) as address, connected(address) as client:
        _register(client)
        request = client.follow(client.submit("digits", CLASS, 0).headers["Location"], lambda _request: None)
        load_before = os.getloadavg()
        with httpx.Client(base_url=address, timeout=60, trust_env=False) as http:
            began = time.monotonic()
            audit = _audited(http, f"/unlearn/{request['id']}/audit", pairs)
            seconds = time.monotonic() - began
        shadows = _shadow_seconds(folder)
    spent = os.times()
    result = audit["result"]
    return {
        "pairs": pairs,
        "workers": workers,
        "cores": len(os.sched_getaffinity(0)),
        "load_average_before_and_after": [round(load_before[0], 2), round(os.getloadavg()[0], 2)],
        "request": request["state"],
        "audit": audit["state"],
        "audit_seconds": round(seconds, 1),
        "cpu_seconds_of_api_and_workers": round(spent.children_user + spent.children_system, 1),
        "shadow_seconds": {"median": statistics.median(shadows), "longest": max(shadows)},
        "gather_seconds": result["seconds"],
        "models": result["models"],
        "accuracies": result["accuracies"],
        "samples": result["samples"],
        "measures": {name: _short(one) for name, one in result["measures"].items()},
        "inconclusive": result["inconclusive"],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=16, choices=range(MIN_PAIRS, MAX_PAIRS + 1), metavar="N")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    return parser.parse_args()


def _register(client: Client) -> None:
    """The digits, and a network that has really learned them."""
    digits = load_digits(0)
    client.register_dataset("digits", digits.as_npz())
    client.register_model("digits", "expunge/small_convnet", train(digits, 0, lambda _epoch, _loss: None).weights)


def _audited(http: httpx.Client, path: str, pairs: int) -> Json:
    http.put("/models/digits/recipe", json=RECIPE).raise_for_status()
    http.post(path, json={"pairs": pairs}).raise_for_status()
    deadline, told = time.monotonic() + WITHIN_SECONDS, -1
    while time.monotonic() < deadline:
        audit: Json = http.get(path).raise_for_status().json()
        if JobState(audit["state"]).is_final:
            return audit
        if audit["percent"] // 10 != told:
            told = audit["percent"] // 10
            print(f"{audit['percent']:3d} % {audit['step']}", file=sys.stderr)
        time.sleep(POLL_SECONDS)
    raise SystemExit(f"Expected the audit to end within {WITHIN_SECONDS:.0f} s.")


def _shadow_seconds(folder: Path) -> list[float]:
    """From a shadow's claim to its end, the start of its process included, by the database's clock."""
    with Database(f"sqlite:///{folder / 'expunge.db'}", pooled=False).reading() as session:
        rows = session.execute(select(Job.started_at, Job.finished_at).where(Job.kind == JobKind.SHADOW))
        return [round((ended - began).total_seconds(), 2) for began, ended in rows if began and ended]


def _short(measure: Json) -> Json:
    return {name: round(measure[name], 4) for name in ("value", "low", "high") if measure[name] is not None}


@contextmanager
def _service(folder: Path, *, workers: int) -> Iterator[str]:
    with ExitStack() as stack:
        log = folder / "serve.log"
        serving = stack.enter_context(_process(log, folder, "serve", "--port", "0", "--no-worker"))
        address = _address(log, serving)
        for number in range(workers):
            stack.enter_context(_process(folder / f"worker-{number}.log", folder, "worker"))
        yield address


@contextmanager
def _process(log: Path, folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    # `env` replaces itself by the command, so the process is the service's.
    variables = [f"EXPUNGE_DATA_DIR={folder}", "EXPUNGE_TORCH_THREADS=1", "OMP_NUM_THREADS=1"]
    with log.open("wb") as output:
        command = ["env", *variables, *_EXPUNGE, *arguments]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    while process.poll() is None:
        match = _ADDRESS.search(log.read_text())
        if match:
            return match[1]
        time.sleep(0.05)
    raise SystemExit(f"The service ended: {log.read_text()}")


if __name__ == "__main__":
    main()
