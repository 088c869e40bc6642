"""k-means for the semantic orders (section 1), one head after another.

Everything is deterministic: the first centroids are evenly spaced tokens, sums are matrix products,
and ties go to the cluster with the lower number.
"""

from __future__ import annotations

import torch

from ..layout import Layout
from ..order_state import OrderState
from .tokens import compute_dtype

MOST_CLUSTERS = 256
FIRST_ROUNDS = 10
CARRIED_ROUNDS = 2  # clusters barely move from one sampling step to the next


def clusters_of(
    x: torch.Tensor, name: str, layout: Layout, blocks: int, state: OrderState
) -> torch.Tensor:
    """int64 `[B, heads, L]`: the cluster of each video token of x `[B, heads, Lx, D]`."""
    batch, heads, length, dim = x.shape
    video = slice(layout.before, length - layout.after)
    shape = (batch, heads, cluster_count(blocks), dim)
    carried = state.centroids(name, layout, compute_dtype(x), x.device)
    centroids = torch.empty(shape, dtype=compute_dtype(x), device=x.device)
    labels = torch.empty(batch, heads, length - layout.extra, dtype=torch.int64, device=x.device)
    for b in range(batch):
        for head in range(heads):
            tokens = x[b, head, video].to(compute_dtype(x))
            if carried is None:
                start, rounds = first_centroids(tokens, shape[2]), FIRST_ROUNDS
            else:
                start, rounds = carried[b, head], CARRIED_ROUNDS
            centroids[b, head] = refine(tokens, start, rounds)
            labels[b, head] = nearest(tokens, centroids[b, head])
    state.keep(name, layout, centroids)
    return labels


def cluster_count(blocks: int) -> int:
    """About one cluster per block."""
    return max(1, min(MOST_CLUSTERS, blocks))


def first_centroids(tokens: torch.Tensor, count: int) -> torch.Tensor:
    """`[count, D]`: evenly spaced rows of `tokens` `[L, D]`."""
    places = (torch.arange(count, device=tokens.device) * 2 + 1) * tokens.shape[0] // (2 * count)
    return tokens[places]


def refine(tokens: torch.Tensor, centroids: torch.Tensor, rounds: int) -> torch.Tensor:
    """Centroids `[C, D]` after `rounds` of Lloyd's algorithm on `tokens` `[L, D]`.

    A cluster that loses all its tokens keeps its centroid.
    """
    numbers = torch.arange(centroids.shape[0], device=tokens.device)[:, None]
    for _ in range(rounds):
        members = (nearest(tokens, centroids)[None] == numbers).to(tokens.dtype)
        counts = members.sum(1, keepdim=True)
        means = members @ tokens / counts.clamp(min=1)
        centroids = torch.where(counts > 0, means, centroids)
    return centroids


def nearest(tokens: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """int64 `[L]`: the cluster of each token, by Euclidean distance."""
    return (tokens @ centroids.T - centroids.square().sum(1) / 2).argmax(1)
