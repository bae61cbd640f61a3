"""The bulk path of the benchmark writes what appending one by one writes."""

from pathlib import Path

from sqlalchemy import select

from benchmarks.ledger import write_bulk
from core.db.migrate import upgrade
from core.db.session import Database
from core.ledger.tables import LedgerHead
from tests.integration.core.support import LOG, fill, make_keys


def rows_of(database: Database) -> list[object]:
    with database.reading() as session:
        head = session.execute(select(LedgerHead)).scalar_one()
        rows = [tuple(row) for row in session.execute(select(LOG).order_by(LOG.c.seq))]
        return [*rows, (head.tree_size, head.last_leaf_hash, head.frontier)]


def test_bulk_rows_and_head_are_those_of_append(sqlite_url: str, tmp_path: Path) -> None:
    appended, other = Database(sqlite_url), f"sqlite:///{tmp_path / 'bulk.db'}"
    make_keys(appended, tmp_path / "signing.json")
    fill(appended, 70)
    expected = rows_of(appended)
    upgrade(other)
    written = Database(other)
    with appended.reading() as session:
        leaves = list(session.execute(select(LOG.c.leaf).order_by(LOG.c.seq)).scalars())
    write_bulk(written, leaves)
    assert rows_of(written) == expected
    appended.dispose()
    written.dispose()
