"""What a measured attention is, and the inputs it gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch

from psa_kernels import PSAConfig, reference
from psa_kernels.layout import Layout


class Unavailable(Exception):  # noqa: N818 - not an error: a method that cannot run here
    """Why a method is left out of a run."""


@dataclass(frozen=True)
class Problem:
    """q, k, v `[1, H, L, D]`; `text` extra tokens in front of the video tokens of `grid`.

    order  "caller": the model's raster order; "curve": tokens already along a Gilbert curve, as a
           peer with a reordering of its own around it would get them (that reordering is not timed)
    """

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    grid: tuple[int, int, int]
    text: int
    order: str = "caller"

    @cached_property
    def along_curve(self) -> Problem:
        q, k, v = (x[:, :, self.curve].contiguous() for x in (self.q, self.k, self.v))
        return Problem(q, k, v, self.grid, self.text, "curve")

    @cached_property
    def curve(self) -> torch.Tensor:
        """int64 `[L]`: the caller's position of the token at each place of the curve order."""
        config = PSAConfig(rearrange_method="Gilbert")
        layout = Layout.of(
            self.q, self.k, self.v, config, grid=self.grid, extra_tokens=(self.text, 0)
        )
        video = reference.reorder(self.q, self.k, layout, config).q[0, 0]
        prefix = torch.arange(self.text, device=self.q.device)
        return torch.cat((prefix, video + self.text))

    @property
    def dense_flop(self) -> int:
        batch, heads, queries, dim = self.q.shape
        return 4 * batch * heads * queries * self.k.shape[2] * dim


@dataclass(frozen=True)
class Method:
    """One attention with one setting.

    kind      "dense" (ratios are taken to the fastest), "low precision" (dense, quantised),
              "sparse" (a peer), "psa"
    prepare   Problem -> a call without arguments that gives out `[1, H, L, D]`; what prepare itself
              does is not timed. Raises `Unavailable`.
    bound     largest rel-L2 from float32 dense that is not taken for a broken result
    density   Problem -> query-key products computed, as a share of dense; None: not known
    orders    which `Problem`s it gets
    config    of our own methods
    """

    name: str
    kind: str
    prepare: Callable[[Problem], Callable[[], torch.Tensor]]
    bound: float
    density: Callable[[Problem], float] | None = None
    orders: tuple[str, ...] = ("caller",)
    head_dims: tuple[int, ...] = (64, 128)
    config: PSAConfig | None = None
    note: str = ""
