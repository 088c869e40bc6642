"""Stage 4: the share of a query block's softmax mass in each key block (section 5)."""

from __future__ import annotations

import torch

from ..causal import FREE, block_kinds
from ..config import PSAConfig
from ..layout import Layout
from ..stages import Orders
from .pyramid import Pyramid, group_counts, pool
from .tokens import caller_positions, compute_dtype, permuted

SUB_BLOCK = 16  # queries
GROUP = 8  # keys
SLICE_SCORES = 2**22  # scores held at a time


@torch.no_grad()
def importance(
    q: torch.Tensor,
    pyramid: Pyramid,
    orders: Orders,
    layout: Layout,
    config: PSAConfig,
    scale: float,
) -> torch.Tensor:
    """S `[B, H, video query blocks, video key blocks]` in the compute dtype; each row sums to 1.

    `config.importance` "exact": the true softmax of every row over all its keys, extra ones
    included, summed by key block, averaged over the block's rows, divided by the row's sum.
    "sub_block": the same for the means of 16 consecutive queries, weighted by how many they stand
    for, over the keys pooled by 8. If all mass lies in extra keys, every block gets the same share.
    Causal: only blocks wholly before the query block get a share; the first row is all zeros.
    Without video tokens S is empty.
    """
    dtype = compute_dtype(q)
    shape = (layout.batch, layout.heads, layout.q_blocks, layout.k_blocks)
    mass = torch.zeros(shape, dtype=dtype, device=q.device)
    if mass.numel() == 0:
        return mass
    free = block_kinds(layout, q.device) == FREE
    for b in range(layout.batch):
        for head in range(layout.heads):
            order = caller_positions(orders.q, b, head, layout.q_len, layout, q.device)
            queries = permuted(q[b, head], order[: layout.q_video])
            kv_head = layout.kv_head(head)
            if config.importance == "exact":
                keys = pyramid.keys(b, kv_head)
                _exact(mass[b, head], queries, keys, free, layout, scale)
            else:
                pooled = _pooled_keys(pyramid, b, kv_head, config)
                _sub_block(mass[b, head], queries, *pooled, free, layout, scale)
    mass.masked_fill_(~free, 0)
    total = mass.sum(-1, keepdim=True)
    even = free / free.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(total > 0, mass / total, even.to(dtype))


def _exact(
    mass: torch.Tensor,
    queries: torch.Tensor,
    keys: torch.Tensor,
    free: torch.Tensor,
    layout: Layout,
    scale: float,
) -> None:
    """Puts the true mass into `mass` `[query blocks, video key blocks]`.

    `queries` `[video, D]` and `keys` `[video and extra, D]` in permuted order; `free` as `mass`.
    """
    # only a causal mask needs the keys' positions, and then the order is raster order
    positions = caller_positions(None, 0, 0, layout.k_len, layout, keys.device)
    for i in range(layout.q_blocks):
        rows = slice(i * layout.m, min((i + 1) * layout.m, layout.q_video))
        logits = queries[rows] @ keys.T * scale
        if layout.causal:
            logits.masked_fill_(positions > positions[rows, None], -torch.inf)
        share = torch.softmax(logits, 1)[:, : layout.k_video].mean(0, keepdim=True)
        mass[i] = _sum_groups(share, layout.n, layout.k_blocks)[0]


def _pooled_keys(
    pyramid: Pyramid, b: int, kv_head: int, config: PSAConfig
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Means `[groups, D]` of the video's groups of 8 keys, and their spread `[groups]`."""
    keys = pyramid.grouped(b, kv_head, pyramid.keys(b, kv_head))
    means = pool(keys, GROUP)
    if not config.second_moment:
        return means, None
    return means, pyramid.spread(b, kv_head, keys, means, GROUP)


def _sub_block(
    mass: torch.Tensor,
    queries: torch.Tensor,
    pooled: torch.Tensor,
    spread: torch.Tensor | None,
    free: torch.Tensor,
    layout: Layout,
    scale: float,
) -> None:
    """Puts the estimated mass into `mass`; `pooled` and `spread` as of `_pooled_keys`.

    Each sub-block's masses are normalised before they are added up, as those of queries are: one
    log-sum-exp over all scores of a block pair ranks worse (benchmarks/NOTES.md).
    """
    log_count = group_counts(layout.k_video, GROUP, pooled).log()
    means = pool(queries, SUB_BLOCK)
    weights = group_counts(layout.q_video, SUB_BLOCK, means)[:, None]
    group_block = torch.arange(pooled.shape[0], device=pooled.device) * GROUP // layout.n

    in_block = layout.m // SUB_BLOCK
    blocks_at_once = max(1, SLICE_SCORES // (in_block * pooled.shape[0]))
    for first in range(0, layout.q_blocks, blocks_at_once):
        blocks = slice(first, min(first + blocks_at_once, layout.q_blocks))
        rows = slice(blocks.start * in_block, min(blocks.stop * in_block, means.shape[0]))
        logits = means[rows] @ pooled.T * scale + log_count
        if spread is not None:
            norms = means[rows].square().sum(1, keepdim=True)
            logits += torch.minimum(0.5 * scale**2 * norms * spread, log_count)
        if layout.causal:
            block = torch.arange(rows.start, rows.stop, device=pooled.device) // in_block
            logits.masked_fill_(~free[block][:, group_block], -torch.inf)
        share = _sum_groups(torch.softmax(logits, 1), layout.n // GROUP, layout.k_blocks)
        # the mean over a query block's sub-blocks, up to a factor that normalising removes
        count = blocks.stop - blocks.start
        mass[blocks] = _sum_groups((share * weights[rows]).T, in_block, count).T


def _sum_groups(x: torch.Tensor, size: int, groups: int) -> torch.Tensor:
    """`[rows, groups]`: sums of `size` consecutive columns of `x` `[rows, columns]`."""
    padded = torch.nn.functional.pad(x, (0, groups * size - x.shape[1]))
    return padded.reshape(x.shape[0], groups, size).sum(2)
