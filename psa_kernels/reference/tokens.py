"""One head's tokens in permuted order: video tokens, then extra ones (prefix, then suffix)."""

from __future__ import annotations

import torch

from ..layout import Layout


def compute_dtype(x: torch.Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def caller_positions(
    order: torch.Tensor | None, b: int, head: int, length: int, layout: Layout, device: torch.device
) -> torch.Tensor:
    """int64 `[length]`: the caller's position of the token at each place of the permuted order.

    `order` is `Orders.q` or `Orders.k`; `length` is the number of tokens, with extra ones.
    """
    video = torch.arange(length - layout.extra, device=device)
    if order is not None:
        # one order for all batches or heads has size 1 there
        video = order[min(b, order.shape[0] - 1), min(head, order.shape[1] - 1)]
    prefix = torch.arange(layout.before, device=device)
    suffix = torch.arange(length - layout.after, length, device=device)
    return torch.cat((video + layout.before, prefix, suffix))


def permuted(x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Rows of one head's `x` `[L, D]` at `positions`, in the compute dtype. `x` stays as it is."""
    return x.index_select(0, positions).to(compute_dtype(x))
