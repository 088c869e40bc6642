"""`PSAAttention`: the attention of one layer, as a torch module."""

from __future__ import annotations

import torch

from . import compiled
from .attention import psa_attention, settings
from .config import PSAConfig
from .order_state import CARRIED, OrderState
from .stats import Stats


class PSAAttention(torch.nn.Module):
    """`psa_attention` with one configuration, as a module without parameters.

    Use one object for each attention layer. The centroids of the semantic orders and, with like
    keys, groups and plans carry over from call to call, until `reset()` starts a new run. Each call
    counts as a sampling step. If calls of two conditions alternate, give each a module of its own,
    or set refresh=1. Source: the PSA attention module's usage.
    """

    def __init__(self, config: PSAConfig | None = None):
        super().__init__()
        self.config = settings(config)
        self._state = OrderState()
        self._described = compiled.described(self.config)

    def reset(self) -> None:
        """Starts a new sampling run: earlier calls no longer have any effect."""
        self._state.reset()

    def forward(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        *,
        grid: tuple[int, int, int] | None = None,
        extra_tokens: tuple[int, int] = (0, 0),
        causal: bool = False,
        scale: float | None = None,
        return_stats: bool = False,
    ) -> torch.Tensor | tuple[torch.Tensor, Stats]:
        """See `psa_attention`. Under torch.compile, a call that keeps nothing is one operator."""
        keeps = return_stats or self.config.order in CARRIED
        if torch.compiler.is_compiling() and not keeps:
            return compiled.attention(
                q, k, v, self._described, list(grid or ()), list(extra_tokens), causal,
                q.shape[-1] ** -0.5 if scale is None else scale,
            )  # fmt: skip
        return psa_attention(
            q,
            k,
            v,
            config=self.config,
            grid=grid,
            extra_tokens=extra_tokens,
            causal=causal,
            scale=scale,
            return_stats=return_stats,
            state=self._state,
        )

    def extra_repr(self) -> str:
        return repr(self.config)
