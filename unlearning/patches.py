"""The rows a layer really multiplies: features of a Linear, patches of a convolution's real, padded input."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearning.errors import ShapeError

# Rows are copied out in pieces of at most this many numbers (64 MiB of float32), so that one large image stays
# affordable.
_MAX_NUMBERS = 1 << 24


def num_rows(module: nn.Module, inputs: Tensor) -> int:
    """Return how many rows `rows_of` could give: positions times samples."""
    if isinstance(module, nn.Conv2d):
        view = _patch_view(module, inputs)
        return view.shape[0] * view.shape[2] * view.shape[3]
    return inputs.numel() // inputs.shape[-1]


def rows_of(module: nn.Module, inputs: Tensor, index: Tensor | None) -> Iterator[Tensor]:
    """Yield the rows that `module` multiplies with its weight, in pieces.

    A row index counts samples first, then positions (row by row of the output map). The patches are strided views of
    the padded input, as the convolution sees it, so a sampled patch costs only its own copy, and none is cut at a
    crop's edge.

    Args:
        module: An `nn.Linear` or `nn.Conv2d`.
        inputs: What the module was called with: (..., d), or (B, c_in, H, W), or (c_in, H, W).
        index: Row numbers to take, int64 (r,), or None for all.

    Yields:
        Rows of shape (n, groups, d), in the dtype and on the device of `inputs`.
    """
    if isinstance(module, nn.Conv2d):
        yield from _conv_rows(module, inputs, index)
        return
    flat = inputs.reshape(-1, 1, inputs.shape[-1])
    if index is not None:
        yield flat[index]
        return
    step = max(1, _MAX_NUMBERS // flat.shape[-1])
    for start in range(0, len(flat), step):
        yield flat[start : start + step]


def _conv_rows(module: nn.Conv2d, inputs: Tensor, index: Tensor | None) -> Iterator[Tensor]:
    view = _patch_view(module, inputs)
    batch, channels, height, width, kh, kw = view.shape
    if index is None:
        index = torch.arange(batch * height * width, device=inputs.device)
    step = max(1, _MAX_NUMBERS // (channels * kh * kw))
    for start in range(0, len(index), step):
        part = index[start : start + step]
        sample, position = part // (height * width), part % (height * width)
        rows = view[sample, :, position // width, position % width]
        yield rows.reshape(len(part), module.groups, -1)


def _patch_view(module: nn.Conv2d, inputs: Tensor) -> Tensor:
    """Return all patches of the padded input as a view (B, c_in, H_out, W_out, kh, kw)."""
    if inputs.ndim == 3:
        inputs = inputs.unsqueeze(0)
    if inputs.ndim != 4:
        raise ShapeError("a convolution's input", "(B, c_in, H, W) or (c_in, H, W)", inputs.shape)
    view = _padded(module, inputs)
    for axis in (0, 1):
        span = (module.kernel_size[axis] - 1) * module.dilation[axis] + 1
        view = view.unfold(2 + axis, span, module.stride[axis])
    return view[..., :: module.dilation[0], :: module.dilation[1]]


def _padded(module: nn.Conv2d, inputs: Tensor) -> Tensor:
    margins = [
        margin for axis in (1, 0) for margin in _margins(module, axis)
    ]  # functional.pad wants the last axis first
    if not any(margins):
        return inputs
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return functional.pad(inputs, margins, mode=mode)


def _margins(module: nn.Conv2d, axis: int) -> tuple[int, int]:
    """Return the padding before and after one axis; 'same' puts the odd cell after, as PyTorch does."""
    if module.padding == "valid":
        return (0, 0)
    if module.padding == "same":
        total = module.dilation[axis] * (module.kernel_size[axis] - 1)
        return (total // 2, total - total // 2)
    return (int(module.padding[axis]), int(module.padding[axis]))
