"""Queries and keys rounded to multiples of a step that 8-bit integers can hold (section 6d)."""

from __future__ import annotations

import torch

MOST = 127


def in_steps(x: torch.Tensor, peak: torch.Tensor) -> torch.Tensor:
    """`x` rounded to multiples of `peak` / 127, ties to even. `peak` broadcasts; 0 gives zeros."""
    step = peak / MOST
    return torch.where(peak > 0, torch.round(x / step) * step, 0)


def queries_in_steps(queries: torch.Tensor) -> torch.Tensor:
    """Queries `[tokens, D]`; each one's step comes from its own largest magnitude."""
    return in_steps(queries, queries.abs().amax(1, keepdim=True))


def keys_in_steps(keys: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
    """Single keys `[Lk, D]`; steps come from the largest magnitude of each `block` `[Lk]`."""
    peaks = keys.new_zeros(int(block.max()) + 1)
    peaks.scatter_reduce_(0, block, keys.abs().amax(1), "amax")
    return in_steps(keys, peaks[block][:, None])


def centered(keys: torch.Tensor, video: int) -> torch.Tensor:
    """Keys `[Lk, D]` minus the mean of the first `video`, which does not change a softmax."""
    return keys - keys[:video].mean(0) if video else keys
