"""The demonstration's service: `expunge serve` as a child process, as a person would start it."""

import re
import time
from pathlib import Path
from typing import Self

import httpx

from cli.children import Child
from cli.failures import Failure

START_SECONDS = 30.0
LOOK_SECONDS = 0.05
LOG_NAME = "service.log"

_ADDRESS = re.compile(r"^Expunge listens on (http://\S+)$", re.MULTILINE)


class Service:
    """API and worker on a loopback port; ended when the block ends, unless it is to be kept.

    Args:
        folder: takes database, artifacts and log.
        port: where it listens; 0 for a free one.
        keep: whether it may outlive us; `let_go` makes it so.
    """

    def __init__(self, folder: Path, *, port: int, keep: bool) -> None:
        self.log = folder / LOG_NAME
        self._written_before = self.log.stat().st_size if self.log.exists() else 0
        arguments = ["serve", "--host", "127.0.0.1", "--port", str(port), "--data-dir", str(folder)]
        arguments += ["--threads", "1"]  # on a network this small, threads wait for each other longer than they work
        self._child = Child(*arguments, log=self.log, lifeline=not keep)
        self._kept = False

    @property
    def pid(self) -> int:
        """Process id of the service."""
        return self._child.pid

    def wait_until_ready(self) -> str:
        """The URL, once the service answers there.

        Raises:
            Failure: it ended, or does not answer in time.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._child.ended() is not None:
                msg = f"Expected the service to start, got an early end: {self._last_line()}"
                raise Failure(msg)
            match = _ADDRESS.search(self._output())
            if match and _answers(match[1]):
                return match[1]
            time.sleep(LOOK_SECONDS)
        msg = f"Expected the service to answer within {START_SECONDS:.0f} s, got silence: {self._last_line()}"
        raise Failure(msg)

    def let_go(self) -> None:
        """Leave it running after the block."""
        self._kept = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if not self._kept:
            self._child.stop()

    def _output(self) -> str:
        if not self.log.exists():
            return ""
        return self.log.read_bytes()[self._written_before :].decode(errors="replace")

    def _last_line(self) -> str:
        lines = [line for line in self._output().splitlines() if line.strip()]
        return lines[-1].removeprefix("Error: ") if lines else "it wrote nothing."


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
