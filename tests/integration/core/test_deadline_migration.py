"""Requests that were there before deadlines were kept get theirs."""

from datetime import date
from pathlib import Path
from uuid import UUID

from alembic import command
from sqlalchemy import select, update

from core.db.migrate import alembic_config, upgrade
from core.deadlines.tables import Deadline
from core.requests.tables import UnlearnRequest
from tests.integration.app.api import Api, body


def test_the_migration_counts_from_the_day_of_receipt_and_closes_what_was_answered(
    database_url: str, tmp_path: Path
) -> None:
    api = Api(database_url, tmp_path)
    api.register()
    ids = [UUID(api.local.post("/unlearn", json=body(label)).json()["id"]) for label in ("ant", "bee")]
    api.local.delete(f"/unlearn/{ids[1]}")
    received = update(UnlearnRequest).values(received_on=date(2024, 1, 31))
    with api.database.writing() as session:
        session.execute(received.where(UnlearnRequest.job_id == ids[0]))
        session.execute(received.where(UnlearnRequest.job_id == ids[1]).values(received_on=date(2026, 11, 30)))
    api.resources.close()
    command.downgrade(alembic_config(database_url), "0010")
    upgrade(database_url)
    with api.database.reading() as session:
        rows = {row.job_id: row for row in session.execute(select(Deadline)).scalars()}
    assert [rows[one].due_on for one in ids] == [date(2024, 2, 29), date(2026, 12, 30)]
    assert [rows[one].closed_by for one in ids] == [None, "cancelled"]
    assert (rows[ids[0]].tenant, rows[ids[0]].overdue_on) == ("default", None)
    api.resources.close()
