"""The small parts around a job's process: the order, the problems, the patience, the longest silence."""

import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy.exc import OperationalError, ProgrammingError

from core.requests.claims import Lease
from core.settings import Settings
from core.states import JobKind
from worker import patience, problems
from worker.heart import longest_silence
from worker.order import Order
from worker.patience import patiently

LEASE = Lease(UUID(int=7), JobKind.UNLEARN, fence=3, attempt=2, owner="w")


def test_an_order_survives_its_line_with_every_setting(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, lease_ttl=timedelta(seconds=45), torch_threads=3, redis_url=None)
    read = Order.model_validate_json(Order.of(LEASE, settings).to_line())
    assert read.lease == LEASE
    assert read.read_settings() == settings


def test_the_job_does_not_learn_where_redis_is(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, redis_url="redis://:hush@queue/0")  # type: ignore[arg-type]  # to a secret
    line = Order.of(LEASE, settings).to_line()
    assert b"hush" not in line
    assert b"queue/0" not in line


@pytest.mark.parametrize(
    ("exit_code", "words"),
    [
        (-9, "SIGKILL. The system may have run out of memory."),
        (-11, "SIGSEGV."),
        (7, "exit code 7"),
        (0, "exit code 0"),
    ],
)
def test_a_problem_says_how_the_process_died(exit_code: int, words: str) -> None:
    assert words in problems.died(LEASE, exit_code)["detail"]


def test_an_unexpected_error_shows_its_type_and_nothing_of_its_text() -> None:
    problem = problems.unexpected(LEASE, KeyError("/home/secret"))
    assert "KeyError" in problem["detail"]
    assert "secret" not in str(problem)


@pytest.mark.parametrize(("ttl", "silence"), [(60, 50), (30, 20), (15, 10), (3, 2)])
def test_a_job_is_killed_before_its_lease_ends(ttl: int, silence: int) -> None:
    assert longest_silence(timedelta(seconds=ttl)) == timedelta(seconds=silence)


def outage() -> OperationalError:
    return OperationalError("SELECT 1", {}, ConnectionError())


def test_an_outage_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.0)
    answers = iter([outage(), outage(), None])

    def action() -> str:
        error = next(answers)
        if error is not None:
            raise error
        return "done"

    assert patiently(action, at_most=timedelta(seconds=60)) == "done"


def test_patience_ends_and_other_errors_get_none() -> None:
    def away() -> None:
        raise outage()

    def wrong() -> None:
        calls.append(1)
        raise ProgrammingError("SELEKT", {}, ValueError())

    calls: list[int] = []
    with pytest.raises(OperationalError):
        patiently(away, at_most=timedelta(0))
    with pytest.raises(ProgrammingError):
        patiently(wrong, at_most=timedelta(seconds=60))
    assert calls == [1]


@pytest.mark.parametrize("module", ["worker.supervisor", "worker.embedded", "worker.listener", "worker.runner"])
def test_nothing_that_claims_or_watches_loads_torch(module: str) -> None:
    program = f"import {module}, sys; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_a_process_whose_parent_is_another_one_ends_at_once() -> None:
    program = "from worker.orphans import die_with_parent; die_with_parent(1 << 30); print('still here')"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout) == (-signal.SIGKILL, "")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("", ""),
        ("app.conf.task_acks_late = True", "Expected task_acks_late to be False"),
        ("app.conf.worker_disable_prefetch = False", "Expected worker_disable_prefetch to be True"),
        ("sys.modules['torch'] = sys", "without torch"),
        ("pool = str", "prefork pool"),
    ],
)
def test_a_celery_worker_that_is_not_as_it_must_be_refuses_to_start(
    monkeypatch: pytest.MonkeyPatch, change: str, words: str
) -> None:
    monkeypatch.setenv("EXPUNGE_REDIS_URL", "redis://127.0.0.1:1/0")
    program = (
        "import sys; from celery.concurrency.prefork import TaskPool as pool\n"
        f"from worker.celery_app import app, find_faults\n{change}\nprint(*find_faults(app, pool))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert words in answer.stdout
    assert bool(answer.stdout.strip()) == bool(words)
