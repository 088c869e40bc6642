"""Launching the attention on Hopper."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from triton.experimental.gluon.language import NVMMASharedLayout
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from .jobs import CHUNK, LINE, D, N
from .kernel import hopper_kernel

# of the compile-time arguments of `attend_kernel`, those that this kernel has too
CONSTANTS = (
    "HEAD_DIM", "TAIL", "LISTED", "POOLED", "SPREAD", "NEGATIVE", "INT8", "ORDERED",
)  # fmt: skip


def launch(
    q: torch.Tensor,
    out: torch.Tensor,
    order: tuple,
    tiles: tuple[torch.Tensor, ...],
    rest: tuple,
    blocks: tuple[int, int],
    constants: Mapping[str, Any],
    depth: int,
):
    """Returns the compiled kernel.

    order   (tensor, batch stride, head stride)
    tiles   keys and values of level 1, then the pooled ones, `[B, Hkv, rows, 128]`
    rest    what follows `total` in the order of `hopper_kernel`
    blocks  query blocks of a head, heads
    depth   of the rings of tiles
    """
    total = blocks[0] * blocks[1]
    full_k, full_v, pooled_k, pooled_v = tiles
    return hopper_kernel[(min(total, _multiprocessors(q.device)),)](
        q, *q.stride(), *order, out, *out.stride(),
        _panels(full_k, N.value), _panels(full_v, N.value),
        _panels(pooled_k, CHUNK.value), _panels(pooled_v, CHUNK.value),
        _panels(pooled_k, N.value), _panels(pooled_v, N.value), blocks[0], total, *rest,
        **{name: constants[name] for name in CONSTANTS}, STAGES=depth, num_warps=4,
    )  # fmt: skip


def _panels(rows: torch.Tensor, count: int) -> TensorDescriptor:
    """A descriptor that copies `count` rows of contiguous `rows`, 128 bytes of each at a time."""
    size = rows.element_size()
    return TensorDescriptor(
        rows, [rows.numel() // D.value, D.value], [D.value, 1], [count, LINE.value // size],
        _swizzled(8 * size),
    )  # fmt: skip


@lru_cache(maxsize=4)
def _swizzled(bits: int) -> NVMMASharedLayout:
    return NVMMASharedLayout(swizzle_byte_width=LINE.value, element_bitwidth=bits, rank=2)


@lru_cache(maxsize=16)
def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count
