"""How long an evidence bundle takes to make and to verify: `python benchmarks/evidence.py [--entries N]`.

A ledger of N entries in SQLite, and above them a deletion as the demonstration makes it: `expunge serve` with its
worker, a classifier of digits, one class of it, over HTTP. The bundle is asked of that service, and verified by a
fresh `python -I verify_evidence.py` as a third party would, against a checkpoint kept from before the request: start of
the interpreter included. Nothing here is a limit: the figures are printed, not judged.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started as a script, the repository is not on the path

from benchmarks.ledger import fill
from cli.demo.client import connected
from cli.demo.digits import LABELS, load_digits
from cli.demo.service import Service
from cli.demo.training import ARCHITECTURE, train
from core.db.migrate import upgrade
from core.db.session import Database
from core.evidence.script import verifier_script
from core.ledger.sealing import Sealer
from core.signing.keyring import KeyFile, Keyring, write
from core.signing.published import publish

SEED = 0
TIMES = 9


def main() -> None:
    parser = argparse.ArgumentParser(description="Figures of evidence bundles.")
    parser.add_argument("--entries", type=int, default=1_000_000, help="entries of the ledger below the request")
    arguments = parser.parse_args()
    print(json.dumps({"load_before": [round(load, 2) for load in os.getloadavg()], "cores": os.cpu_count()}))
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps({"evidence": measure(Path(folder), arguments.entries)}, indent=1))


def measure(folder: Path, entries: int) -> dict[str, Any]:
    ring, before = _signed_ledger(folder, entries)
    size = before.splitlines()[1]
    with Service(folder, port=0, keep=False) as service:
        url = service.wait_until_ready()
        request = _deleted(url)
        path = f"{url}/unlearn/{request}/evidence?since={size}"
        httpx.get(path, timeout=60).raise_for_status()  # attestations are signed now
        made = _milliseconds(lambda: httpx.get(path, timeout=60).raise_for_status())
        content = httpx.get(path, timeout=60).content
    bundle, script, kept = folder / "evidence.zip", folder / "verify_evidence.py", folder / "kept.txt"
    bundle.write_bytes(content)
    script.write_text(verifier_script())
    kept.write_text(before)
    command = [sys.executable, "-I", str(script), str(bundle), "--key", ring.publics("checkpoint")[0].vkey]
    command += ["--request", request, "--checkpoint", str(kept)]
    verify = _milliseconds(lambda: subprocess.run(command, check=True, capture_output=True))
    return {"entries": entries, "bundle_bytes": len(content), "make_ms": made, "verify_ms": verify}


def _signed_ledger(folder: Path, entries: int) -> tuple[Keyring, str]:
    """The entries, keys beside them, and the checkpoint of both: the service finds them when it starts."""
    database_url = f"sqlite:///{folder / 'expunge.db'}"
    upgrade(database_url)
    database, keys = Database(database_url), KeyFile(folder / "signing-keys.json")
    fill(database, entries)
    ring = Keyring.first("benchmark.example/audit", now=datetime.now(UTC))
    with database.writing() as session:
        publish(session, ring, actor="benchmark")
    write(keys.path, ring, replacing=False)
    note = Sealer(database, keys, interval=timedelta(0)).current().note
    database.dispose()
    return ring, note


def _deleted(url: str) -> str:
    """The id of a published deletion of one digit."""
    digits = load_digits(SEED)
    trained = train(digits, SEED, lambda _epoch, _loss: None)
    with connected(url) as client:
        client.register_dataset("digits", digits.as_npz())
        client.register_model("digits", ARCHITECTURE, trained.weights)
        location = client.submit("digits", LABELS[3], SEED).headers["Location"]
        found = client.follow(location, lambda _state: None)
    if found["state"] != "published":
        msg = f"Expected a published deletion, got one that is {found['state']}."
        raise RuntimeError(msg)
    return str(found["id"])


def _milliseconds(work: Callable[[], object]) -> dict[str, float]:
    taken = []
    for _ in range(TIMES):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1000)
    return {"median": round(statistics.median(taken), 1), "most": round(max(taken), 1)}


if __name__ == "__main__":
    main()
