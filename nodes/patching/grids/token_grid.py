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
    # How many of the extra tokens are text.
    text: int = 0
    # Other token counts in the same call; self-attention of that length cannot be told apart.
    other_lengths: tuple[int, ...] = ()
    # The grid that the model publishes, where it counts extra tokens as frames of it.
    published: tuple[int, int, int] | None = None
    # The transformer block of each video call, where it is not simply the next one.
    blocks: tuple[int, ...] = ()
    # What else the model's blocks attend to over the same video, as the video without its text.
    also: tuple[TokenGrid, ...] = ()

    @property
    def length(self) -> int:
        return self.before + math.prod(self.grid) + self.after

    def of_length(self, tokens: int) -> TokenGrid:
        """The layout of self-attention over so many tokens: this, or one of `also`."""
        if tokens == self.length:
            return self
        return next((grid for grid in self.also if grid.length == tokens), self)

    def block_of(self, video_call: int) -> int:
        """The transformer block of this call's n-th video call, for a model that does not say."""
        return self.blocks[video_call] if video_call < len(self.blocks) else video_call


@dataclass(frozen=True)
class ModelCall:
    """One call of `BaseModel.apply_model`: latent `x` and the named conditions beside it.

    `x` is as the sampler has it: of an image 4-D, of packed latents flat, with `latent_shapes`
    among the conditions.
    """

    diffusion_model: torch.nn.Module
    x: torch.Tensor
    conditions: Mapping[str, Any]


def is_video(x: Any) -> bool:
    """Whether `x` is a latent `[B, C, frames, height, width]`: a reader checks what it can read."""
    return isinstance(x, torch.Tensor) and x.dim() == 5


def is_image(x: Any) -> bool:
    """Whether `x` is a latent `[B, C, height, width]`."""
    return isinstance(x, torch.Tensor) and x.dim() == 4


def latent_shapes(call: ModelCall) -> list[tuple[int, ...]]:
    """The shape of each latent in `x`: of the video first, then of its audio if they are packed."""
    packed = call.conditions.get("latent_shapes")
    # Of a single latent the list says what it was before a context window cut it.
    shapes = packed if packed is not None and len(packed) > 1 else [call.x.shape]
    return [tuple(shape) for shape in shapes]


def patches(size: tuple[int, ...], patch: tuple[int, ...]) -> tuple[int, ...]:
    """Whole patches along each axis: ComfyUI pads a latent up to them before it cuts it."""
    return tuple(-(-s // p) for s, p in zip(size, patch, strict=True))
