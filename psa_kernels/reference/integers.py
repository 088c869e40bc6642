"""Queries and keys as the multiples of a step that 8-bit integers can hold (section 6d)."""

from __future__ import annotations

import torch

MOST = 127


def in_steps(x: torch.Tensor, peak: torch.Tensor) -> torch.Tensor:
    """`x` rounded to multiples of `peak` / 127, ties to even; `peak` broadcasts, 0 for zeros."""
    step = peak / MOST
    return torch.where(peak > 0, torch.round(x / step) * step, 0)


def queries_in_steps(queries: torch.Tensor) -> torch.Tensor:
    """Queries `[tokens, D]` in steps of the largest magnitude of each."""
    return in_steps(queries, queries.abs().amax(1, keepdim=True))


def keys_in_steps(keys: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
    """Single keys `[Lk, D]` in steps of the largest magnitude of each block; `block` `[Lk]`."""
    peaks = keys.new_zeros(int(block.max()) + 1)
    peaks.scatter_reduce_(0, block, keys.abs().amax(1), "amax")
    return in_steps(keys, peaks[block][:, None])


def centered(keys: torch.Tensor, video: int) -> torch.Tensor:
    """Keys `[Lk, D]` less the mean of the first `video`, which a softmax does not notice."""
    return keys - keys[:video].mean(0) if video else keys
