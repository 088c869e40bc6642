"""What a reader is given and what it answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class TokenGrid:
    """`grid` = (frames, height, width) in tokens; extra tokens before and after the video."""

    grid: tuple[int, int, int]
    # What one token spans in the latent, as (frames, height, width).
    patch: tuple[int, int, int]
    before: int = 0
    after: int = 0
    # How many of `before` are text.
    text: int = 0
    # Other token counts in the same call; self-attention of that length cannot be told apart.
    other_lengths: tuple[int, ...] = ()

    @property
    def length(self) -> int:
        return self.before + math.prod(self.grid) + self.after


@dataclass(frozen=True)
class ModelCall:
    """One call of `BaseModel.apply_model`: latent `x` and the named conditions beside it."""

    diffusion_model: torch.nn.Module
    x: torch.Tensor
    conditions: Mapping[str, Any]


def patches(size: tuple[int, ...], patch: tuple[int, ...]) -> tuple[int, ...]:
    """Whole patches along each axis: ComfyUI pads a latent up to them before it cuts it."""
    return tuple(-(-s // p) for s, p in zip(size, patch, strict=True))
