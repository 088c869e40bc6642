"""Channels so far apart that the way from the first to the last one needs 64 bits.

As a program, which needs TRITON_INTERPRET=1 and no GPU.
"""

from __future__ import annotations

import importlib
import sys

import numpy as np
import torch

if __name__ == "__main__":
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    from tests import pack_import

    pack_import.install()
    __package__ = "psa_pack.tests.kernels.triton"

import psa_kernels.triton as line
from psa_kernels import PSAConfig
from psa_kernels.layout import Layout
from psa_kernels.order_state import OrderState

from . import check

GRID = (5, 8, 10)
RATIOS = {1: (0, 0.3), 8: (0.3, 0.6), 0: (0.6, 1)}
SETTINGS = {"block_n": 128, "tail": 64, "second_moment": True, "mask_ratios": RATIOS}
CONFIGS = (
    PSAConfig(**SETTINGS, rearrange_method="Gilbert", grouping="similar"),
    PSAConfig(**SETTINGS, rearrange_method="SemanticAware"),
    PSAConfig(**SETTINGS, rearrange_method="Gilbert", qk="int8"),
)


def check_far_channels(device: str, dtype: torch.dtype, dim: int) -> None:
    """The result of tensors that lie close together.

    Not its bits: strides that are no ones are other code, whose sums have another order. A channel
    from elsewhere would be off by a tenth or more.
    """
    rng = torch.Generator().manual_seed(0)
    near = torch.randn(3, 1, 1, 400, dim, generator=rng).to(device, dtype)
    *far, out = spread_out(4, 400, dim, near)
    for x, values in zip(far, near, strict=True):
        x.copy_(values)
    assert (dim - 1) * out.stride(3) > 2**31
    for config in CONFIGS:
        wanted = attention(*near, config)
        attention(*far, config, out)
        off = (out.float() - wanted.float()).norm() / wanted.float().norm()
        assert off < 5e-3, (off.item(), config)  # 8e-5 on an H200


def spread_out(count, length, dim, like) -> list[torch.Tensor]:
    """`[1, 1, length, dim]` each, in memory that on a CPU takes room only where it is written."""
    stride = 2**31 // (dim - 1) + count * length
    size = (dim - 1) * stride + count * length
    if like.is_cuda:
        memory = like.new_empty(size)
    else:
        memory = torch.from_numpy(np.zeros(size, np.int16)).view(like.dtype)
    shape, strides = (1, 1, length, dim), (length, length, 1, stride)
    return [memory.as_strided(shape, strides, i * length) for i in range(count)]


def attention(q, k, v, config, out=None):
    layout, scale = Layout.of(q, k, v, config, grid=GRID), q.shape[-1] ** -0.5
    orders = line.reorder(q, k, layout, config, OrderState())
    groups = None
    if config.grouping == "similar":
        groups = line.group_keys(q, k, v, orders, layout, config)
    pyramid, _, plan, _ = check.run(q, k, v, config, layout, orders, scale, groups)
    return line.attend(q, pyramid, plan, orders, layout, config, scale, out=out)


if __name__ == "__main__":
    broken = importlib.import_module("psa_pack.tests.kernels.interpreter").broken()
    if broken:
        sys.exit(broken)
    check_far_channels("cpu", torch.float16, 16)
    print("all good")
