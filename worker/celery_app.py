"""The Celery application of the workers.

Started by
`celery -A worker.celery_app worker -P prefork -c 1 -Q gpu --without-gossip --without-mingle --without-heartbeat`.

Celery is a doorbell: its processes claim, watch and kill, and never load torch.
"""

import os
import re
import sys
from contextlib import suppress
from importlib.metadata import version
from typing import Any

import billiard  # type: ignore[import-untyped]
from celery import Celery
from celery.concurrency import prefork
from celery.signals import worker_init, worker_process_init, worker_shutting_down

from core import log
from core.dispatch import celery_settings
from core.settings import get_settings
from worker.listener import GIVE_BACK

FLOOR = (5, 7)
"""Celery and kombu before this lose messages with `worker_disable_prefetch`."""

_log = log.get_logger("celery")

app = Celery("expunge", include=["worker.tasks"])
app.conf.update(celery_settings(get_settings()))


def find_faults(celery: Celery, pool: type | None = prefork.TaskPool) -> list[str]:
    """What would make this worker unsafe: settings that did not arrive, an old release, torch in the wrong process."""
    faults = [
        f"Expected {name} to be {wanted!r}, got {celery.conf[name]!r}."
        for name, wanted in celery_settings(get_settings()).items()
        if name not in ("broker_url", "task_queues") and celery.conf[name] != wanted
    ]
    for package in ("celery", "kombu"):
        found = version(package)
        if tuple(int(number) for number in re.findall(r"\d+", found)[:2]) < FLOOR:
            faults.append(f"Expected {package} of at least {FLOOR[0]}.{FLOOR[1]}, got {found}.")
    if "torch" in sys.modules:
        faults.append("Expected a worker without torch, got one that has loaded it; only a job's own process may.")
    if pool is not prefork.TaskPool:
        faults.append(f"Expected the prefork pool, got {pool}.")
    return faults


@worker_init.connect  # type: ignore[untyped-decorator]
def refuse_to_start(sender: Any, **_more: Any) -> None:
    """Stop before the first job if anything is not as it must be."""
    log.configure(process="celery")
    faults = find_faults(sender.app, sender.pool_cls)
    if faults:
        raise SystemExit("\n".join(faults))


@worker_process_init.connect  # type: ignore[untyped-decorator]
def make_listener(**_more: Any) -> None:
    """Each process of the pool has its own claims, its own connections and its own process kept ready."""
    from worker.tasks import listen  # noqa: PLC0415 it imports this module

    listen().warm_up()


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def give_back(**_more: Any) -> None:
    """Have running jobs given back at once: others take them over while this worker winds down."""
    for child in billiard.active_children():
        with suppress(ProcessLookupError):
            os.kill(child.pid, GIVE_BACK)
