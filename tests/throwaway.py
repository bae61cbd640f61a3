"""Servers that a test may kill: PostgreSQL and Redis from installed binaries, on free ports, in temporary folders."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import psycopg
import redis

START_SECONDS = 30.0


class Unavailable(Exception):
    """No server could be found or started."""


def free_port() -> int:
    """A loopback port that nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str, every: float = 0.05) -> None:
    """Poll `condition` until it holds; after the deadline fail naming what was waited for.

    Raises:
        TimeoutError: it did not hold in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            msg = f"Waited {seconds:g} s for {what}."
            raise TimeoutError(msg)
        time.sleep(every)


class _Throwaway:
    """A server process of our own in a folder of our own; the folder outlives a kill and goes with `stop`."""

    def __init__(self, name: str, owner: dict[str, Any] | None = None) -> None:
        # Not below pytest's tmp_path: those folders are closed to the other user that root must run PostgreSQL as.
        self.folder = Path(tempfile.mkdtemp(prefix=f"expunge-{name}-"))
        self.port = free_port()
        self._name = name
        self._owner = owner or {}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def command(self) -> Sequence[str | Path]:
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        """Start and wait until it answers."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            self._spawn()
            try:
                wait_until(self._answers_or_ended, seconds=deadline - time.monotonic(), what=f"{self._name} to answer")
            except TimeoutError as error:
                self.kill()
                raise Unavailable(f"{error} Its log:\n{self.log()}") from None
            if self._process is not None and self._process.poll() is None:
                return
            # After a kill the children of the old server may hold its files for a moment longer.
            if time.monotonic() > deadline:
                raise Unavailable(f"{self._name} ended at once. Its log:\n{self.log()}")

    def kill(self) -> None:
        """SIGKILL, as a crash of the machine would: nothing is flushed or said goodbye to."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Kill, then start again on the same port with what was on disk."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """End it in good order and remove its folder."""
        self._end(signal.SIGINT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """The end of what the server wrote."""
        path = self.folder / "log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def _spawn(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(part) for part in self.command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                **self._owner,
            )

    def _answers_or_ended(self) -> bool:
        return (self._process is not None and self._process.poll() is not None) or self.answers()

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            os.kill(process.pid, how)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class ThrowawayRedis(_Throwaway):
    """A Redis to kill: `appendonly` decides whether its data outlive that."""

    def __init__(self, binary: str | Path, *, appendonly: bool = False) -> None:
        super().__init__("redis")
        self._binary = binary
        self._appendonly = "yes" if appendonly else "no"

    @classmethod
    def from_installed_binaries(cls, *, appendonly: bool = False) -> Self:
        """Find `redis-server` on PATH."""
        binary = shutil.which("redis-server")
        if binary is None:
            raise Unavailable("no Redis on 127.0.0.1:6379, and no redis-server on PATH")
        return cls(binary, appendonly=appendonly)

    @property
    def url(self) -> str:
        """Without a number: append `/0` and so on."""
        return f"redis://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str | Path]:
        options = ("--bind", "127.0.0.1", "--save", "", "--appendonly", self._appendonly, "--dir", self.folder)
        return (self._binary, "--port", str(self.port), *options)

    def answers(self) -> bool:
        try:
            with redis.Redis(port=self.port, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


class ThrowawayPostgres(_Throwaway):
    """A PostgreSQL to kill; durable as shipped (fsync on), so that what was committed is there after `restart`."""

    def __init__(self, binaries: Path) -> None:
        super().__init__("postgresql", owner=_unprivileged())
        self._binaries = binaries
        self.data = self.folder / "data"
        self._initialise()

    @classmethod
    def from_installed_binaries(cls) -> Self:
        """Find `initdb` and `postgres` on PATH or where Debian and Homebrew keep them."""
        return cls(_postgres_binaries())

    @property
    def url(self) -> str:
        """The maintenance database, as its superuser."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def command(self) -> Sequence[str | Path]:
        address = ("-p", str(self.port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=")
        return (self._binaries / "postgres", "-D", self.data, *address)

    def answers(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=1):
                return True
        except psycopg.Error:
            return False

    def _initialise(self) -> None:
        if self._owner:
            shutil.chown(self.folder, self._owner["user"], self._owner["group"])
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        command = [str(self._binaries / "initdb"), "-D", str(self.data), *options]
        result = subprocess.run(command, cwd=self.folder, capture_output=True, check=False, text=True, **self._owner)
        if result.returncode:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise Unavailable(f"initdb failed: {result.stderr.strip()}")


def _postgres_binaries() -> Path:
    on_path = shutil.which("initdb")
    places = [Path(on_path).resolve().parent] if on_path else []
    for root, pattern in (("/usr/lib/postgresql", "*/bin"), ("/opt/homebrew/opt", "postgresql*/bin")):
        places += sorted(Path(root).glob(pattern), reverse=True)
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    raise Unavailable("no PostgreSQL on 127.0.0.1:5432 lets us in, and no initdb and postgres are installed")


def _unprivileged() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: who it runs as instead."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise Unavailable("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")
