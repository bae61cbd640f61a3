"""`expunge demo`, as somebody types it after the installation."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.processes import Processes, expunge_env
from tests.throwaway import wait_until

EXPUNGE = str(Path(sys.executable).with_name("expunge"))
DEMO_SECONDS = 240
"""The promise is 90 s on two idle cores; tests share theirs."""


def _environment(tmp_path: Path) -> dict[str, str]:
    """Without a word about database and Redis: the demonstration brings its own."""
    env = expunge_env(database_url="", data_dir=tmp_path / "unused")
    return {name: value for name, value in env.items() if not name.startswith("EXPUNGE_")} | {"TMPDIR": str(tmp_path)}


def _left_behind(mark: Path) -> dict[int, str]:
    """Processes that still run and name the folder."""
    listed = subprocess.run(["ps", "-axww", "-o", "pid=,command="], capture_output=True, text=True, check=True).stdout
    rows = (line.split(maxsplit=1) for line in listed.splitlines())
    return {int(row[0]): row[1] for row in rows if str(mark) in row[-1]}


def test_the_demonstration_proves_its_claims_and_leaves_nothing_behind(processes: Processes, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = [EXPUNGE, "demo", "--class", "3", "--figures", str(figures)]
    demo = processes.start("demo", command, _environment(tmp_path))
    assert demo.wait(seconds=DEMO_SECONDS) == 0, demo.output()

    output = demo.output()
    for claim in (
        "202 Accepted",
        "Verdict: pass",
        "plain torch counts the same",
        "are chained without gap",
        "curl $URL",
    ):
        assert claim in output
    measures = json.loads(figures.read_text())["measures"]
    # Accuracies before show that the classifier knew the digit; otherwise their fall would mean nothing.
    assert measures["original"]["forget_accuracy_test"]["value"] > 0.9
    assert measures["unlearned"]["forget_accuracy_test"]["high"] <= 0.1
    assert _left_behind(tmp_path) == {}
    assert list(tmp_path.glob("expunge-demo-*")) == []


def test_kept_it_answers_until_the_command_it_names_is_typed(processes: Processes, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    command = [EXPUNGE, "demo", "--class", "7", "--keep", "--data-dir", str(folder)]
    demo = processes.start("demo", command, _environment(tmp_path))
    try:
        assert demo.wait(seconds=DEMO_SECONDS) == 0, demo.output()
        found = re.search(r"Still running at (\S+), .*kill (\d+)", demo.output())
        assert found
        model = httpx.get(f"{found[1]}/models/digits", trust_env=False).json()
        assert [gone["label"] for gone in model["forgotten"]] == ["7"]
        os.kill(int(found[2]), signal.SIGTERM)
        wait_until(lambda: not _left_behind(folder), seconds=30, what="the service to end")
    finally:
        for pid in _left_behind(folder):
            os.kill(pid, signal.SIGKILL)
    verified = subprocess.run([EXPUNGE, "verify", str(folder / "ledger.json")], capture_output=True, check=False)
    assert verified.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_it_leaves_no_process_behind(processes: Processes, tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "interrupted"
    demo = processes.start("demo", [EXPUNGE, "demo", "--data-dir", str(folder)], _environment(tmp_path))
    log = folder / "service.log"
    demo.wait_for(lambda: log.exists() and "worker.started" in log.read_text(), seconds=60, what="its worker to start")
    demo.process.send_signal(number)
    assert demo.wait(seconds=30) != 0
    wait_until(lambda: not _left_behind(folder), seconds=30, what="its processes to end")


def test_a_digit_that_does_not_exist_is_refused_before_anything_starts(tmp_path: Path) -> None:
    done = subprocess.run(
        [EXPUNGE, "demo", "--class", "10"], env=_environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--class" in done.stderr
