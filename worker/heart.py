"""Renews a lease from a thread of its own, so that a database that hangs cannot keep the supervisor from acting."""

import threading
import time
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError

from core import log
from core.db.session import Database
from core.errors import LeaseLost
from core.requests import claims
from core.requests.claims import Lease
from core.settings import Settings

_log = log.get_logger("heart")
LONG_TTL = timedelta(seconds=30)


def longest_silence(ttl: timedelta) -> timedelta:
    """How long a job may go on without a successful heartbeat: it must be dead before its lease is."""
    return ttl - timedelta(seconds=10) if ttl >= LONG_TTL else ttl * 2 / 3


class Heart:
    """Beats until stopped; what it learns stands in its attributes.

    Args:
        database: where the lease is.
        lease: what to renew.
        settings: interval and ttl.
        claimed_at: monotonic time just before the claim.
    """

    def __init__(self, database: Database, lease: Lease, settings: Settings, *, claimed_at: float) -> None:
        self.lost = False
        self.cancel_requested = False
        self._database = database
        self._lease = lease
        self._settings = settings
        self._alive_at = claimed_at
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heart", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop beating; a beat that hangs in the database is left behind, the fence makes it harmless."""
        self._stopped.set()
        self._thread.join(timeout=1.0)

    @property
    def is_silent(self) -> bool:
        """Whether the lease may run out before anybody could tell us (monotonic clock)."""
        silence = time.monotonic() - self._alive_at
        return silence > longest_silence(self._settings.lease_ttl).total_seconds()

    def _beat(self) -> None:
        interval = self._settings.heartbeat_interval.total_seconds()
        pause = interval
        while not self._stopped.wait(pause):
            began = time.monotonic()
            try:
                self.cancel_requested |= claims.heartbeat(self._database, self._lease, ttl=self._settings.lease_ttl)
                self._alive_at = began
                pause = interval
            except LeaseLost:
                self.lost = True
                return
            except SQLAlchemyError as error:
                _log.warning("heartbeat.failed", job_id=str(self._lease.job_id), error=type(error).__name__)
                pause = min(interval, 1.0)
