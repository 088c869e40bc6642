"""Stage 1: the token order (section 1)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache

import torch

from ..config import PSAConfig
from ..layout import Layout
from ..order_state import OrderState
from ..stages import Orders
from .clusters import clusters_of
from .gilbert import gilbert_order
from .semantic import by_cluster, gathers
from .tiles import tile_order


def reorder(
    q: torch.Tensor,
    k: torch.Tensor,
    layout: Layout,
    config: PSAConfig,
    state: OrderState | None = None,
    clusters_of: Callable[..., torch.Tensor] = clusters_of,
) -> Orders:
    """The orders of q `[B, H, Lq, D]` and of k `[B, Hkv, Lk, D]`.

    With `state`, k-means starts from the centroids of the step before and stores its own there.
    `clusters_of` runs k-means.
    """
    if layout.q_video == 0 or config.order is None:
        return Orders()
    if config.order in ("Gilbert", "STA"):
        order = order_on(q.device, config.order, layout.grid, config.tile_size)
        return Orders(order, order)
    return _semantic_orders(q, k, layout, config, state or OrderState(), clusters_of)


@torch.no_grad()
def _semantic_orders(q, k, layout: Layout, config: PSAConfig, state, clusters_of) -> Orders:
    """By cluster in heads where clusters gather like keys; other heads keep the Gilbert order."""
    by_place = {length: _by_place(q.device, length, layout, config)
                for length in (layout.q_video, layout.k_video)}  # fmt: skip
    start = by_place[layout.k_video]
    order = by_cluster(clusters_of(k, "k", layout, layout.k_blocks, state), start)
    gathered = gathers(q, k, order, start, layout)[..., None]
    k_order = torch.where(gathered, order, start)
    start = by_place[layout.q_video]
    if config.order == "Hybrid":
        return Orders(start, k_order)
    order = by_cluster(clusters_of(q, "q", layout, layout.q_blocks, state), start)
    gathered = gathered.repeat_interleave(layout.heads // layout.kv_heads, 1)
    return Orders(torch.where(gathered, order, start), k_order)


def _by_place(device: torch.device, length: int, layout: Layout, config: PSAConfig) -> torch.Tensor:
    """int64 `[1, 1, length]`: Gilbert order, or raster order without a grid."""
    if layout.grid is None:
        return torch.arange(length, device=device)[None, None]
    return order_on(device, "Gilbert", layout.grid, config.tile_size)


@lru_cache(maxsize=16)
def static_order(
    method: str, grid: tuple[int, int, int], tile: tuple[int, int, int]
) -> torch.Tensor:
    """int64 `[T * h * w]` on the CPU: the "Gilbert" or "STA" order of `grid`."""
    # not in inference mode: a later caller may want gradients
    with torch.inference_mode(False), torch.device("cpu"):
        if method == "Gilbert":
            return torch.tensor(gilbert_order(grid), dtype=torch.int64)
        return tile_order(grid, tile)


@cache  # a CUDA graph may read one for as long as it lives
def order_on(
    device: torch.device, method: str, grid: tuple[int, int, int], tile: tuple[int, int, int]
) -> torch.Tensor:
    """int64 `[1, 1, T * h * w]` on `device`, copied there once, until `release_orders`."""
    order = static_order(method, grid, tile)
    with torch.inference_mode(False):
        # waits for the copy, once: calls on other streams read it too
        return order.to(device)[None, None]


def release_orders() -> None:
    """Frees the token orders kept on GPUs. A host calls this when a run or a model is done.

    The next call copies its order to the GPU again, without computing it again. A CUDA graph that
    captured a call reads its order: call this only after the graph is gone.
    """
    order_on.cache_clear()
