"""The helper that starts and ends the service's processes."""

import os
import sys
from pathlib import Path

import pytest

from tests.processes import Processes, expunge_env
from tests.throwaway import wait_until

CHILD = "import time; print('child is up', flush=True); time.sleep(60)"
SLEEPER = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"


def _gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def test_leaving_the_block_ends_a_process_and_what_it_started(tmp_path: Path) -> None:
    env = expunge_env(database_url="", data_dir=tmp_path)

    with Processes(tmp_path) as processes:
        started = processes.start("sleeper", [sys.executable, "-c", SLEEPER], env)
        started.wait_for_output("child is up", seconds=20)

    wait_until(lambda: _gone(started.process.pid), seconds=5, what="the group to be gone")


def test_waiting_for_a_process_that_died_fails_at_once_with_its_log(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        started = processes.start("dead", [sys.executable, "-c", "print('why'); raise SystemExit(3)"], {})

        with pytest.raises(AssertionError, match="dead ended with 3") as caught:
            started.wait_for_output("never", seconds=20)

    assert "why" in str(caught.value)


def test_a_started_process_finds_our_commands_and_none_of_our_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "exposed")

    env = expunge_env(database_url="sqlite://", data_dir=tmp_path, EXPUNGE_PORT="81")

    assert env["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert env["EXPUNGE_PORT"] == "81"
    assert "A_SECRET" not in env
