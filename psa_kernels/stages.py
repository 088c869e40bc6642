"""What passes between the stages and means the same in every implementation."""

from __future__ import annotations

from dataclasses import dataclass
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


class Plan(Protocol):
    """Which key blocks each query block attends to, and at which level."""

    def levels(self) -> torch.Tensor:
        """int8 `[B, H, query blocks, key blocks]`, see `Stats.levels`."""
        ...
