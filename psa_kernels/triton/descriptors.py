"""Tiles of stored rows as TMA descriptors, if the GPU and the installed Triton have them."""

from __future__ import annotations

from functools import lru_cache

import torch

try:
    from triton.tools.tensor_descriptor import TensorDescriptor
except ImportError:  # Triton before 3.4
    TensorDescriptor = None


@lru_cache(maxsize=16)
def has_tma(device: torch.device) -> bool:
    """Whether kernels on `device` may load tiles through descriptors."""
    if TensorDescriptor is None or device.type != "cuda" or torch.version.hip:
        return False
    return torch.cuda.get_device_capability(device)[0] >= 9


def row_tiles(rows: torch.Tensor, tile: int, tma: bool):
    """What a kernel uses to load tiles of `tile` rows of contiguous `rows` `[..., DP]`.

    A descriptor, or the tensor itself for plain pointers. To the descriptor, the rows of all heads
    are one sequence: a tile past the end of one head holds rows of the next, never garbage.
    """
    if not tma:
        return rows
    width = rows.shape[-1]
    return TensorDescriptor(rows, [rows.numel() // width, width], [width, 1], [tile, width])
