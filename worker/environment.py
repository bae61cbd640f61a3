"""The machine under the mathematics: device, threads, and what is recorded so that a result can be made again."""

import os
import platform
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from core.errors import ServiceError
from core.settings import Settings


class DeviceMissing(ServiceError):
    """The operator asked for a GPU and this worker has none."""

    slug = "device-missing"
    title = "The worker has no such device"


def prepare(settings: Settings) -> torch.device:
    """Fix threads and kernels for this process, and choose the device.

    Raises:
        DeviceMissing: CUDA is asked for and not there.
    """
    torch.set_num_threads(settings.torch_threads or _cores())
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    if settings.device == "cpu":
        return torch.device("cpu")
    # cuBLAS reads this from the C environment when it starts; without it its results differ from run to run.
    os.putenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if torch.cuda.is_available():
        torch.use_deterministic_algorithms(True, warn_only=True)
        return torch.device("cuda")
    if settings.device == "cuda":
        msg = "Expected a CUDA device on this worker, got none; set EXPUNGE_DEVICE to auto or cpu, or add a GPU."
        raise DeviceMissing(msg)
    return torch.device("cpu")


def describe(device: torch.device, *, seed: int) -> dict[str, Any]:
    """What the same result depends on, beside the inputs; no host name."""
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "seed": seed,
        "platform": f"{platform.system()}-{platform.machine()}",
        "processor": _processor(),
    }


def peak_memory_bytes() -> int:
    """The most memory that this process had resident so far; of a job's own process, what the job needed."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # getrusage(2): kilobytes, but bytes on macOS


def _processor() -> str:
    """Its name and instruction set: the libraries choose their kernels, and so the order of sums, by them."""
    name = platform.machine()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def _cores() -> int:
    """The cores this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
