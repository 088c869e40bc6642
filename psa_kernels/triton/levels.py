"""Stage 5: a level for each block pair, and the lists that the attention reads (sections 6, 8, 9);
the CPU side."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import torch
import triton

from ..causal import FREE, block_kinds
from ..config import PSAConfig
from ..layout import Layout
from ..stages import SUMS
from .levels_kernel import levels_kernel
from .pyramid import Pyramid
from .support import MOST_KEY_BLOCKS

POOLED = (2, 4, 8)


@dataclass(frozen=True)
class Plan:
    """What each video query block reads. The lists have a row for each `[B, H, query block]`.

    matrix    int8 `[B, H, query blocks, key blocks]`: levels of the video blocks
    full      int32 `[..., capacity]`: numbers of blocks on level 1, ascending
    chunks    int32 `[..., capacity]`: what to read of levels 2, then 4, then 8, in chunks of n/8
              pooled rows
    counts    int32 `[..., 4]`: valid entries of `full`, ends of the three levels in `chunks`
    coarse    int32 `[..., words]`: one bit per block, set on level 0
    sums, counted  see `stages.Plan`

    The lists and `coarse` only hold whole blocks, and no block under a causal mask. A short last
    block, whose groups have several sizes, is read separately.
    """

    matrix: torch.Tensor
    full: torch.Tensor
    chunks: torch.Tensor
    counts: torch.Tensor
    coarse: torch.Tensor
    sums: torch.Tensor
    layout: Layout

    @property
    def counted(self) -> bool:
        return not self.layout.causal

    def levels(self) -> torch.Tensor:
        """int8 `[B, H, query blocks, key blocks]`, see `Stats.levels`."""
        extra = (0, self.layout.k_extra_blocks, 0, self.layout.q_extra_blocks)
        return torch.nn.functional.pad(self.matrix, extra, value=1)


def assign_levels(S: torch.Tensor, pyramid: Pyramid, layout: Layout, config: PSAConfig) -> Plan:
    """Levels and lists from S `[B, H, video query blocks, video key blocks]`, float32."""
    batch, heads, rows, blocks = S.shape
    full_most, chunks_most = capacities(blocks, config)

    def lists(size, dtype=torch.int32):
        return torch.empty(batch, heads, rows, size, dtype=dtype, device=S.device)

    matrix = torch.empty(S.shape, dtype=torch.int8, device=S.device)
    # at least 128: the attention may read four words of `coarse` at once
    width = max(128, triton.next_power_of_2(max(1, blocks)))
    plan = Plan(
        matrix, lists(full_most), lists(chunks_most), lists(4), lists(width // 32),
        torch.zeros(heads, SUMS, dtype=torch.int64, device=S.device), layout,
    )  # fmt: skip
    if S.numel() == 0:
        plan.sums[:, 5] = batch * layout.extra * layout.k_len
        return plan
    assert blocks <= MOST_KEY_BLOCKS, blocks
    taking = [level for level in config.mask_ratios if config.mask_ratios.width(level) > 0]
    topk = config.mask_mode == "topk"
    # quotas can end before the last block, which is then skipped; masses cannot
    last = 0 if topk else taking.pop()
    ranked = [level for level in taking if level != 0]
    ranked += [-1] * (4 - len(ranked))
    uppers = dict(config.mask_ratios.uppers())
    ends = quota_ends(blocks, config)
    table = matrix
    if layout.causal and topk:
        table = _causal_ends(ranked, layout, config, S.device)
    # a causal row always keeps the block that holds its own tokens
    keeps = config.tail == "none" and layout.extra == 0 and not layout.causal
    levels_kernel[(rows, batch * heads)](
        S, matrix, plan.full, plan.chunks, plan.counts, plan.coarse,
        plan.sums, table,
        pyramid.allowed if pyramid.allowed is not None else matrix,
        heads, heads // layout.kv_heads, blocks, layout.q_video, layout.k_video, layout.extra,
        full_most, chunks_most,
        *(ends.get(level, 0) for level in ranked), *(uppers.get(level, 0.0) for level in ranked),
        *(pyramid.starts.get(level, 0) // (layout.n // 8) for level in POOLED),
        WIDTH=width, LEVEL_A=ranked[0], LEVEL_B=ranked[1], LEVEL_C=ranked[2], LEVEL_D=ranked[3],
        LAST=last, TOPK=topk, CAUSAL=layout.causal, M=layout.m, N=layout.n,
        KEEP=next((x for x in taking if x), 0) if keeps else 0, ALIKE=pyramid.allowed is not None,
        TAIL=0 if config.tail == "none" else config.tail, FEW=blocks < 1024,
        LISTED=sum(listed_levels(config)),
        # up to 16 blocks per thread; more only in rows of more than 8,192
        num_warps=min(16, max(1, width // 512)),
    )  # fmt: skip
    return plan


@lru_cache(maxsize=256)
def listed_levels(config: PSAConfig) -> tuple[int, ...]:
    """The pooling levels that a block can be on."""
    widths = config.mask_ratios
    # blocks whose keys are not alike enough go to a finer level
    return tuple(
        size for size in POOLED
        if widths.width(size) > 0
        or (config.use_sim_mask and any(widths.width(x) > 0 for x in POOLED if x > size))
    )  # fmt: skip


@lru_cache(maxsize=256)
def quota_ends(blocks: int, config: PSAConfig) -> Mapping[int, int]:
    """level -> the rank among `blocks` blocks at which it ends ("topk")."""
    quotas = config.mask_ratios.quotas(blocks)
    ends = zip(quotas, itertools.accumulate(quotas.values()), strict=True)
    return MappingProxyType(dict(ends))


@lru_cache(maxsize=256)
def capacities(blocks: int, config: PSAConfig) -> tuple[int, int]:
    """The most entries that the lists of one query block can have: (full, chunks).

    The r blocks with the most mass hold at least r/N of it, so a bound on mass also bounds their
    number.
    """
    topk = config.mask_mode == "topk"
    ends = quota_ends(blocks, config)
    taken = {}
    for level, upper in config.mask_ratios.uppers():
        by_mass = min(blocks, math.ceil(upper * blocks * 1.0001) + 1)
        taken[level] = ends[level] if topk else by_mass
    full = taken.get(1, 0)
    begin = full if topk else 0
    chunks = 0
    kept = full
    for level in POOLED:
        if level in taken and config.mask_ratios.width(level) > 0:
            chunks += (8 // level) * max(0, taken[level] - begin)
            begin = kept = taken[level]
    if config.use_sim_mask:
        full, chunks = kept, 4 * kept
    # one block may be kept beyond the quotas; a ROCm or CUDA pointer needs memory behind it
    return max(full, 1), max(chunks, 4)


def _causal_ends(
    ranked: list[int], layout: Layout, config: PSAConfig, device: torch.device
) -> torch.Tensor:
    """int32 `[query blocks, 4]`: `quota_ends` among the free blocks of each row."""
    counts = (block_kinds(layout, device) == FREE).sum(-1).double()
    ends = {}
    begin = torch.zeros_like(counts)
    for level, upper in config.mask_ratios.uppers():
        end = torch.floor(upper * counts + 1e-6)
        if level == 1 and config.mask_ratios.width(1) > 0:
            end = end.clamp(min=1)
        begin = ends[level] = torch.maximum(begin, end)
    return torch.stack([ends.get(level, counts) for level in ranked], 1).int()
