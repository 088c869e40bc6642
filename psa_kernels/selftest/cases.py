"""Small calls that use every feature once."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from ..config import PSAConfig
from ..layout import Layout
from ..reference import reorder

GRID = (5, 10, 11)  # 550 tokens: the last block is short at every block size
# keys that are constant over groups of this many are pooled without loss by every level used here
LOSSLESS = 64

DROPPING = {1: (0, 0.2), 2: (0.2, 0.4), 4: (0.4, 0.4), 8: (0.4, 0.7), 0: (0.7, 1)}
POOLING = {1: (0, 0.2), 2: (0.2, 0.3), 4: (0.3, 0.5), 8: (0.5, 0.7), 0: (0.7, 1)}
COVERING = {1: (0, 0.5), 2: (0.5, 0.6), 4: (0.6, 0.7), 8: (0.7, 0.8), 0: (0.8, 1)}


@dataclass(frozen=True)
class Case:
    """One configuration and the call around it; `extra` tokens before and after the video."""

    label: str
    settings: dict = field(default_factory=dict)
    extra: tuple[int, int] = (0, 0)
    causal: bool = False
    heads: int = 2
    kv_heads: int = 2
    batch: int = 1

    @property
    def config(self) -> PSAConfig:
        return PSAConfig(**self.settings)

    @property
    def lossless(self) -> bool:
        """Whether it must equal dense attention where keys are constant over groups."""
        return self.config.tail != "none"


OLD = {"attn_impl": "old_mask_type", "block_n": 128}
BASE = Case(
    "tail and second moment",
    {"block_n": 128, "mask_ratios": POOLING, "tail": 32, "second_moment": True},
)
# blocks of two runs of equal keys: a group that mixes them is a loss
ALIKE = Case(
    "like keys together, Gilbert order",
    {**BASE.settings, "rearrange_method": "Gilbert", "grouping": "similar"},
    extra=(0, 5),
)
FEATURES = (
    Case("fixed shares (topk)", {"mask_ratios": DROPPING}),
    Case("mass thresholds", {
        "block_n": 128, "mask_mode": "thresholdbound", "mask_ratios": COVERING, "tail": 64}),
    BASE,
    Case("second moment without a tail", {"mask_ratios": DROPPING, "second_moment": True}),
    Case("query blocks of 64, key blocks of 32", {
        "block_m": 64, "block_n": 32, "tile_n": 16, "mask_ratios": POOLING, "tail": 8}),
    Case("tail of a whole block", {"mask_ratios": POOLING, "tail": 64}, batch=2, heads=1,
         kv_heads=1),
    Case("extra tokens on both sides", {"mask_ratios": POOLING, "tail": 16}, extra=(7, 70)),
    Case("Gilbert order", {"rearrange_method": "Gilbert", "mask_ratios": POOLING, "tail": 32},
         extra=(0, 5)),
    ALIKE,
    Case("STA order", {
        "rearrange_method": "STA", "tile_size": (2, 4, 4), "mask_ratios": POOLING, "tail": 8}),
    Case("semantic order", {"rearrange_method": "SemanticAware", "mask_ratios": DROPPING}),
    Case("hybrid order", {"rearrange_method": "Hybrid", "mask_ratios": DROPPING}),
    Case("similarity mask", {
        **OLD, "use_sim_mask": True, "sim_2x_threshold": 0.2, "sim_4x_threshold": 0.3,
        "sim_8x_threshold": 0.35, "mask_ratios": POOLING, "tail": 64}),
    Case("causal", {**OLD, "mask_ratios": POOLING, "tail": 32}, causal=True),
    Case("grouped queries", {"mask_ratios": POOLING, "tail": 32}, heads=4),
    Case("exact importance", {"importance": "exact", "mask_ratios": DROPPING}),
)  # fmt: skip

# what shipped presets are made of
USUAL = (BASE, ALIKE)


@dataclass(frozen=True)
class Call:
    """q, k, v and what `run_stages` wants beside them."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    layout: Layout
    config: PSAConfig
    scale: float


def make_call(
    case: Case, device: torch.device, dtype: torch.dtype, dim: int, lossless: bool = False
) -> Call:
    """Inputs of `case`: neighbours alike, or with `lossless` keys and values equal in groups.

    `lossless` takes a case whose order does not depend on the inputs.
    """
    generator = torch.Generator().manual_seed(dim)
    tokens = GRID[0] * GRID[1] * GRID[2] + sum(case.extra)

    def draw(heads: int, group: int, noise: float) -> torch.Tensor:
        shape = (case.batch, heads, -(-tokens // group), dim)
        coarse = torch.randn(shape, generator=generator).repeat_interleave(group, 2)[:, :, :tokens]
        return coarse + noise * torch.randn(coarse.shape, generator=generator)

    q = draw(case.heads, 16, 0.7).to(device, dtype)
    k, v = (draw(case.kv_heads, 8, 0.7).to(device, dtype) for _ in range(2))
    layout = Layout.of(q, k, v, case.config, grid=GRID, extra_tokens=case.extra, causal=case.causal)
    if lossless:
        order = reorder(q, k, layout, case.config).k
        video = torch.arange(layout.k_video, device=device) if order is None else order[0, 0]
        start = torch.arange(layout.k_video, device=device) // LOSSLESS * LOSSLESS
        for x in (k, v):
            grid_part = x[:, :, layout.before : layout.before + layout.k_video]
            grid_part[:, :, video] = grid_part[:, :, video[start]]
    return Call(q, k, v, layout, case.config, dim**-0.5)
