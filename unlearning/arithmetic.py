"""The processor's best single precision: twice as fast on some machines, and not a digit less.

PyTorch multiplies float32 matrices on the CPU with one library and convolves with another (oneDNN). Where the first
does not use the processor's widest vectors (AVX-512 on AMD), the second is twice as fast at the same precision, and
PyTorch goes there as soon as it is allowed to round to bfloat16. Processors with tiles for bfloat16 would then really
round. So the permission is given only where a product made with it is, in fact, one of single precision: this is
measured, once per process, not looked up in a list of processors.

A caller may allow a model less precision, by autocast or TF32. That permission is the model's: its forwards keep it,
and what the engine computes from what it saw does not use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor

_SIZE = 512
MOST_ERROR = 1e-6
"""Of the product's norm. Single precision gives about 1e-7, bfloat16 about 1e-3."""


@contextmanager
def swift_products() -> Iterator[None]:
    """Make the CPU's float32 products by the faster library, if its products are of single precision here.

    The setting belongs to the whole process and is put back at the end. Other devices and other types are not affected.
    """
    backend = _products()
    before = backend.fp32_precision
    if before == "bf16" or not _is_exact():
        yield
        return
    backend.fp32_precision = "bf16"
    try:
        yield
    finally:
        backend.fp32_precision = before


@contextmanager
def full_precision() -> Iterator[None]:
    """Make products in the precision of their operands: without autocast, and without TF32 on a CUDA device.

    Both settings are put back at the end. Autocast belongs to the thread, TF32 to the whole process.
    """
    with ExitStack() as stack:
        for device in ("cpu", "cuda"):
            stack.callback(torch.set_autocast_enabled, device, torch.is_autocast_enabled(device))
            torch.set_autocast_enabled(device, False)
        backend: Any = torch.backends.cuda.matmul
        # Not `allow_tf32`, which refuses to be read once anybody has used the newer name.
        if backend.fp32_precision == "tf32":
            stack.callback(setattr, backend, "fp32_precision", "tf32")
            backend.fp32_precision = "ieee"
        yield


@contextmanager
def fresh_casts() -> Iterator[None]:
    """Let autocast, if it is on, cast a weight whenever it is used, so that each cast can be seen and none is stale."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


def _products() -> Any:
    module: Any = torch.backends.mkldnn  # an object in a module's place, which type checkers cannot look into
    return module.matmul


@cache
def _is_exact() -> bool:
    """Whether a float32 product keeps its precision when bfloat16 is allowed."""
    if not torch.backends.mkldnn.is_available():
        return False
    generator = torch.Generator("cpu").manual_seed(0)
    a, b = (torch.randn(_SIZE, _SIZE, generator=generator, dtype=torch.float32, device="cpu") for _ in range(2))
    backend = _products()
    before = backend.fp32_precision
    try:
        backend.fp32_precision = "bf16"
        with full_precision():
            products = [a @ b, torch.zeros_like(a)[None].baddbmm_(a[None], b[None])[0]]
    finally:
        backend.fp32_precision = before
    exact = a.double() @ b.double()
    return all(relative_error(product, exact) <= MOST_ERROR for product in products)


def relative_error(product: Tensor, exact: Tensor) -> float:
    """Return the Frobenius norm of the difference, as a share of that of `exact` (float64)."""
    return float((product.double() - exact).norm() / exact.norm())
