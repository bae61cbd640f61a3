"""`expunge serve`: the API, and beside it a worker where no Redis is configured."""

import ipaddress
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from cli.children import Child
from cli.failures import Failure
from core.db.session import Database
from core.settings import Settings

BACKLOG = 512
RESTART_SECONDS = (1.0, 30.0)
"""Wait before a worker that died is started again: at first, and at most (it doubles in between)."""


def serve(settings: Settings, *, worker_options: list[str] | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        settings: what the operator chose; `host` and `port` say where.
        worker_options: run a worker beside the API, with these options; None runs none.

    Raises:
        Failure: the address is taken, the schema is old, or nobody but this machine could be kept out.
    """
    prepare_database(settings)
    settings = admit_callers(settings)
    with listening(settings.host, settings.port) as listener, _worker(worker_options):
        port = listener.getsockname()[1]
        typer.echo(f"Expunge listens on {url_of(settings.host, port)}")
        sys.stdout.flush()
        _run_server(settings, listener)


def prepare_database(settings: Settings) -> None:
    """Bring a SQLite file to the newest schema; a shared database must be there already.

    Raises:
        Failure: it is not.
    """
    from core.db.migrate import is_at_head, upgrade

    if settings.uses_sqlite:
        upgrade(settings.database_url)
        return
    database = Database(settings.database_url, pooled=False)
    if not is_at_head(database.engine):
        msg = "Expected a database with the newest schema, got an older or empty one; run `expunge migrate` first."
        raise Failure(msg)


def admit_callers(settings: Settings) -> Settings:
    """Loopback needs no key. Any other address needs at least one, or nobody could call and anybody could find it.

    Raises:
        Failure: the address is not loopback and there is no API key.
    """
    if is_loopback(settings.host):
        return settings.model_copy(update={"allow_anonymous_loopback": True})
    from app.keys.service import list_keys
    from core.clock import database_now

    with Database(settings.database_url, pooled=False).reading() as session:
        now = database_now(session)
        usable = [
            key
            for key in list_keys(session)
            if key.revoked_at is None and (key.expires_at is None or key.expires_at > now)
        ]
    if not usable:
        msg = (
            f"Expected at least one API key before serving on {settings.host}, which is not loopback, got none; "
            "make one with `expunge keys api create --name NAME --scope admin`."
        )
        raise Failure(msg)
    return settings.model_copy(update={"allow_anonymous_loopback": False})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def url_of(host: str, port: int) -> str:
    """The URL at which a listening address answers."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket; port 0 takes a free one.

    Yields:
        The socket.

    Raises:
        Failure: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        msg = f"Expected to listen on {host} port {port}, got refused: {error.strerror}; choose another with --port."
        raise Failure(msg) from error
    with listener:
        # Connections inherit it. asyncio sets it only on sockets made with an explicit protocol, and this one is not;
        # without it an answer on a kept connection waits 40 ms for the other side's delayed ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener


def _run_server(settings: Settings, listener: socket.socket) -> None:
    import uvicorn

    from app.main import create_app

    config = uvicorn.Config(
        create_app(settings),
        http="h11",
        ws="none",
        limit_concurrency=256,
        backlog=BACKLOG,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=25,
        h11_max_incomplete_event_size=16_384,
        # The application judges the addresses of the socket and refuses anonymous callers behind a proxy.
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level="warning",
        # No limit_max_requests: nobody stands by to start a single process again.
    )
    # uvicorn raises the signal once more when it is done; without this, SIGTERM would end us before the worker is told.
    signal.signal(signal.SIGTERM, _leave)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        return


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


@contextmanager
def _worker(options: list[str] | None) -> Iterator[None]:
    if options is None:
        yield
        return
    signal.signal(signal.SIGTERM, _leave)
    worker = EmbeddedWorker(options)
    try:
        yield
    finally:
        worker.stop()


class EmbeddedWorker:
    """`expunge worker` as a child: started again when it dies, ended when we end."""

    def __init__(self, options: list[str]) -> None:
        self._options = options
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._child = Child("worker", *options)
        threading.Thread(target=self._keep_alive, name="worker-keeper", daemon=True).start()

    def stop(self) -> None:
        """End it; a job that runs is given back to the queue."""
        self._stopped.set()
        with self._lock:
            self._child.stop()

    def _keep_alive(self) -> None:
        pause, at_most = RESTART_SECONDS
        while True:
            code = self._child.wait()
            if self._stopped.wait(pause):
                return
            typer.echo(f"The worker ended with {code}; starting it again.", err=True)
            pause = min(2 * pause, at_most)
            with self._lock:
                if self._stopped.is_set():
                    return
                self._child = Child("worker", *self._options)
