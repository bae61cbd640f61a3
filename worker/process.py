"""A job's process as its supervisor sees it: started in a session of its own, given one order, ended as a group."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

from worker.order import Order

RUNNER = (sys.executable, "-P", "-m", "worker.runner")
"""`-P`: the folder we were started in is no place to import from."""


class RunnerGone(Exception):
    """The process had ended before it could be given its order."""


class RunnerProcess:
    """One process for one job. Start it from the main thread: on Linux it dies with the thread that started it.

    Args:
        command: what to run; the id of this process is added as last argument.
    """

    def __init__(self, command: Sequence[str] = RUNNER) -> None:
        self._process = subprocess.Popen(
            [*command, str(os.getpid())],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def give(self, order: Order) -> None:
        """Hand over the one order.

        Raises:
            RunnerGone: nobody is there to take it.
        """
        try:
            stdin = self._process.stdin
            if stdin is not None:
                stdin.write(order.to_line())
                stdin.close()
        except OSError as error:
            msg = f"Expected the process {self.pid} to take its order, got {type(error).__name__}."
            raise RunnerGone(msg) from None

    def wait(self, seconds: float) -> int | None:
        """The exit code (negative: the signal), or None if it still runs after `seconds`."""
        try:
            return self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None

    def terminate(self, grace_seconds: float) -> None:
        """Ask the group to end, and make it so once the time is up."""
        self._signal_group(signal.SIGTERM)
        self.wait(grace_seconds)
        self.kill()

    def kill(self) -> None:
        """End the whole group at once; harmless when it has ended."""
        self._signal_group(signal.SIGKILL)
        with suppress(OSError):  # an order that was never taken may still stand in the buffer
            if self._process.stdin is not None:
                self._process.stdin.close()
        self._process.wait()

    def _signal_group(self, number: signal.Signals) -> None:
        # The group may outlive its leader. macOS answers EPERM for a group of zombies.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
