"""What all tests share: servers, databases on both kinds of them, markers by folder, and the loud word about skips."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy.engine import URL

from tests.processes import Processes
from tests.servers import PostgresServer, RedisNumber, find_postgres, find_redis
from tests.throwaway import ThrowawayPostgres, ThrowawayRedis, Unavailable

Server = TypeVar("Server")

NO_SERVER = "no server for this test: "
BY_FOLDER = ("integration", "e2e", "gpu")
WITH_PROCESSES = ("e2e", "worker")
"""Folders whose tests get a database that no other test will ever see: a process that outlives its test may write."""
HERE = Path(__file__).parent

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it runs in the background deaf to Ctrl-C, and children inherit that; tests send it to some.
    signal.signal(signal.SIGINT, signal.default_int_handler)


# ------------------------------------------------------------------------------------------------------------- servers


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL on which this process may create databases."""
    server = _or_skip(find_postgres)
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis_number() -> Iterator[RedisNumber]:
    """A Redis number of this process's own."""
    number = _or_skip(find_redis)
    yield number
    number.close()


@pytest.fixture(scope="session")
def redis_url(redis_number: RedisNumber) -> str:
    """The URL of a Redis number of our own; what one test leaves in it the next one finds."""
    return redis_number.url


@pytest.fixture
def clean_redis_url(redis_number: RedisNumber) -> str:
    """The same, emptied."""
    redis_number.clear()
    return redis_number.url


@pytest.fixture
def throwaway_redis() -> Iterator[ThrowawayRedis]:
    """A Redis that the test may kill and restart; it forgets everything then."""
    server = _or_skip(ThrowawayRedis.from_installed_binaries)
    with server:
        yield server


@pytest.fixture
def throwaway_postgres() -> Iterator[ThrowawayPostgres]:
    """A PostgreSQL that the test may kill and restart; it keeps what was committed."""
    server = _or_skip(ThrowawayPostgres.from_installed_binaries)
    with server:
        yield server


# ----------------------------------------------------------------------------------------------------------- databases


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """An empty PostgreSQL database of the test's own, without the schema."""
    url = postgres_server.create_database()
    yield _text(url)
    postgres_server.drop_database(url)


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: PostgresServer) -> URL:
    """The template of every PostgreSQL test database: an empty one, migrated."""
    url = postgres_server.create_database()
    _migrate(_text(url))
    return url


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template of every SQLite test database."""
    path = tmp_path_factory.mktemp("template") / "expunge.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """A migrated SQLite database of the test's own."""
    path = tmp_path / "expunge.db"
    shutil.copyfile(migrated_sqlite, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(
    request: pytest.FixtureRequest, migrated_postgres: URL, postgres_server: PostgresServer
) -> Iterator[str]:
    """A migrated PostgreSQL database of the test's own, empty."""
    if request.path.parent.name in WITH_PROCESSES:
        url = postgres_server.create_database(template=migrated_postgres)
        yield _text(url)
        postgres_server.drop_database(url)
    else:
        url = postgres_server.borrow_database(migrated_postgres)
        yield _text(url)
        postgres_server.give_back(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database of the test's own, once of each kind."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Starts processes with logs in `tmp_path`; all are gone when the test ends."""
    with Processes(tmp_path / "logs") as started:
        yield started


# ---------------------------------------------------------------------------------------------- markers, skips, verdict


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test is marked by the folder it stands in."""
    for item in items:
        if HERE in item.path.parents:
            folder = item.path.relative_to(HERE).parts[0]
            if folder in BY_FOLDER:
                item.add_marker(folder)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `gpu` are skipped without one."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under CI, tests that found no server fail the session."""
    if _skipped_for_servers(session.config) and _in_ci():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say loudly which tests did not run for want of a server."""
    skipped = _skipped_for_servers(config)
    if not skipped:
        return
    terminalreporter.section("NOT TESTED: PostgreSQL or Redis missing", sep="!", red=True, bold=True)
    for reason in sorted(set(skipped.values())):
        terminalreporter.line(reason)
    terminalreporter.line(f"{len(skipped)} tests did not run. Install postgres and redis-server, or set")
    terminalreporter.line("EXPUNGE_TEST_DATABASE_URL and EXPUNGE_TEST_REDIS_URL.")
    if _in_ci():
        terminalreporter.line("CI is set, so this fails the run.", red=True, bold=True)


def _skipped_for_servers(config: pytest.Config) -> dict[str, str]:
    reporter: pytest.TerminalReporter | None = config.pluginmanager.get_plugin("terminalreporter")
    reports = reporter.stats.get("skipped", []) if reporter else []
    reasons = {report.nodeid: str(report.longrepr[2]) for report in reports if isinstance(report.longrepr, tuple)}
    return {test: reason.split(NO_SERVER)[1] for test, reason in reasons.items() if NO_SERVER in reason}


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def _or_skip(find: Callable[[], Server]) -> Server:
    try:
        return find()
    except Unavailable as error:
        pytest.skip(f"{NO_SERVER}{error}")


def _migrate(url: str) -> None:
    from core.db.migrate import upgrade

    upgrade(url)


def _text(url: URL) -> str:
    return url.render_as_string(hide_password=False)
