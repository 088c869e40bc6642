"""The semantic orders (section 1): tokens by cluster, and the heads in which that is worth it.

Both implementations use it on the clusters of their own k-means.
"""

from __future__ import annotations

import torch

from ..layout import Layout
from .tokens import compute_dtype

GROUP = 8  # the coarsest level of the pyramid
GATHERED = 0.8
MOST_GROUPS = 256  # of a head that are looked at
MOST_QUERIES = 2048


def by_cluster(clusters: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """int64 `[B, heads, L]`: tokens cluster by cluster, those of a cluster in the order `start`.

    clusters  integers `[B, heads, L]`, of the tokens in raster order; start  int64 `[1, 1, L]`
    """
    return start[0, 0][clusters[..., start[0, 0]].sort(dim=-1, stable=True).indices]


def gathers(
    q: torch.Tensor, k: torch.Tensor, order: torch.Tensor, start: torch.Tensor, layout: Layout
) -> torch.Tensor:
    """bool `[B, Hkv]`: whether `order` gathers like keys much better than `start` does.

    That is whether the keys of a group of 8 deviate less from their mean, in squares weighted by
    those of the head's queries: the error of their pooled logits. In heads that look at places
    clusters scatter what belongs together, and this is above 1.
    """
    queries = _video(q, layout)
    queries = queries[:, :, :: -(-queries.shape[2] // MOST_QUERIES)].to(compute_dtype(q))
    weights = queries.unflatten(1, (layout.kv_heads, -1)).square().mean((2, 3))
    keys = _video(k, layout)
    return _spread(keys, weights, order) < GATHERED * _spread(keys, weights, start)


def _spread(keys: torch.Tensor, weights: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """`[B, Hkv]`: the deviation in evenly spaced groups. weights `[B, Hkv, D]`."""
    batch, heads, length, dim = keys.shape
    groups = length // GROUP
    count = min(groups, MOST_GROUPS)
    first = torch.arange(count, device=keys.device) * groups // max(count, 1) * GROUP
    places = (first[:, None] + torch.arange(GROUP, device=keys.device)).flatten()
    rows = order[..., places].expand(batch, heads, -1)[..., None].expand(-1, -1, -1, dim)
    members = keys.gather(2, rows).to(weights.dtype).unflatten(2, (count, GROUP))
    deviation = (members - members.mean(3, keepdim=True)).square_().sum((2, 3))
    return (deviation * weights).sum(-1)


def _video(x: torch.Tensor, layout: Layout) -> torch.Tensor:
    return x[:, :, layout.before : x.shape[2] - layout.after]
