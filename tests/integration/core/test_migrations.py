"""The migrations build exactly the schema of the tables, and several migrators do not trip over each other."""

import subprocess
import sys
from pathlib import Path

from alembic import command

from core.db.migrate import alembic_config, is_at_head, upgrade
from core.db.session import Database


def test_the_schema_has_not_drifted_from_the_tables(database_url: str) -> None:
    command.check(alembic_config(database_url))


def test_upgrading_twice_changes_nothing(database_url: str) -> None:
    upgrade(database_url)
    database = Database(database_url)
    assert is_at_head(database.engine)
    database.dispose()


def migrate_from_three_processes(url: str) -> list[int]:
    """Alembic keeps its context in globals, so real processes stand in for three API pods."""
    script = f"from core.db.migrate import upgrade; upgrade({url!r})"
    migrators = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(3)]
    return [migrator.wait(timeout=60) for migrator in migrators]


def test_three_migrators_at_once_end_with_one_sqlite_schema(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'three.db'}"
    assert migrate_from_three_processes(url) == [0] * 3
    assert is_at_head(Database(url).engine)


def test_three_migrators_at_once_end_with_one_postgresql_schema(postgres_url: str) -> None:
    assert migrate_from_three_processes(postgres_url) == [0] * 3
    database = Database(postgres_url)
    assert is_at_head(database.engine)
    database.dispose()
