"""The semantic order: tokens sorted by k-means cluster (section 1).

Everything is deterministic: the first centroids are evenly spaced tokens, sums are matrix products,
ties go to the cluster of lower number, the sort is stable.
"""

from __future__ import annotations

import torch

MOST_CLUSTERS = 256
FIRST_ROUNDS = 10
CARRIED_ROUNDS = 2  # from one sampling step to the next the clusters barely move


def cluster_count(blocks: int) -> int:
    """About one cluster a block."""
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


def cluster_order(tokens: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """int64 `[L]`: places of the tokens, cluster by cluster, in their old order inside each."""
    return nearest(tokens, centroids).argsort(stable=True)
