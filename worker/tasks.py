"""The one task: somebody rang."""

from functools import cache

from core.dispatch import RING_TASK, CeleryDoorbell
from core.settings import get_settings
from worker.celery_app import app
from worker.listener import Listener


@cache
def listen() -> Listener:
    """This process's listener; made after the fork, never before."""
    settings = get_settings()
    return Listener(settings, CeleryDoorbell(settings))


@app.task(name=RING_TASK, ignore_result=True)  # type: ignore[untyped-decorator]
def ring(_job_id: str) -> None:
    """Look into the table; the id in the message is a hint for people who read the queue."""
    listen().answer()
