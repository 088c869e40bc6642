"""The attention mass of blocks: as the importance estimator has it, and summed up."""

from __future__ import annotations

import torch
from torch.nn import functional

from psa_kernels import PSAConfig
from psa_kernels.layout import Layout
from psa_kernels.reference import build_pyramid, importance, reorder


class Call:
    """q and k `[1, H, L, D]` with the stages up to the importance, in the torch reference."""

    def __init__(self, q: torch.Tensor, k: torch.Tensor, grid, order: str, n: int):
        self.q, self.k = q, k
        self.config = PSAConfig(rearrange_method=order, block_n=n, tile_n=32)
        self.layout = Layout.of(q, k, k, self.config, grid=grid)
        self.orders = reorder(q, k, self.layout, self.config)
        self.pyramid = build_pyramid(k, k, self.orders, self.layout, self.config)
        self.scale = q.shape[-1] ** -0.5

    def mass(self) -> torch.Tensor:
        """S `[1, H, query blocks, key blocks]`."""
        stages = self.pyramid, self.orders, self.layout, self.config
        return importance(self.q, *stages, self.scale)


def by_block(mass: torch.Tensor, size: int) -> torch.Tensor:
    """`[..., blocks]`: the sums of `size` consecutive entries of `mass` `[..., L]`."""
    padded = functional.pad(mass, (0, -mass.shape[-1] % size))
    return padded.unflatten(-1, (-1, size)).sum(-1)


def needed(mass: torch.Tensor, held: float) -> torch.Tensor:
    """`[...]`: how much of the blocks of `mass` `[..., blocks]`, largest first, hold `held`, in
    shares of their number."""
    ranked = mass.sort(dim=-1, descending=True).values
    return (ranked.cumsum(-1) - ranked < held).float().mean(-1)
