"""How long an evidence bundle takes to make and to verify: `python benchmarks/evidence.py [--entries N]`.

A ledger of N entries in SQLite, and above them a published deletion with everything that belongs to it. The bundle is
made by the service's own code, and verified by a fresh `python -I verify_evidence.py` as a third party would, against a
checkpoint kept from before the request: start of the interpreter included. Nothing here is a limit: the figures are
printed, not judged.
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
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started as a script, the repository is not on the path

from benchmarks.ledger import fill
from core.db.migrate import upgrade
from core.evidence.script import verifier_script
from tests.integration.app.api import Api
from tests.integration.app.audit.test_checkpoints import make_keys
from tests.integration.app.publishing import publish

TIMES = 9


def main() -> None:
    parser = argparse.ArgumentParser(description="Figures of evidence bundles.")
    parser.add_argument("--entries", type=int, default=1_000_000, help="entries of the ledger below the request")
    arguments = parser.parse_args()
    print(json.dumps({"load_before": [round(load, 2) for load in os.getloadavg()], "cores": os.cpu_count()}))
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps({"evidence": measure(Path(folder), arguments.entries)}, indent=1))


def measure(folder: Path, entries: int) -> dict[str, Any]:
    url = f"sqlite:///{folder / 'expunge.db'}"
    upgrade(url)
    api = Api(url, folder, checkpoint_interval=timedelta(0))
    fill(api.database, entries)
    api.register()
    ring = make_keys(api)
    before = api.local.get("/audit/checkpoint").text
    one = publish(api)
    path = f"/unlearn/{one.id}/evidence"
    api.local.get(path)  # attestations are signed now
    bundle, script, kept = folder / "evidence.zip", folder / "verify_evidence.py", folder / "kept.txt"
    made = _milliseconds(lambda: api.local.get(path).raise_for_status())
    bundle.write_bytes(api.local.get(path).content)
    script.write_text(verifier_script())
    kept.write_text(before)
    api.resources.close()
    command = [sys.executable, "-I", str(script), str(bundle), "--key", ring.publics("checkpoint")[0].vkey]
    command += ["--request", one.id, "--checkpoint", str(kept)]
    return {
        "entries": entries,
        "bundle_bytes": bundle.stat().st_size,
        "make_ms": made,
        "verify_ms": _milliseconds(lambda: subprocess.run(command, check=True, capture_output=True)),
    }


def _milliseconds(work: Callable[[], object]) -> dict[str, float]:
    taken = []
    for _ in range(TIMES):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1000)
    return {"median": round(statistics.median(taken), 1), "most": round(max(taken), 1)}


if __name__ == "__main__":
    main()
