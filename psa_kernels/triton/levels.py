"""Stage 4: a level for each block pair, and the lists that the attention reads (sections 6, 8, 9).

One program takes one row of S, whole, in registers (grid: query blocks, batch x heads). Nothing is
sorted: the top r of a row, or the blocks before a mass, end at one value, which is found bit by bit
(float32 >= 0 orders like its bits; a share is below 2, so 30 bits do); blocks of that very value
are taken in the order of their numbers.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from ..causal import FREE, block_kinds
from ..config import PSAConfig
from ..layout import Layout
from .pyramid import Pyramid
from .support import MOST_KEY_BLOCKS

POOLED = (2, 4, 8)


@dataclass(frozen=True)
class Plan:
    """What each video query block reads. Rows of the lists are `[B, H, query blocks]`.

    matrix    int8 `[B, H, query blocks, key blocks]`: levels of the video blocks
    full      int32 `[..., capacity]`: numbers of blocks on level 1, ascending
    chunks    int32 `[..., capacity]`: what to read of levels 2, then 4, then 8, in chunks of n/8
              pooled rows
    counts    int32 `[..., 4]`: valid entries of `full`, ends of the three levels in `chunks`
    coarse    int32 `[..., words]`: one bit a block, set on level 0
    read      int32 `[..., 5]`, mass float32 `[..., 5]`: see `stages.Plan`

    The lists and `coarse` hold whole blocks only, and no block under a causal mask: a ragged last
    block, whose groups are of several sizes, is read by itself.
    """

    matrix: torch.Tensor
    full: torch.Tensor
    chunks: torch.Tensor
    counts: torch.Tensor
    coarse: torch.Tensor
    read: torch.Tensor | None
    mass: torch.Tensor
    layout: Layout

    def levels(self) -> torch.Tensor:
        """int8 `[B, H, query blocks, key blocks]`, see `Stats.levels`."""
        extra = (0, self.layout.k_extra_blocks, 0, self.layout.q_extra_blocks)
        return torch.nn.functional.pad(self.matrix, extra, value=1)


@torch.no_grad()
def assign_levels(S: torch.Tensor, pyramid: Pyramid, layout: Layout, config: PSAConfig) -> Plan:
    """Levels and lists from S `[B, H, video query blocks, video key blocks]`, float32."""
    batch, heads, rows, blocks = S.shape
    full_most, chunks_most = capacities(blocks, config)

    def lists(size, dtype=torch.int32):
        return torch.empty(batch, heads, rows, size, dtype=dtype, device=S.device)

    matrix = torch.empty(S.shape, dtype=torch.int8, device=S.device)
    width = max(128, triton.next_power_of_2(max(1, blocks)))
    plan = Plan(
        matrix, lists(full_most), lists(chunks_most), lists(4), lists(width // 32),
        None if layout.causal else lists(5), lists(5, torch.float32), layout,
    )  # fmt: skip
    if S.numel() == 0:
        return plan
    assert blocks <= MOST_KEY_BLOCKS, blocks
    taking = [level for level in config.mask_ratios if config.mask_ratios.width(level) > 0]
    topk = config.mask_mode == "topk"
    # a quota's ranks can end before the last block, which is then skipped; masses have no such end
    last = 0 if topk else taking.pop()
    ranked = [level for level in taking if level != 0]
    ranked += [-1] * (4 - len(ranked))
    uppers = dict(config.mask_ratios.uppers())
    ends = quota_ends(blocks, config)
    table = matrix
    if layout.causal and topk:
        table = _causal_ends(ranked, layout, config, S.device)
    # a causal row always has the block that holds its own tokens
    keeps = config.tail == "none" and layout.extra == 0 and not layout.causal
    _levels_kernel[(rows, batch * heads)](
        S, matrix, plan.full, plan.chunks, plan.counts, plan.coarse,
        plan.counts if plan.read is None else plan.read, plan.mass, table,
        pyramid.allowed if pyramid.allowed is not None else matrix,
        heads, heads // layout.kv_heads, blocks, layout.k_video, full_most, chunks_most,
        *(ends.get(level, 0) for level in ranked), *(uppers.get(level, 0.0) for level in ranked),
        *(pyramid.starts.get(level, 0) // (layout.n // 8) for level in POOLED),
        WIDTH=width, LEVEL_A=ranked[0], LEVEL_B=ranked[1], LEVEL_C=ranked[2], LEVEL_D=ranked[3],
        LAST=last, TOPK=topk, CAUSAL=layout.causal, M=layout.m, N=layout.n,
        KEEP=next((x for x in taking if x), 0) if keeps else 0, ALIKE=pyramid.allowed is not None,
        TAIL=0 if config.tail == "none" else config.tail,
        num_warps=min(16, max(1, width // 512)),
    )  # fmt: skip
    return plan


def quota_ends(blocks: int, config: PSAConfig) -> dict[int, int]:
    """level -> the rank among `blocks` blocks at which it ends ("topk")."""
    quotas = config.mask_ratios.quotas(blocks)
    return dict(zip(quotas, itertools.accumulate(quotas.values()), strict=True))


def capacities(blocks: int, config: PSAConfig) -> tuple[int, int]:
    """The most entries that the lists of one query block can have: (full, chunks).

    The r blocks of most mass hold at least r/N of it, so a bound on mass is one on their number.
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
    # one block may be kept beyond the quotas; a ROCm or CUDA pointer wants something behind it
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


