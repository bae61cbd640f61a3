"""Time as the service tells it: the database's clock, in UTC.

Leases compare moments written by different machines, so only one clock may speak: the database's. SQLite has no server,
its only host is this one.
"""

from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session


def database_now(session: Session) -> datetime:
    """The database's time, not that of the transaction's start.

    Returns:
        An aware datetime in UTC with microseconds.
    """
    if session.get_bind().dialect.name == "postgresql":
        now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
        return now.astimezone(UTC)
    return datetime.now(UTC)


def to_rfc3339(moment: datetime) -> str:
    """A moment as RFC 3339 text in UTC with exactly six decimals, so that texts sort like moments."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
