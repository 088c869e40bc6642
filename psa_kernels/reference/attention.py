"""Stage 6: one softmax over keys of all levels (sections 4, 6b, 6c and 6d)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..config import PSAConfig
from ..layout import Layout
from ..stages import Orders, Plan
from .integers import centered, in_steps, keys_in_steps, queries_in_steps
from .pyramid import Pyramid, group_counts, pool
from .tokens import caller_positions, permuted


@dataclass(frozen=True)
class _Rows:
    """All pyramid rows that one key/value head may need, one level after another.

    keys, values `[R, D]`. Each row has its `level` (0: the tail's), its key `block`, the log of the
    number of keys that it stands for (`log_count`), their `spread` (None without the second
    moment), and the caller's `position` of a single key, or -1 for pooled keys, which a causal mask
    never hides. `in_steps`: keys are rounded as int8 holds them, and queries must be too (section
    6d).
    """

    keys: torch.Tensor
    values: torch.Tensor
    level: torch.Tensor
    block: torch.Tensor
    log_count: torch.Tensor
    spread: torch.Tensor | None
    position: torch.Tensor
    in_steps: bool


def attend(
    q: torch.Tensor,
    pyramid: Pyramid,
    plan: Plan,
    orders: Orders,
    layout: Layout,
    config: PSAConfig,
    scale: float,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """The attention of q `[B, H, Lq, D]` by `plan`, in q's dtype and the caller's token order.

    The result is written to `out`, or to new contiguous `[B, H, Lq, D]` memory.
    """
    levels = plan.levels()
    if out is None:
        out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    for b in range(layout.batch):
        for kv_head in range(layout.kv_heads):
            heads = [h for h in range(layout.heads) if layout.kv_head(h) == kv_head]
            rows = _rows(pyramid, b, kv_head, levels[b, heads], layout, config)
            for head in heads:
                positions = caller_positions(orders.q, b, head, layout.q_len, layout, q.device)
                queries = permuted(q[b, head], positions)
                # one buffer: a list of pieces would fragment the memory between slices
                result = torch.empty_like(queries)
                for block, row in zip(_query_blocks(layout), levels[b, head], strict=True):
                    result[block] = _attend_block(
                        queries[block], positions[block], rows, row, layout, scale
                    )
                out[b, head, positions] = result.to(q.dtype)
    return out


def _query_blocks(layout: Layout) -> list[slice]:
    """Places of each query block in permuted order: video blocks, then extra blocks."""
    video, m = layout.q_video, layout.m
    blocks = [slice(start, min(start + m, video)) for start in range(0, video, m)]
    extra = range(video, layout.q_len, m)
    return blocks + [slice(start, min(start + m, layout.q_len)) for start in extra]


def _attend_block(
    queries: torch.Tensor,
    positions: torch.Tensor,
    rows: _Rows,
    levels: torch.Tensor,
    layout: Layout,
    scale: float,
) -> torch.Tensor:
    """Output `[tokens, D]` of one query block `[tokens, D]` with `levels` `[key blocks]`."""
    kept = (levels[rows.block] == rows.level).nonzero()[:, 0]
    log_count = rows.log_count[kept]
    factors = queries_in_steps(queries) if rows.in_steps else queries
    logits = factors @ rows.keys[kept].T * scale + log_count
    if rows.spread is not None:
        norms = queries.square().sum(1, keepdim=True)
        # a level-1 row has ln 1 = 0 as its cap: no term
        logits = logits + torch.minimum(0.5 * scale**2 * norms * rows.spread[kept], log_count)
    if layout.causal:
        hidden = rows.position[kept] > positions[:, None]
        logits = logits.masked_fill(hidden, -torch.inf)
    return torch.softmax(logits, 1) @ rows.values[kept]


def _rows(
    pyramid: Pyramid,
    b: int,
    kv_head: int,
    levels: torch.Tensor,
    layout: Layout,
    config: PSAConfig,
) -> _Rows:
    """The rows of the levels that occur in `levels`."""
    keys, values = pyramid.keys(b, kv_head), pyramid.values(b, kv_head)
    int8 = config.qk == "int8"
    if int8:
        keys = centered(keys, layout.k_video)
    together, together_values = (pyramid.grouped(b, kv_head, x) for x in (keys, values))
    video, n = layout.k_video, layout.n
    places = torch.arange(layout.k_len, device=keys.device)
    block = torch.where(places < video, places // n, layout.k_blocks + (places - video) // n)
    single = keys.new_zeros(layout.k_len)
    peak = None
    if int8:
        keys = keys_in_steps(keys, block)
        # the finest means average the fewest keys: no coarser one is larger
        if video and (sizes := config.pooling_sizes):
            peak = pool(together, sizes[0]).abs().max()
    parts = [(keys, values, 1, block, single, single, pyramid.positions(b, kv_head))]
    for level, size in ((2, 2), (4, 4), (8, 8), (0, config.tail)):
        if size == "none" or not (levels == level).any():
            continue
        means = pool(together, size)
        block = torch.arange(0, video, size, device=keys.device) // n
        log_count = group_counts(video, size, keys).log()
        spread = log_count
        if config.second_moment:
            spread = pyramid.spread(b, kv_head, together, means, size)
        pooled = pool(together_values, size)
        if int8:
            means = in_steps(means, peak)
        parts.append((means, pooled, level, block, log_count, spread, torch.full_like(block, -1)))
    keys, values, level, block, log_count, spread, position = zip(*parts, strict=True)
    return _Rows(
        keys=torch.cat(keys),
        values=torch.cat(values),
        level=torch.cat([torch.full_like(b, x) for b, x in zip(block, level, strict=True)]),
        block=torch.cat(block),
        log_count=torch.cat(log_count),
        spread=torch.cat(spread) if config.second_moment else None,
        position=torch.cat(position),
        in_steps=int8,
    )
