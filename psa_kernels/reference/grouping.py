"""Stage 2: puts like keys of each block together (section 3b)."""

from __future__ import annotations

import torch

from ..config import PSAConfig
from ..layout import Layout
from ..stages import Groups, Orders
from .tokens import caller_positions, compute_dtype, permuted

ROUNDS = 4  # of power iteration


@torch.no_grad()
def group_keys(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, orders: Orders, layout: Layout,
    config: PSAConfig,
) -> Groups:  # fmt: skip
    """The groups of k and v `[B, Hkv, Lk, D]`, for queries q `[B, H, Lq, D]`."""
    dtype = torch.float64 if compute_dtype(k) == torch.float64 else torch.float32
    blocks, n = layout.k_video // layout.n, layout.n
    finest = finest_group(config, n)
    shape = layout.batch, layout.kv_heads
    places = torch.empty(*shape, blocks * n, dtype=torch.uint8, device=k.device)
    weights = torch.empty(*shape, layout.head_dim, dtype=dtype, device=k.device)
    for b in range(layout.batch):
        for head in range(layout.kv_heads):
            heads = [h for h in range(layout.heads) if layout.kv_head(h) == head]
            power = _mean_squares(q[b, heads], layout).to(dtype)
            weights[b, head] = channel_weights(power)
            positions = caller_positions(orders.k, b, head, layout.k_len, layout, k.device)
            positions = positions[: blocks * n]
            keys = permuted(k[b, head], positions).view(blocks, n, layout.head_dim)
            values = permuted(v[b, head], positions).view(blocks, n, layout.head_dim)
            halves = [_deviations(keys * power.sqrt()), _deviations(values)]
            order = bisected(torch.cat(halves, 2), finest)
            places[b, head] = order.flatten().to(torch.uint8)
    return Groups(places, weights)


def finest_group(config: PSAConfig, n: int) -> int:
    """Tokens in a set that is not cut further: in those of the smallest groups that are read."""
    return min((*config.pooling_sizes, n))


def _mean_squares(q: torch.Tensor, layout: Layout) -> torch.Tensor:
    """`[D]`: the mean square of each channel over the video queries of some heads `[h, L, D]`."""
    video = q[:, layout.before : q.shape[1] - layout.after]
    if video.shape[1] == 0:
        return video.new_zeros(video.shape[2])
    # head by head: a copy of q in float32 would be as large as q again
    means = [x.to(compute_dtype(q)).square().mean(0) for x in video]
    return torch.stack(means).mean(0)


def channel_weights(power: torch.Tensor) -> torch.Tensor:
    """`[..., D]`: mean squares of the queries' channels over their mean; all 1 if all are 0."""
    mean = power.mean(-1, keepdim=True)
    return torch.where(mean > 0, power / mean, 1)


def _deviations(x: torch.Tensor) -> torch.Tensor:
    """`x` `[blocks, n, D]` minus each block's mean, divided by its root mean square."""
    x = x - x.mean(1, keepdim=True)
    size = x.square().mean().sqrt()
    return x / torch.where(size > 0, size, 1)


def bisected(x: torch.Tensor, finest: int) -> torch.Tensor:
    """int64 `[blocks, n]`: the members of each block of `x` `[blocks, n, F]`, like ones together.

    n is a power of two. Sets are halved again and again, across the direction in which they are
    widest, until they have `finest` members.
    """
    blocks, n, _ = x.shape
    if blocks == 0:
        return x.new_empty(0, n, dtype=torch.int64)
    order = torch.arange(n, device=x.device).expand(blocks, n)
    size = n
    while size > finest:
        sets = x.gather(1, order[..., None].expand_as(x)).reshape(blocks * n // size, size, -1)
        sets = sets - sets.mean(1, keepdim=True)
        place = _along_widest(sets).argsort(dim=1, stable=True)
        order = order.reshape(-1, size).gather(1, place).reshape(blocks, n)
        size //= 2
    return order


def _along_widest(sets: torch.Tensor) -> torch.Tensor:
    """`[sets, size]`: the positions of the members of `sets` `[sets, size, F]`, whose mean is 0,
    along the direction of their largest spread; zeros for a set without spread."""
    far = sets.square().sum(2).argmax(1)
    direction = sets[torch.arange(len(sets), device=sets.device), far]
    for _ in range(ROUNDS):
        direction = torch.einsum("sif,si->sf", sets, torch.einsum("sif,sf->si", sets, direction))
        size = direction.norm(dim=1, keepdim=True)
        direction = torch.where(size > 0, direction / size, 0)
    return torch.einsum("sif,sf->si", sets, direction)
