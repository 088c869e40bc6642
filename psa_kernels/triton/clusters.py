"""Stage 1: k-means for the semantic orders (section 1), all heads of a call at once.

A round is two kernels. `_nearest_kernel` (one program per tile of tokens of a head) goes through
the centroids in tiles and keeps the nearest one of each token, without a `[tokens, clusters]`
matrix. `_sum_kernel` (one program per 4,096 tokens, tile of clusters and head) sums the tokens of
each cluster as products with a matrix of zeros and ones. Partial sums are added in a fixed order,
so that the same inputs give the same bits; atomic additions would not.

Centroids are float32. Products use them as two parts in the tokens' dtype, whose sum is exact to
2^-16. So the clusters are those of the reference, except for tokens equally near to two centroids.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ..layout import Layout, row_width
from ..order_state import OrderState
from ..reference.clusters import CARRIED_ROUNDS, FIRST_ROUNDS, cluster_count
from . import tuning

CHUNK = 4096  # tokens of one partial sum


def clusters_of(
    x: torch.Tensor, name: str, layout: Layout, blocks: int, state: OrderState
) -> torch.Tensor:
    """int32 `[B, heads, L]`: the cluster of each video token of x `[B, heads, Lx, D]`."""
    video = x[:, :, layout.before : x.shape[2] - layout.after]
    count = cluster_count(blocks)
    centroids = state.centroids(name, layout, torch.float32, x.device)
    rounds = CARRIED_ROUNDS
    if centroids is None:
        rounds = FIRST_ROUNDS
        places = torch.arange(count, device=x.device) * 2 + 1
        centroids = video[:, :, places * video.shape[2] // (2 * count)].float()
    for _ in range(rounds):
        centroids = _moved(video, _nearest(video, centroids), centroids)
    state.keep(name, layout, centroids)
    return _nearest(video, centroids)


def _nearest(x: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """int32 `[B, heads, L]`: the cluster of each token, by Euclidean distance."""
    batch, heads, length, dim = x.shape
    count = centroids.shape[2]
    labels = torch.empty(batch, heads, length, dtype=torch.int32, device=x.device)
    halves = (centroids.square().sum(-1) / 2).contiguous()
    high = centroids.to(x.dtype)
    low = (centroids - high.float()).to(x.dtype)
    tune = tuning.clusters(x.dtype, row_width(dim))
    _nearest_kernel[(triton.cdiv(length, tune.tokens), batch * heads)](
        x, *x.stride(), high.contiguous(), low.contiguous(), halves, labels, heads, length, count,
        HEAD_DIM=dim, DIM=row_width(dim), TOKENS=tune.tokens, CLUSTERS=tune.clusters,
        EXACT=x.dtype == torch.float32, PRECISION=tuning.precision(x.device, x.dtype),
        num_warps=tune.warps,
    )  # fmt: skip
    return labels


def _moved(x: torch.Tensor, labels: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """The means of the clusters; a cluster that lost all its tokens keeps its centroid."""
    batch, heads, length, dim = x.shape
    count, chunks = centroids.shape[2], triton.cdiv(length, CHUNK)
    sums = torch.empty(batch, heads, chunks, count, dim, dtype=torch.float32, device=x.device)
    counts = torch.empty(batch, heads, chunks, count, dtype=torch.float32, device=x.device)
    tune = tuning.clusters(x.dtype, row_width(dim))
    _sum_kernel[(chunks, triton.cdiv(count, tune.clusters), batch * heads)](
        x, *x.stride(), labels, sums, counts, heads, length, count,
        HEAD_DIM=dim, DIM=row_width(dim), TOKENS=tune.tokens, CLUSTERS=tune.clusters, CHUNK=CHUNK,
        PRECISION=tuning.precision(x.device, x.dtype), num_warps=tune.warps,
    )  # fmt: skip
    members = counts.sum(2)[..., None]
    return torch.where(members > 0, sums.sum(2) / members.clamp(min=1), centroids)


@triton.jit(do_not_specialize=["heads", "length", "count"])
def _nearest_kernel(
    x, x_batch, x_head, x_row, x_dim, high, low, halves, labels, heads, length, count,
    HEAD_DIM: tl.constexpr, DIM: tl.constexpr, TOKENS: tl.constexpr, CLUSTERS: tl.constexpr,
    EXACT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    pair = tl.program_id(1).to(tl.int64)
    dims = tl.arange(0, DIM)
    inside = dims < HEAD_DIM
    row = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    tokens = tl.load(
        x + pair // heads * x_batch + pair % heads * x_head
        + row.to(tl.int64)[:, None] * x_row + dims[None, :].to(tl.int64) * x_dim,
        mask=(row < length)[:, None] & inside[None, :], other=0.0,
    )  # fmt: skip
    best = tl.full([TOKENS], float("-inf"), tl.float32)
    label = tl.zeros([TOKENS], tl.int32)
    for first in tl.range(0, count, CLUSTERS, num_stages=1):
        cluster = first + tl.arange(0, CLUSTERS)
        real = cluster < count
        source = (pair * count + cluster)[:, None] * HEAD_DIM + dims[None, :]
        mask = real[:, None] & inside[None, :]
        parts = tl.load(high + source, mask=mask, other=0.0)
        scores = tl.dot(tokens, tl.trans(parts), input_precision=PRECISION)
        if not EXACT:
            parts = tl.load(low + source, mask=mask, other=0.0)
            scores = tl.dot(tokens, tl.trans(parts), scores, input_precision=PRECISION)
        scores -= tl.load(halves + pair * count + cluster, mask=real, other=float("inf"))[None, :]
        nearest = tl.max(scores, 1)
        place = tl.argmax(scores, 1).to(tl.int32) + first
        # strictly greater: ties go to the cluster with the lower number
        label = tl.where(nearest > best, place, label)
        best = tl.maximum(best, nearest)
    tl.store(labels + pair * length + row, label, mask=row < length)


@triton.jit(do_not_specialize=["heads", "length", "count"])
def _sum_kernel(
    x, x_batch, x_head, x_row, x_dim, labels, sums, counts, heads, length, count,
    HEAD_DIM: tl.constexpr, DIM: tl.constexpr, TOKENS: tl.constexpr, CLUSTERS: tl.constexpr,
    CHUNK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    chunk = tl.program_id(0)
    pair = tl.program_id(2).to(tl.int64)
    x += pair // heads * x_batch + pair % heads * x_head
    labels += pair * length
    dims = tl.arange(0, DIM)
    inside = dims < HEAD_DIM
    cluster = tl.program_id(1) * CLUSTERS + tl.arange(0, CLUSTERS)
    acc = tl.zeros([CLUSTERS, DIM], tl.float32)
    members = tl.zeros([CLUSTERS], tl.float32)
    end = tl.minimum(chunk * CHUNK + CHUNK, length)
    for first in tl.range(chunk * CHUNK, end, TOKENS, num_stages=1):
        row = first + tl.arange(0, TOKENS)
        tokens = tl.load(
            x + row.to(tl.int64)[:, None] * x_row + dims[None, :].to(tl.int64) * x_dim,
            mask=(row < length)[:, None] & inside[None, :], other=0.0,
        )  # fmt: skip
        label = tl.load(labels + row, mask=row < length, other=-1)
        mine = (label[None, :] == cluster[:, None]).to(tl.float32)
        members += tl.sum(mine, 1)
        acc = tl.dot(mine.to(tokens.dtype), tokens, acc, input_precision=PRECISION)
    target = (pair * tl.num_programs(0) + chunk) * count + cluster
    tl.store(counts + target, members, mask=cluster < count)
    tl.store(
        sums + target[:, None] * HEAD_DIM + dims[None, :], acc,
        mask=(cluster < count)[:, None] & inside[None, :],
    )  # fmt: skip
