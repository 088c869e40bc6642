"""Stage 3: keys and values at every pooling level, and other properties of a key block.

The pyramid gives one head at a time and stores nothing: in float32, all heads would take several
times the memory of k and v.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..config import PSAConfig
from ..layout import Layout
from ..stages import Groups, Orders
from .tokens import caller_positions, permuted


@dataclass(frozen=True)
class Pyramid:
    """k and v `[B, Hkv, Lk, D]`, the order of their tokens, and which are pooled together."""

    k: torch.Tensor
    v: torch.Tensor
    order: torch.Tensor | None
    groups: Groups | None
    layout: Layout

    def positions(self, b: int, kv_head: int) -> torch.Tensor:
        """int64 `[Lk]`: the caller's positions of one head's keys, in permuted order."""
        length = self.k.shape[2]
        return caller_positions(self.order, b, kv_head, length, self.layout, self.k.device)

    def keys(self, b: int, kv_head: int) -> torch.Tensor:
        """`[Lk, D]` in permuted order: video keys, then extra keys."""
        return permuted(self.k[b, kv_head], self.positions(b, kv_head))

    def values(self, b: int, kv_head: int) -> torch.Tensor:
        """`[Lk, D]`, as `keys`."""
        return permuted(self.v[b, kv_head], self.positions(b, kv_head))

    def grouped(self, b: int, kv_head: int, rows: torch.Tensor) -> torch.Tensor:
        """The video's part of `keys` or `values`, sorted so that pooled rows are consecutive."""
        rows, n = rows[: self.layout.k_video], self.layout.n
        if self.groups is None:
            return rows
        places = self.groups.places[b, kv_head].long().view(-1, n)
        starts = torch.arange(len(places), device=rows.device)[:, None] * n
        return torch.cat((rows[(places + starts).flatten()], rows[places.numel() :]))

    def spread(
        self, b: int, kv_head: int, keys: torch.Tensor, means: torch.Tensor, size: int
    ) -> torch.Tensor:
        """`[groups]`: the spread (sections 6c and 3b) of groups of `size` of the `grouped` keys."""
        plain = group_spread(keys, means, size)
        if self.groups is None or size == self.layout.n:
            return plain
        weighted = group_spread(keys, means, size, self.groups.weights[b, kv_head])
        whole = self.groups.places.shape[2] // size
        return torch.cat((weighted[:whole], plain[whole:]))

    def allowed_levels(self, b: int, kv_head: int, thresholds: dict[int, float]) -> torch.Tensor:
        """int8 `[video key blocks]`: the coarsest level the similarity constraint allows."""
        video_keys = self.keys(b, kv_head)[: self.layout.k_video]
        return coarsest_alike(video_keys, self.layout.n, thresholds)


def build_pyramid(
    k: torch.Tensor, v: torch.Tensor, orders: Orders, layout: Layout, config: PSAConfig,
    groups: Groups | None = None,
) -> Pyramid:  # fmt: skip
    """The pyramid of k and v `[B, Hkv, Lk, D]`. Without `groups`, neighbours are pooled."""
    return Pyramid(k, v, orders.k, groups, layout)


def pool(x: torch.Tensor, size: int) -> torch.Tensor:
    """Means `[ceil(L / size), D]` of groups of `size` consecutive rows of `x` `[L, D]` (section 3).

    Block sizes are multiples of every group size, so no group crosses a block. A short last group
    is the mean of the rows that it has.
    """
    whole = x.shape[0] // size * size
    means = x[:whole].view(whole // size, size, x.shape[1]).mean(1)
    return means if whole == x.shape[0] else torch.cat((means, x[whole:].mean(0, keepdim=True)))


def group_counts(length: int, size: int, like: torch.Tensor) -> torch.Tensor:
    """`[ceil(length / size)]` of `like`'s dtype and device: the number of rows in each group."""
    starts = torch.arange(0, length, size, device=like.device)
    return (length - starts).clamp(max=size).to(like.dtype)


def group_spread(
    x: torch.Tensor, means: torch.Tensor, size: int, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """`[groups]`: mean over a group's rows and the dimensions of (x - mean)^2 (section 6c).

    `weights` `[D]` of the dimensions; all 1 without it.
    """
    group = torch.arange(x.shape[0], device=x.device) // size
    squares = (x - means[group]).square()
    squares = squares if weights is None else squares * weights
    return pool(squares.mean(1, keepdim=True), size)[:, 0]


def coarsest_alike(keys: torch.Tensor, n: int, thresholds: dict[int, float]) -> torch.Tensor:
    """int8 `[blocks]`: the largest x in 2, 4, 8 with c_x > threshold_x, else 1 (section 8).

    `keys` `[L, D]` in block order, `n` keys a block.
    """
    allowed = torch.ones(-(-keys.shape[0] // n), dtype=torch.int8, device=keys.device)
    for size, alike in group_cosines(keys, n).items():
        allowed[alike > thresholds[size]] = size
    return allowed


def group_cosines(keys: torch.Tensor, n: int) -> dict[int, torch.Tensor]:
    """c_x `[blocks]`, x = 2, 4, 8: mean cosine of the first and the last key of a block's groups.

    A group of one key has cosine 1; a zero vector has cosine 0 with all others.
    """
    length, found = keys.shape[0], {}
    norms = keys.norm(dim=1, keepdim=True)
    units = torch.where(norms > 0, keys / norms, 0)
    for size in (2, 4, 8):
        first = torch.arange(0, length, size, device=keys.device)
        last = (first + size - 1).clamp(max=length - 1)
        cosine = torch.where(first == last, 1, (units[first] * units[last]).sum(1))
        found[size] = pool(cosine[:, None], n // size)[:, 0]
    return found