@triton.jit
def _top(bits, count):
    """Which blocks are the `count` largest; equal ones by number. No bit above the 30th is set."""
    value = tl.full([], 0, tl.int32)
    reached = tl.sum((bits >= 0).to(tl.int32), 0)
    step = tl.full([], 28, tl.int32)
    # two bits a step: the counts above all three candidates travel in one sum
    while (step >= 0) & (reached != count):
        unit = tl.full([], 1, tl.int32) << step
        packed = (bits >= value + unit).to(tl.int64)
        packed += (bits >= value + 2 * unit).to(tl.int64) << 21
        packed += (bits >= value + 3 * unit).to(tl.int64) << 42
        packed = tl.sum(packed, 0)
        one = (packed & 0x1FFFFF).to(tl.int32)
        two = ((packed >> 21) & 0x1FFFFF).to(tl.int32)
        three = (packed >> 42).to(tl.int32)
        reached = tl.where(one >= count, one, reached)
        reached = tl.where(two >= count, two, reached)
        reached = tl.where(three >= count, three, reached)
        digits = (one >= count).to(tl.int32) + (two >= count).to(tl.int32)
        value += unit * (digits + (three >= count).to(tl.int32))
        step -= 2
    above = bits > value
    equal = bits == value
    wanted = count - tl.sum(above.to(tl.int32), 0)
    return above | (equal & (tl.cumsum(equal.to(tl.int32), 0) <= wanted))


@triton.jit
def _before(bits, share, bound):
    """Which blocks have less than `bound` of the mass before them; equal ones come by number."""
    value = tl.full([], 0, tl.int32)
    for step in range(30):
        candidate = value | (1 << (29 - step))
        enough = tl.sum(tl.where(bits >= candidate, share, 0.0), 0) >= bound
        value = tl.where(enough, candidate, value)
    above = bits > value
    equal = bits == value
    mass = tl.sum(tl.where(above, share, 0.0), 0)
    each = tl.sum(tl.where(equal, share, 0.0), 0) / tl.maximum(tl.sum(equal.to(tl.int32), 0), 1)
    ahead = (tl.cumsum(equal.to(tl.int32), 0) - 1).to(tl.float32)
    return above | (equal & (mass + ahead * each < bound))


