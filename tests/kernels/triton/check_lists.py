"""Levels and lists of rows that are long or full of ties: for `sweep.py` and a GPU."""

from __future__ import annotations

from types import SimpleNamespace

import torch

import psa_kernels.triton as line
from psa_kernels import PSAConfig, reference
from psa_kernels.layout import Layout

CONFIG = PSAConfig(
    block_n=32, tile_n=16, use_rearrange=False,
    mask_ratios={1: (0, 0.1), 4: (0.1, 0.2), 8: (0.2, 0.5), 0: (0.5, 1)},
)  # fmt: skip
# fewer than 1,024 are counted in words of 32 bits
BLOCKS = (1023, 1024)
POOLED = (2, 4, 8)


def check_long_rows(device):
    for blocks in BLOCKS:
        rng = torch.Generator().manual_seed(0)
        shares = torch.rand(1, 1, 4, blocks, generator=rng)
        # counts are as large as they can be where all shares are equal
        shares[:, :, 1] = 1
        shares[:, :, 2] = shares[:, :, 2].mul(5).floor()
        shares[:, :, 3] = 0
        shares = (shares / blocks).to(device)
        q = torch.empty(1, 1, 4 * CONFIG.block_m, 16, device=device)
        k = torch.empty(1, 1, blocks * CONFIG.block_n, 16, device=device)
        layout = Layout.of(q, k, k, CONFIG)
        wanted = reference.assign_levels(shares, None, layout, CONFIG).levels()
        # of the pyramid: where the chunks of a level begin
        chunks = {size: 8 // size for size in POOLED}
        starts = {2: 0, 4: chunks[2] * blocks, 8: (chunks[2] + chunks[4]) * blocks}
        rows = {size: start * (CONFIG.block_n // 8) for size, start in starts.items()}
        pyramid = SimpleNamespace(allowed=None, starts=rows)
        plan = line.assign_levels(shares, pyramid, layout, CONFIG)
        assert torch.equal(plan.levels(), wanted), blocks
        for row, levels in enumerate(wanted[0, 0].cpu()):
            on = {size: (levels == size).nonzero()[:, 0].tolist() for size in (1, *POOLED)}
            count, *ends = plan.counts[0, 0, row].tolist()
            assert plan.full[0, 0, row, :count].tolist() == on[1]
            listed = []
            for size, end in zip(POOLED, ends, strict=True):
                listed += [
                    starts[size] + block * chunks[size] + chunk
                    for block in on[size]
                    for chunk in range(chunks[size])
                ]
                assert end == len(listed)
            assert plan.chunks[0, 0, row, : len(listed)].tolist() == listed
