"""The attention mass of blocks: as the importance estimator has it, and summed up."""

from __future__ import annotations

import torch
from torch.nn import functional

from psa_kernels import PSAConfig
from psa_kernels.layout import Layout
from psa_kernels.reference import build_pyramid, importance, reorder
from psa_kernels.stages import Orders


def estimated(
    q: torch.Tensor, k: torch.Tensor, config: PSAConfig, grid: tuple[int, int, int] | None = None
) -> tuple[torch.Tensor, Orders]:
    """(S `[1, H, query blocks, key blocks]`, the orders of the tokens) of q and k `[1, H, L, D]`,
    by the torch reference."""
    layout = Layout.of(q, k, k, config, grid=grid)
    orders = reorder(q, k, layout, config)
    pyramid = build_pyramid(k, k, orders, layout, config)
    return importance(q, pyramid, orders, layout, config, q.shape[-1] ** -0.5), orders


def by_block(mass: torch.Tensor, size: int) -> torch.Tensor:
    """`[..., blocks]`: the sums of `size` consecutive entries of `mass` `[..., L]`."""
    padded = functional.pad(mass, (0, -mass.shape[-1] % size))
    return padded.unflatten(-1, (-1, size)).sum(-1)


def needed(mass: torch.Tensor, held: float) -> torch.Tensor:
    """`[...]`: how much of the blocks of `mass` `[..., blocks]`, largest first, hold `held`, in
    shares of their number."""
    ranked = mass.sort(dim=-1, descending=True).values
    return (ranked.cumsum(-1) - ranked < held).float().mean(-1)
