"""Stage 5: a pyramid level for each block pair (sections 6, 8 and 9)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..causal import FREE, block_kinds
from ..config import LEVELS, MaskRatios, PSAConfig
from ..layout import Layout
from ..stages import MASS_UNIT, SUMS
from .pyramid import Pyramid


@dataclass(frozen=True)
class Plan:
    """The level of each block pair, and the mass on each level; see `stages.Plan`."""

    matrix: torch.Tensor
    sums: torch.Tensor
    counted: bool = False

    def levels(self) -> torch.Tensor:
        """int8 `[B, H, query blocks, key blocks]`, see `Stats.levels`."""
        return self.matrix


@torch.no_grad()
def assign_levels(S: torch.Tensor, pyramid: Pyramid, layout: Layout, config: PSAConfig) -> Plan:  # noqa: N803
    """Levels from S `[B, H, video query blocks, video key blocks]`: the larger S, the finer.

    Blocks are ranked by S, largest first, ties by block number. Rows and columns of extra blocks
    are on level 1. Causal: blocks with a key later than the query block's first token are 1, or -1
    if they lie wholly in the future; only the others are counted (topk's N) and ranked.
    """
    kinds = block_kinds(layout, S.device)
    free = kinds == FREE
    # blocks that are not free come last in the order and are overwritten below
    ranked, order = S.masked_fill(~free, -1).sort(dim=-1, descending=True, stable=True)
    if config.mask_mode == "topk":
        by_rank = _by_quota(free.sum(-1), layout.k_blocks, config.mask_ratios)
        by_rank = by_rank.expand(S.shape)
    else:
        by_rank = _by_mass(ranked, config.mask_ratios)
    levels = torch.empty(S.shape, dtype=torch.int8, device=S.device)
    levels.scatter_(-1, order, by_rank)

    if config.tail == "none" and layout.extra == 0 and not layout.causal:
        # a softmax needs a key: a row that keeps nothing keeps its most important block
        # (a causal row always keeps the block that holds its own tokens)
        finest = next(x for x in (1, 2, 4, 8) if config.mask_ratios.width(x) > 0)
        keeps_none = (levels == 0).all(-1, keepdim=True)
        first = order[..., :1]
        kept = torch.where(keeps_none, finest, levels.gather(-1, first)).to(torch.int8)
        levels.scatter_(-1, first, kept)
    if config.use_sim_mask:
        _limit_to_alike(levels, pyramid, layout, config)
    shares = S.masked_fill(~free, 0)
    mass = torch.stack([shares.mul(levels == x).sum(-1) for x in LEVELS], -1)
    sums = _sums_of_mass(mass.float(), layout)
    levels = torch.where(free, levels, kinds)
    extra = (0, layout.k_extra_blocks, 0, layout.q_extra_blocks)
    return Plan(torch.nn.functional.pad(levels, extra, value=1), sums)


def _sums_of_mass(mass: torch.Tensor, layout: Layout) -> torch.Tensor:
    """`Plan.sums` from the mass `[B, H, video query blocks, 5]` on each level; pairs stay 0."""
    queries = torch.full(mass.shape[2:3], layout.m, device=mass.device)
    if layout.q_blocks:
        queries[-1] -= layout.q_blocks * layout.m - layout.q_video
    spoiled = ~mass.isfinite().all(-1)
    kept = mass.masked_fill(spoiled[..., None], 0) * (queries[:, None] / MASS_UNIT)
    sums = torch.zeros(layout.heads, SUMS, dtype=torch.int64, device=mass.device)
    sums[:, 6:11] = kept.round().long().sum((0, 2))
    sums[:, 11] = spoiled.sum((0, 2))
    return sums


def _by_quota(counts: torch.Tensor, blocks: int, ratios: MaskRatios) -> torch.Tensor:
    """int8 `[rows, blocks]`: the level of each rank, for rows of `counts` blocks ("topk")."""
    by_rank = torch.zeros(len(counts), blocks, dtype=torch.int8, device=counts.device)
    for row, count in enumerate(counts.tolist()):
        begin = 0
        for level, quota in ratios.quotas(count).items():
            by_rank[row, begin : begin + quota] = level
            begin += quota
    return by_rank


def _by_mass(ranked: torch.Tensor, ratios: MaskRatios) -> torch.Tensor:
    """int8, shaped as `ranked` (S, largest first): the level of each rank ("thresholdbound").

    A block takes the first level whose upper bound is > the mass before it. The mass is summed in
    float64. If rounding leaves no bound above it, the block takes the last level that has a width.
    """
    taking = [(level, upper) for level, upper in ratios.uppers() if ratios.width(level) > 0]
    # the MPS device has no float64
    mass = ranked.to("cpu" if ranked.device.type == "mps" else ranked.device, torch.float64)
    before = mass.cumsum(-1).roll(1, -1)
    before[..., :1] = 0
    by_rank = torch.full(ranked.shape, taking[-1][0], dtype=torch.int8, device=before.device)
    for level, upper in reversed(taking[:-1]):
        by_rank[before < upper] = level
    return by_rank.to(ranked.device)


def _limit_to_alike(
    levels: torch.Tensor, pyramid: Pyramid, layout: Layout, config: PSAConfig
) -> None:
    """A kept block's level becomes min(level, allowed); level 0 stays 0. Changes `levels`."""
    for b in range(layout.batch):
        for kv_head in range(layout.kv_heads):
            allowed = pyramid.allowed_levels(b, kv_head, config.sim_thresholds)
            for head in range(layout.heads):
                if layout.kv_head(head) == kv_head:
                    levels[b, head] = levels[b, head].minimum(allowed)
