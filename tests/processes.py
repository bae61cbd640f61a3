"""Start the service's real processes, the way docker-compose.yml starts them, and see to it that they end."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from tests.throwaway import wait_until

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = ROOT / "docker-compose.yml"
TAIL = 4000

_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<word>[^}]*))?\}")
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")


def expunge_env(*, database_url: str, data_dir: Path, redis_url: str | None = None, **more: str) -> dict[str, str]:
    """A small, clean environment for one of our processes; `more` are further variables (`EXPUNGE_PORT="8081"`)."""
    env = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    env |= {
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        "EXPUNGE_DATABASE_URL": database_url,
        "EXPUNGE_DATA_DIR": str(data_dir),
        "EXPUNGE_TORCH_THREADS": "1",
    }
    if redis_url is not None:
        env["EXPUNGE_REDIS_URL"] = redis_url
    return env | more


def compose_command(service: str, env: Mapping[str, str], *, path: Path = COMPOSE) -> list[str]:
    """The command of a service, word by word, with the variables that Compose would fill in taken from `env`."""
    return [interpolate(str(word), env) for word in compose_file(path)["services"][service]["command"]]


def compose_file(path: Path = COMPOSE) -> dict[str, Any]:
    """A compose file as Compose parses it, variables not yet filled in."""
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def interpolate(text: str, env: Mapping[str, str]) -> str:
    """Fill in `${NAME}`, `${NAME:-default}` and `${NAME:?message}` as Compose does, and `$$` for a dollar.

    Raises:
        KeyError: a variable that must be set is not.
    """

    def value(match: re.Match[str]) -> str:
        found = env.get(match["name"], "")
        if not found and match["kind"] == "?":
            msg = f"{match['name']}: {match['word']}"
            raise KeyError(msg)
        return found or (match["word"] if match["kind"] == "-" else "")

    return "$".join(_VARIABLE.sub(value, part) for part in text.split("$$"))


class Started:
    """One process, in a group of its own, its output in a file."""

    def __init__(self, name: str, command: list[str], env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def output(self) -> str:
        """Everything it wrote so far."""
        return self.log.read_text(errors="replace")

    def wait(self, *, seconds: float) -> int:
        """Its exit code, when it ends by itself in time."""
        wait_until(lambda: not self.running, seconds=seconds, what=f"{self.name} to end")
        return int(self.process.returncode)

    def wait_for(self, condition: Callable[[], bool], *, seconds: float, what: str) -> None:
        """Poll until `condition` holds; fail at once, with the log, if the process ends or time is up.

        Raises:
            AssertionError: it ended or took too long.
        """
        try:
            wait_until(lambda: not self.running or condition(), seconds=seconds, what=what)
        except TimeoutError as error:
            raise AssertionError(f"{self.name}: {error} Its log ends:\n{self.output()[-TAIL:]}") from None
        if not self.running:
            end = f"ended with {self.process.returncode} before {what}"
            raise AssertionError(f"{self.name} {end}. Its log ends:\n{self.output()[-TAIL:]}")

    def wait_for_output(self, text: str, *, seconds: float) -> None:
        """Poll until it has written `text`."""
        self.wait_for(lambda: text in self.output(), seconds=seconds, what=f"{text!r} in the log")

    def wait_for_http(self, url: str, *, seconds: float = 30) -> None:
        """Poll until a GET of `url` is answered with 200."""
        self.wait_for(lambda: _answers(url), seconds=seconds, what=f"200 from {url}")

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the process and all that it started in its group."""
        try:
            os.killpg(self.process.pid, number)
        except (ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
            return

    def kill_group(self) -> None:
        """SIGKILL, as the kernel does when memory runs out: nobody gets to clean up."""
        self.signal_group(signal.SIGKILL)
        self.process.wait()

    def stop(self, *, seconds: float = 15) -> int:
        """SIGTERM as an orchestrator does, then SIGKILL to the group once the time is up."""
        if self.running:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=seconds)
        self.kill_group()
        return int(self.process.returncode)


class Processes:
    """All that a test starts; leaving the `with` block ends it, the last started first."""

    def __init__(self, log_folder: Path) -> None:
        log_folder.mkdir(parents=True, exist_ok=True)
        self._folder = log_folder
        self._started: list[Started] = []

    def start(self, name: str, command: list[str], env: Mapping[str, str]) -> Started:
        """Start a command; its output goes to `<name>.log`."""
        number = sum(other.name == name for other in self._started)
        log = self._folder / (f"{name}.log" if not number else f"{name}.{number}.log")
        started = Started(name, command, env, log)
        self._started.append(started)
        return started

    def start_service(self, service: str, env: Mapping[str, str]) -> Started:
        """Start a service of docker-compose.yml with exactly the command it has there."""
        return self.start(service, compose_command(service, env), env)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        # A test that is about a graceful end calls `stop` itself; here nothing is worth waiting for.
        for started in reversed(self._started):
            started.kill_group()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
