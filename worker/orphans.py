"""A job's process must not outlive its supervisor: nobody would renew its lease, and it would hold the GPU for nothing.

Imported before anything heavy, so that even a process that is still loading dies with its parent.
"""

import ctypes
import os
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1
WATCH_SECONDS = 0.5


def die_with_parent(parent: int) -> None:
    """From now on, SIGKILL this process as soon as the process `parent` is gone.

    Linux does it in the kernel, when the thread that started us ends (so supervisors start us from their main thread).
    Elsewhere a thread watches. A parent that died before this call is noticed by its id.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        _die()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
