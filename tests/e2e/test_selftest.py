"""`expunge selftest --gate`: the shipped policies before models whose right verdict is known."""

import subprocess
import sys
from pathlib import Path

from tests.processes import Processes, expunge_env

EXPUNGE = str(Path(sys.executable).with_name("expunge"))
SECONDS = 300
"""About half a minute on an idle core; tests share theirs."""


def test_the_gate_tells_every_control_apart(processes: Processes, tmp_path: Path) -> None:
    env = expunge_env(database_url="", data_dir=tmp_path / "unused") | {"COLUMNS": "200"}
    selftest = processes.start("selftest", [EXPUNGE, "selftest", "--gate"], env)
    assert selftest.wait(seconds=SECONDS) == 0, selftest.output()
    lines = [line.split() for line in selftest.output().splitlines()]
    verdicts = {line[0]: line for line in lines if {"fail", "pass"} & set(line)}
    for control in ("original", "bias", "destroyed", "retrained"):
        assert control in verdicts
    assert "The gate tells all controls apart" in selftest.output()
    assert not (tmp_path / "unused").exists()


def test_without_a_choice_it_says_what_there_is() -> None:
    done = subprocess.run([EXPUNGE, "selftest"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, "Error: Expected --gate, got nothing to test.\n")
