"""Stands in for a job's process: behaves as its first argument says, and notes its process id in a file.

Run as `fake_runner.py BEHAVIOUR FOLDER PARENT`; reads the same order from standard input as the real one.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from core.db.session import Database
from core.errors import LeaseLost
from core.requests.claims import finish
from core.states import JobState
from worker.order import Order
from worker.orphans import die_with_parent


def main(behaviour: str, folder: Path, parent: int) -> int:
    die_with_parent(parent)
    line = sys.stdin.readline()
    if not line:
        return 0
    order = Order.model_validate_json(line)
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if behaviour == "family":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        note(folder / "child", str(child.pid))
    note(folder / f"pid-{order.attempt}", str(os.getpid()))
    if behaviour == "exit":
        return 7
    if behaviour == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "silent":
        return 0
    if behaviour == "when-told":
        while not (folder / "go").exists():
            time.sleep(0.02)
    if behaviour in {"finish", "when-told"}:
        return end(order)
    time.sleep(600)
    return 0


def end(order: Order) -> int:
    database = Database(order.read_settings().database_url, pooled=False)
    try:
        with database.writing() as session:
            finish(session, order.lease, JobState.COMPLETED, result={"fence": order.fence})
    except LeaseLost:
        return 0
    return 0


def note(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(text)
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
