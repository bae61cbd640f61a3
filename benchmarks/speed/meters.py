"""Seconds and peak memory of a piece of work."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Return the seconds that `work` took, to the last kernel, and its result."""
    _settle()
    began = time.perf_counter()
    result = work()
    _settle()
    return time.perf_counter() - began, result


class Split:
    """Seconds from when this was made to the last step of one stage, as the engine's `progress` tells it."""

    def __init__(self, stage: str) -> None:
        self._stage, self._began = stage, time.perf_counter()
        self.seconds = 0.0

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Take the time, to the last kernel, when the stage is done."""
        if stage == self._stage and done == total:
            _settle()
            self.seconds = time.perf_counter() - self._began


def best(work: Callable[[], object], times: int = 3) -> float:
    """Return the least seconds of several runs, after one that is not counted."""
    work()
    return min(timed(work)[0] for _ in range(times))


class PeakMemory:
    """Most memory in use since this was made, beyond what was in use then, in MB; None where it cannot be known.

    On Linux the kernel keeps the peak of the resident size, and resets it when asked.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device) / 1e6
        elif _CLEAR.exists():
            _CLEAR.write_text("5")
            self._before = _resident_mb("VmRSS")

    def extra_mb(self) -> float | None:
        """Return the peak."""
        if self._device.type == "cuda":
            return round(torch.cuda.max_memory_allocated(self._device) / 1e6 - self._before, 1)
        return round(_resident_mb("VmHWM") - self._before, 1) if _CLEAR.exists() else None


def _resident_mb(name: str) -> float:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024 / 1e6


def _settle() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
