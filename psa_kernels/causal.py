"""Which block pairs a causal mask leaves free to be pooled or skipped (section 9)."""

from __future__ import annotations

import torch

from .layout import Layout

FREE, MASKED, NEVER = 0, 1, -1


def block_kinds(layout: Layout, device: torch.device) -> torch.Tensor:
    """int8 `[video query blocks, video key blocks]`; without causality every pair is FREE.

    FREE    the key block lies wholly before the query block: it takes part in importance and levels
    MASKED  it holds the query block's first token or a later key: level 1 with a token mask
    NEVER   it lies wholly in the future of the query block: never read
    """
    kinds = torch.full((layout.q_blocks, layout.k_blocks), FREE, dtype=torch.int8, device=device)
    if not layout.causal:
        return kinds
    first_query = torch.arange(layout.q_blocks, device=device)[:, None] * layout.m
    last_query = (first_query + layout.m).clamp(max=layout.q_video) - 1
    first_key = torch.arange(layout.k_blocks, device=device)[None] * layout.n
    last_key = (first_key + layout.n).clamp(max=layout.k_video) - 1
    # Equal where the last block is a single token: its own key must not be skipped.
    kinds[last_key >= first_query] = MASKED
    kinds[first_key > last_query] = NEVER
    return kinds
