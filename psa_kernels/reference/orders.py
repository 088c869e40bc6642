"""Stage 1: the token order (section 1)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch

from ..config import PSAConfig
from ..layout import Layout
from ..order_state import OrderState
from ..stages import Orders
from .clusters import (
    CARRIED_ROUNDS,
    FIRST_ROUNDS,
    cluster_count,
    cluster_order,
    first_centroids,
    refine,
)
from .gilbert import gilbert_order
from .tiles import tile_order
from .tokens import compute_dtype


def semantic_order(
    x: torch.Tensor, name: str, layout: Layout, blocks: int, state: OrderState
) -> torch.Tensor:
    """int64 `[B, heads, L]`: the semantic order of each head's video tokens."""
    batch, heads, length, dim = x.shape
    video = slice(layout.before, length - layout.after)
    shape = (batch, heads, cluster_count(blocks), dim)
    carried = state.centroids(name, shape, compute_dtype(x), x.device)
    centroids = torch.empty(shape, dtype=compute_dtype(x), device=x.device)
    order = torch.empty(batch, heads, length - layout.extra, dtype=torch.int64, device=x.device)
    for b in range(batch):
        for head in range(heads):
            tokens = x[b, head, video].to(compute_dtype(x))
            if carried is None:
                start, rounds = first_centroids(tokens, shape[2]), FIRST_ROUNDS
            else:
                start, rounds = carried[b, head], CARRIED_ROUNDS
            centroids[b, head] = refine(tokens, start, rounds)
            order[b, head] = cluster_order(tokens, centroids[b, head])
    state.keep(name, centroids)
    return order


@torch.no_grad()
def reorder(
    q: torch.Tensor,
    k: torch.Tensor,
    layout: Layout,
    config: PSAConfig,
    state: OrderState | None = None,
    semantic: Callable[..., torch.Tensor] = semantic_order,
) -> Orders:
    """The orders of q `[B, H, Lq, D]` and of k `[B, Hkv, Lk, D]`.

    With `state`, k-means starts from the centroids of the step before and leaves its own there.
    `semantic` makes the semantic orders.
    """
    if layout.q_video == 0 or config.order is None:
        return Orders()
    state = OrderState() if state is None else state
    if config.order in ("Gilbert", "STA"):
        order = order_on(q.device, config.order, layout.grid, config.tile_size)
        return Orders(order, order)
    k_order = semantic(k, "k", layout, layout.k_blocks, state)
    if config.order == "Hybrid":
        return Orders(order_on(q.device, "Gilbert", layout.grid, config.tile_size), k_order)
    return Orders(semantic(q, "q", layout, layout.q_blocks, state), k_order)


@lru_cache(maxsize=16)
def static_order(
    method: str, grid: tuple[int, int, int], tile: tuple[int, int, int]
) -> torch.Tensor:
    """int64 `[T * h * w]` on the CPU: the "Gilbert" or "STA" order of `grid`."""
    # made outside inference mode, since a later caller may want gradients
    with torch.inference_mode(False), torch.device("cpu"):
        if method == "Gilbert":
            return torch.tensor(gilbert_order(grid), dtype=torch.int64)
        return tile_order(grid, tile)


@lru_cache(maxsize=16)
def order_on(
    device: torch.device, method: str, grid: tuple[int, int, int], tile: tuple[int, int, int]
) -> torch.Tensor:
    """int64 `[1, 1, T * h * w]` on `device`, copied there once, until `release_orders`."""
    order = static_order(method, grid, tile)
    with torch.inference_mode(False):
        # a blocking copy would wait for all that the GPU has to do
        return order.to(device, non_blocking=device.type == "cuda")[None, None]


def release_orders() -> None:
    """Lets go of the token orders kept on GPUs: a host's to call when a run or a model is done.

    The next call copies its order to the GPU again; nothing is computed anew. A CUDA graph that
    captured a call reads its order: release none before the graph is gone.
    """
    order_on.cache_clear()
