"""The real Celery application, with jobs whose processes wait until they are told to finish."""

from functools import partial

from core.settings import get_settings
from tests.integration.worker.support import fake
from worker import listener
from worker.celery_app import app
from worker.supervisor import Supervisor

command = fake("when-told", get_settings().data_dir)
listener.Supervisor = partial(Supervisor, command=command)  # type: ignore[assignment,attr-defined]

__all__ = ["app"]
