"""What a reader of token grids gets, and what several of them read from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch


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
    # for a single latent, the list has its shape before a context window cut it
    shapes = packed if packed is not None and len(packed) > 1 else [call.x.shape]
    return [tuple(shape) for shape in shapes]


def patches(size: tuple[int, ...], patch: tuple[int, ...]) -> tuple[int, ...]:
    """Whole patches along each axis: ComfyUI pads a latent up to them before it cuts it."""
    return tuple(-(-s // p) for s, p in zip(size, patch, strict=True))
