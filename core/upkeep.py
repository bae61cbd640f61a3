"""What the calendar asks for: run beside the reaper, by every dispatcher and every polling worker."""

import time

from core import log
from core.db.session import Database
from core.deadlines.watch import Alarm, watch
from core.requests.erasure import erase_expired, scrub
from core.settings import Settings

_log = log.get_logger("upkeep")


class Upkeep:
    """Looks at deadlines and retention periods once per `upkeep_interval`; any number may run beside each other.

    Each look takes up what is due in the database, so a round that was missed is made up by the next one, whoever
    makes it.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._not_before = 0.0

    def look(self) -> bool:
        """Do what is due, if the last look is long enough ago; False if it is not."""
        if time.monotonic() < self._not_before:
            return False
        self._not_before = time.monotonic() + self._settings.upkeep_interval.total_seconds()
        for job_id, alarm in watch(self._database, warning=self._settings.deadline_warning):
            say = _log.warning if alarm is Alarm.OVERDUE else _log.info
            say(f"deadline.{alarm.value}", job_id=str(job_id))
        self._erase_expired()
        scrub(self._database)
        return True

    def _erase_expired(self) -> None:
        retention = self._settings.subject_retention
        while retention is not None:
            erased = erase_expired(self._database, retention=retention)
            for job_id in erased:
                _log.info("request.erased", job_id=str(job_id))
            if not erased:
                return
