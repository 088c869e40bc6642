"""The semantic orders (section 1): tokens by cluster, in the heads where that is worth it.

Both implementations use this with the clusters of their own k-means.
"""

from __future__ import annotations

import torch

from ..layout import Layout
from .tokens import compute_dtype

GROUP = 8  # the coarsest level of the pyramid
GATHERED = 0.8  # of the variance in Gilbert order
MOST_VARIANCE = 2.0  # of logits that one pooled key can stand for
MOST_GROUPS = 256  # groups of a head to look at
MOST_QUERIES = 2048


def by_cluster(clusters: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """int64 `[B, heads, L]`: tokens cluster by cluster; inside a cluster in the order `start`.

    clusters  integers `[B, heads, L]`, of the tokens in raster order; start  int64 `[1, 1, L]`
    """
    return start[0, 0][clusters[..., start[0, 0]].sort(dim=-1, stable=True).indices]


def gathers(
    q: torch.Tensor, k: torch.Tensor, order: torch.Tensor, start: torch.Tensor, layout: Layout
) -> torch.Tensor:
    """bool `[B, Hkv]`: whether `order` gathers like keys, and does so better than `start`.

    The measure is the variance of the logits in a group of 8 keys, which pooling removes. In heads
    that attend by position, clusters scatter what belongs together and the variance rises. If it is
    large in both orders, nothing can be pooled well, and blocks should be compact in space and
    time.
    """
    queries = _video(q, layout)
    queries = queries[:, :, :: -(-queries.shape[2] // MOST_QUERIES)].to(compute_dtype(q))
    weights = queries.unflatten(1, (layout.kv_heads, -1)).square().mean((2, 3))
    keys = _video(k, layout)
    most = (GATHERED * _variance(keys, weights, start)).clamp(max=MOST_VARIANCE)
    return _variance(keys, weights, order) < most


def _variance(keys: torch.Tensor, weights: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """`[B, Hkv]`: variance of the logits in evenly spaced groups, at the scale `D ** -0.5`.

    weights  `[B, Hkv, D]`: the mean square of the queries, channel by channel
    """
    batch, heads, length, dim = keys.shape
    groups = length // GROUP
    count = min(groups, MOST_GROUPS)
    first = torch.arange(count, device=keys.device) * groups // max(count, 1) * GROUP
    places = (first[:, None] + torch.arange(GROUP, device=keys.device)).flatten()
    rows = order[..., places].expand(batch, heads, -1)[..., None].expand(-1, -1, -1, dim)
    members = keys.gather(2, rows).to(weights.dtype).unflatten(2, (count, GROUP))
    variance = (members - members.mean(3, keepdim=True)).square_().mean((2, 3))
    return (variance * weights).mean(-1)


def _video(x: torch.Tensor, layout: Layout) -> torch.Tensor:
    return x[:, :, layout.before : x.shape[2] - layout.after]