@triton.jit(do_not_specialize=[
    "blocks", "video", "full_most", "chunks_most", "end_a", "end_b", "end_c", "end_d",
    "start_2", "start_4", "start_8",
])  # fmt: skip
def _levels_kernel(
    shares, matrix, full, chunks, counts, coarse, read, mass, ends, allowed,
    heads, heads_per_kv, blocks, video, full_most, chunks_most,
    end_a, end_b, end_c, end_d, upper_a, upper_b, upper_c, upper_d,
    start_2, start_4, start_8,
    WIDTH: tl.constexpr, LEVEL_A: tl.constexpr, LEVEL_B: tl.constexpr, LEVEL_C: tl.constexpr,
    LEVEL_D: tl.constexpr, LAST: tl.constexpr, TOPK: tl.constexpr, CAUSAL: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, KEEP: tl.constexpr, ALIKE: tl.constexpr, TAIL: tl.constexpr,
):  # fmt: skip
    query_block = tl.program_id(0)
    pair = tl.program_id(1).to(tl.int64)
    row = pair * tl.num_programs(0) + query_block
    block = tl.arange(0, WIDTH)
    inside = block < blocks
    share = tl.load(shares + row * blocks + block, mask=inside, other=0.0)
    free = inside
    first_query = query_block * M
    if CAUSAL:
        free = inside & (tl.minimum((block + 1) * N, video) <= first_query)
        share = tl.where(free, share, 0.0)
    bits = tl.where(free, share.to(tl.int32, bitcast=True), -1)

    level = tl.full([WIDTH], LAST, tl.int32)
    if TOPK and CAUSAL:
        end_a = tl.load(ends + query_block * 4)
        end_b = tl.load(ends + query_block * 4 + 1)
        end_c = tl.load(ends + query_block * 4 + 2)
        end_d = tl.load(ends + query_block * 4 + 3)
    # coarse to fine: a block takes the first level whose end it does not reach
    if LEVEL_D >= 0:
        taken = _top(bits, end_d) if TOPK else _before(bits, share, upper_d)
        level = tl.where(taken, LEVEL_D, level)
    if LEVEL_C >= 0:
        taken = _top(bits, end_c) if TOPK else _before(bits, share, upper_c)
        level = tl.where(taken, LEVEL_C, level)
    if LEVEL_B >= 0:
        taken = _top(bits, end_b) if TOPK else _before(bits, share, upper_b)
        level = tl.where(taken, LEVEL_B, level)
    if LEVEL_A >= 0:
        taken = _top(bits, end_a) if TOPK else _before(bits, share, upper_a)
        level = tl.where(taken, LEVEL_A, level)
    if KEEP > 0:
        # a softmax needs a key
        kept = tl.sum((free & (level > 0)).to(tl.int32), 0)
        level = tl.where((kept == 0) & _top(bits, 1), KEEP, level)
    if ALIKE:
        kv_head = (pair // heads) * (heads // heads_per_kv) + pair % heads // heads_per_kv
        limit = tl.load(allowed + kv_head * blocks + block, mask=inside, other=1).to(tl.int32)
        level = tl.minimum(level, limit)
    level = tl.where(free, level, 0)

    shown = level
    if CAUSAL:
        last_query = tl.minimum(first_query + M, video) - 1
        shown = tl.where(free, level, tl.where(block * N > last_query, -1, 1))
    tl.store(matrix + row * blocks + block, shown.to(tl.int8), mask=inside)

    # for the statistics: here it costs a few sums, later it would cost reading everything again
    dropped = tl.sum(tl.where(level == 0, share, 0.0), 0)
    tl.store(mass + row * 5 + 4, dropped)
    for depth in tl.static_range(4):
        on_level = tl.sum(tl.where(level == (1 << depth), share, 0.0), 0)
        tl.store(mass + row * 5 + depth, on_level)
    if not CAUSAL:
        # several small counts in one sum, as in `_top`
        pairs = (level == 1).to(tl.int64) + ((level == 2).to(tl.int64) << 21)
        pairs = tl.sum(pairs + ((level == 4).to(tl.int64) << 42), 0)
        size = tl.minimum(tl.maximum(video - block * N, 0), N)
        keys = tl.where(level == 1, size, 0)
        keys = tl.where(level == 2, (size + 1) // 2, keys)
        keys = tl.where(level == 4, (size + 3) // 4, keys)
        keys = tl.where(level == 8, (size + 7) // 8, keys)
        if TAIL > 0:
            keys = tl.where(level == 0, (size + TAIL - 1) // TAIL, keys)
        other = keys.to(tl.int64) + ((level == 8).to(tl.int64) << 42)
        other = tl.sum(tl.where(inside, other, 0), 0)
        tl.store(read + row * 5, (pairs & 0x1FFFFF).to(tl.int32))
        tl.store(read + row * 5 + 1, ((pairs >> 21) & 0x1FFFFF).to(tl.int32))
        tl.store(read + row * 5 + 2, (pairs >> 42).to(tl.int32))
        tl.store(read + row * 5 + 3, (other >> 42).to(tl.int32))
        tl.store(read + row * 5 + 4, (other & 0x3FFFFFFFFFF).to(tl.int32))

    whole = free & ((block + 1) * N <= video)
    listed = whole & (level == 1)
    place = tl.cumsum(listed.to(tl.int32), 0)
    tl.store(full + row * full_most + place - 1, block, mask=listed & (place <= full_most))
    tl.store(counts + row * 4, tl.minimum(tl.sum(listed.to(tl.int32), 0), full_most))

    end = 0
    for depth in tl.static_range(1, 4):
        listed = whole & (level == (1 << depth))
        start = start_2
        if depth == 2:
            start = start_4
        if depth == 3:
            start = start_8
        place = end + (tl.cumsum(listed.to(tl.int32), 0) - 1) * (8 >> depth)
        for chunk in tl.static_range(8 >> depth):
            tl.store(
                chunks + row * chunks_most + place + chunk, start + block * (8 >> depth) + chunk,
                mask=listed & (place + chunk < chunks_most),
            )  # fmt: skip
        end += tl.sum(listed.to(tl.int32), 0) * (8 >> depth)
        tl.store(counts + row * 4 + depth, tl.minimum(end, chunks_most))

    bit = tl.reshape((whole & (level == 0)).to(tl.int32), [WIDTH // 32, 32])
    words = tl.sum(bit << tl.arange(0, 32)[None, :], 1)
    tl.store(coarse + row * (WIDTH // 32) + tl.arange(0, WIDTH // 32), words)
