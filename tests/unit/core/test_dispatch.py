"""The doorbell's settings, the same for the side that rings and the side that listens."""

import sys
from pathlib import Path
from subprocess import run
from uuid import uuid4

import pytest

from core.dispatch import KEY_PREFIX, QUEUE, SilentDoorbell, celery_settings, doorbell_for
from core.settings import Settings


def with_redis(tmp_path: Path, url: str = "redis://127.0.0.1:1/0") -> Settings:
    return Settings(data_dir=tmp_path, redis_url=url)  # type: ignore[arg-type]  # text becomes a secret


def test_without_redis_there_is_no_bell_and_ringing_it_does_nothing(tmp_path: Path) -> None:
    bell = doorbell_for(Settings(data_dir=tmp_path, redis_url=None))
    assert isinstance(bell, SilentDoorbell)
    assert bell.ring(uuid4()) is True


def test_without_redis_there_are_no_celery_settings(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="EXPUNGE_REDIS_URL"):
        celery_settings(Settings(data_dir=tmp_path, redis_url=None))


def test_a_message_is_a_doorbell_and_not_the_work(tmp_path: Path) -> None:
    settings = celery_settings(with_redis(tmp_path))
    assert settings["task_acks_late"] is False
    assert settings["task_reject_on_worker_lost"] is False
    assert settings["worker_cancel_long_running_tasks_on_connection_loss"] is False
    assert settings["worker_disable_prefetch"] is True
    assert settings["result_backend"] is None
    assert settings["accept_content"] == ["json"]
    assert settings["broker_transport_options"]["global_keyprefix"] == KEY_PREFIX
    assert list(settings["task_queues"]) == [settings["task_default_queue"]] == [QUEUE]


def test_the_time_limit_of_celery_comes_after_the_deadline_of_the_supervisor(tmp_path: Path) -> None:
    settings = with_redis(tmp_path)
    assert celery_settings(settings)["task_time_limit"] > settings.job_deadline.total_seconds()


def test_every_setting_is_one_that_celery_knows(tmp_path: Path) -> None:
    from celery.app.defaults import NAMESPACES, flatten

    known = {name for name, _option in flatten(NAMESPACES)}
    assert set(celery_settings(with_redis(tmp_path))) <= known


def test_importing_the_dispatcher_loads_neither_celery_nor_torch() -> None:
    program = "import core.dispatch, sys; print([name for name in ('celery', 'torch') if name in sys.modules])"
    answer = run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
