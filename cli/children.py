"""Processes that one command starts for another, and that never outlive it.

The lifeline is the child's standard input: a pipe whose other end only the parent holds. However the parent ends, even
by SIGKILL, the kernel closes that end; the child reads the end of the file and stops as if it had got SIGTERM. That
needs no polling and works on Linux and macOS alike.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

GRACE_SECONDS = 15.0
LIFELINE_OPTION = "--until-stdin-closes"


class Child:
    """An `expunge` command in a session of its own, so that Ctrl-C reaches it only through its parent.

    Args:
        arguments: the command and its options.
        log: file that takes its output; default: ours.
        lifeline: whether it must end with us.
    """

    def __init__(self, *arguments: str, log: Path | None = None, lifeline: bool = True) -> None:
        command = [sys.executable, "-P", "-m", "cli.main", *arguments, *([LIFELINE_OPTION] if lifeline else [])]
        output = log.open("ab") if log else None
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if lifeline else subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        finally:
            if output:
                output.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ended(self) -> int | None:
        """Its exit code (negative: the signal), or None while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Wait for it to end by itself; its exit code."""
        return self._process.wait()

    def stop(self, *, grace_seconds: float = GRACE_SECONDS) -> None:
        """Ask it to end, and make sure that it does."""
        with suppress(OSError):
            self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=grace_seconds)
        # The group may outlive its leader. macOS answers EPERM for a group of zombies.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


def stop_when_stdin_closes() -> None:
    """Send SIGTERM to this process as soon as whoever started it is gone."""
    threading.Thread(target=_watch_stdin, name="lifeline", daemon=True).start()


def _watch_stdin() -> None:
    # Not through sys.stdin: a thread that waits inside its lock cannot be left behind at exit.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
