"""What passes between the stages, the same in every implementation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch


@dataclass(frozen=True)
class Orders:
    """Token order of the video tokens, for queries and for keys (section 1).

    Each is None (raster order) or int64 `[1, 1, L]` (one order for all) or `[B, heads, L]` (heads:
    the query heads for `q`, the key/value heads for `k`). Entry r is the raster index, counted from
    the first video token, of the token at place r of the permuted sequence: a permutation.
    """

    q: torch.Tensor | None = None
    k: torch.Tensor | None = None

    def of_heads(self, q_heads: slice, kv_heads: slice) -> Orders:
        """The orders of some heads."""

        def part(order: torch.Tensor | None, heads: slice) -> torch.Tensor | None:
            return order if order is None or order.shape[1] == 1 else order[:, heads]

        return Orders(part(self.q, q_heads), part(self.k, kv_heads))


@dataclass(frozen=True)
class Groups:
    """Which keys of a block are pooled together (section 3b), if not by token order.

    places   uint8 `[B, Hkv, tokens of whole blocks]`: the tokens of each block, given by their
             place in it, in an order in which consecutive 2, 4, 8, ... are pooled
    weights  float32 `[B, Hkv, D]`, float64 for float64 inputs: weights of the channels in the
             second moment; their mean is 1
    """

    places: torch.Tensor
    weights: torch.Tensor

    def of_heads(self, kv_heads: slice) -> Groups:
        """The groups of some key/value heads."""
        return Groups(self.places[:, kv_heads], self.weights[:, kv_heads])


SUMS = 12  # per head
MASS_UNIT = 2.0**-32


class Plan(Protocol):
    """Which key blocks each query block attends to, and at which level.

    sums     int64 `[H, 12]`, for each head over the batch: video block pairs on levels 1, 2, 4, 8,
             0; query-key products; the mass of S in blocks on levels 1, 2, 4, 8, 0, each row times
             its queries, in units of `MASS_UNIT`; rows of S with NaN or Inf, whose mass is left
             out. Whole numbers, so that the order of summing does not change them.
    counted  whether the first six are valid; else they must be counted from `levels`
    """

    sums: torch.Tensor
    counted: bool

    def levels(self) -> torch.Tensor:
        """int8 `[B, H, query blocks, key blocks]`, see `Stats.levels`."""
        ...


@dataclass(frozen=True)
class JoinedPlan:
    """Plans of groups of heads, in the order of the heads."""

    parts: list[Plan]

    @cached_property
    def sums(self) -> torch.Tensor:
        return torch.cat([part.sums for part in self.parts])

    @property
    def counted(self) -> bool:
        return all(part.counted for part in self.parts)

    def levels(self) -> torch.Tensor:
        return torch.cat([part.levels() for part in self.parts], 1)
