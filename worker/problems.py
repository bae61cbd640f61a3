"""How an attempt went wrong, as problems fit for the caller: what happened, and nothing of our insides."""

import signal
from datetime import timedelta

from core.errors import Problem
from core.requests.claims import Lease


def died(lease: Lease, exit_code: int) -> Problem:
    """The process ended without a result."""
    extension: dict[str, str | int]
    if exit_code < 0:
        name = _signal_name(-exit_code)
        hint = " The system may have run out of memory." if -exit_code == signal.SIGKILL else ""
        how, extension = f"was killed by {name}.{hint}", {"signal": name}
    else:
        how, extension = f"ended with exit code {exit_code} and without a result.", {"exit_code": exit_code}
    return {
        "slug": "runner-died",
        "title": "The job's process died",
        "detail": f"In attempt {lease.attempt} the job's process {how}",
        **extension,
    }


def overdue(lease: Lease, deadline: timedelta) -> Problem:
    """The attempt took longer than the operator allows."""
    seconds = deadline.total_seconds()
    return {
        "slug": "deadline-exceeded",
        "title": "The job took too long",
        "detail": f"Expected attempt {lease.attempt} to end within {seconds:g} s; it was stopped then.",
        "deadline_seconds": seconds,
    }


def unexpected(lease: Lease, error: BaseException) -> Problem:
    """An error that nobody foresaw; its traceback is in the worker's log and nowhere else."""
    return {
        "slug": "unexpected-error",
        "title": "The job broke",
        "detail": f"Attempt {lease.attempt} broke off with an unexpected {type(error).__name__}; "
        "the worker's log says more.",
    }


def out_of_memory(lease: Lease) -> Problem:
    """The device or the machine could not hold the work."""
    return {
        "slug": "out-of-memory",
        "title": "Out of memory",
        "detail": f"Attempt {lease.attempt} needed more memory than the worker has; "
        "fewer samples or rows need less, or use a larger worker.",
    }


def disk_full(lease: Lease) -> Problem:
    """The store, or the folder for temporary files, is full."""
    return {
        "slug": "disk-full",
        "title": "The disk is full",
        "detail": f"Attempt {lease.attempt} could not write its files, because the disk is full; "
        "nothing of them is left.",
    }


def not_started(lease: Lease) -> Problem:
    """The system gave us no process."""
    return {
        "slug": "runner-not-started",
        "title": "The job's process could not be started",
        "detail": f"In attempt {lease.attempt} the system refused to start the job's process; "
        "the worker's machine may be out of memory or of processes.",
    }


def refused_by_engine(error: Exception) -> Problem:
    """The mathematics refuses this input; trying again would end the same."""
    return {"slug": "unlearning-refused", "title": "The engine refused", "detail": str(error)}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
