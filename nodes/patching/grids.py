"""Where each ComfyUI model keeps its video tokens: the grid, and the extra tokens around it.

A table: model class -> a function that reads one model call (the latent and the conditions, as
`BaseModel.apply_model` gets them) and says how its self-attention sequence is laid out. A model
that is not in the table has an unknown layout and stays dense.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..preset_value import PresetValue


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


def token_grid(call: ModelCall) -> TokenGrid | None:
    """The layout of this call's self-attention, or None where it is unknown."""
    kind = type(call.diffusion_model)
    reader = _READERS.get(f"{kind.__module__}.{kind.__qualname__}")
    if reader is None or not isinstance(call.x, torch.Tensor) or call.x.dim() != 5:
        return None
    return reader(call)


def contradictions(preset: PresetValue, grid: TokenGrid, latent_format: Any) -> list[str]:
    """Where the family that a preset was made for differs from the model it is used on."""
    found = []
    if preset.text_length is not None and preset.text_length != grid.text:
        found.append(f"made for {preset.text_length} text tokens, this model has {grid.text}")
    # Older ComfyUI versions do not say what a latent pixel spans.
    across = getattr(latent_format, "spacial_downscale_ratio", None)
    along = getattr(latent_format, "temporal_downscale_ratio", None)
    if preset.video_scale is not None and across and along:
        frames, height, width = grid.patch
        scale = (across * width, across * height, along * frames)
        if tuple(preset.video_scale) != scale:
            found.append(
                f"made for tokens of {preset.video_scale} pixels (width, height, frames), this "
                f"model's span {scale}"
            )
    return found


def _patches(size: tuple[int, ...], patch: tuple[int, ...]) -> tuple[int, ...]:
    # ComfyUI pads a latent up to whole patches before it cuts it.
    return tuple(-(-s // p) for s, p in zip(size, patch, strict=True))


def _wan(call: ModelCall) -> TokenGrid:
    """Wan 2.1 and 2.2: a reference frame before the video, context latents after it."""
    patch = tuple(call.diffusion_model.patch_size)
    frames, height, width = call.x.shape[2:]
    appended = call.conditions.get("time_dim_concat")
    if appended is not None:
        frames += appended.shape[2]
    grid = _patches((frames, height, width), patch)

    before = after = 0
    reference = call.conditions.get("reference_latent")
    if reference is not None and getattr(call.diffusion_model, "ref_conv", None) is not None:
        # A reference is not padded: the strided convolution that cuts it leaves out a rest.
        before = math.prod(s // p for s, p in zip(reference.shape[-2:], patch[1:], strict=True))
    for latent in call.conditions.get("context_latents") or ():
        after += math.prod(_patches(tuple(latent.shape[2:]), patch))

    # Cross-attention looks square when text or image tokens happen to be as many as the video's.
    others = [call.conditions.get(name) for name in ("c_crossattn", "clip_fea")]
    lengths = tuple(o.shape[-2] for o in others if isinstance(o, torch.Tensor))
    return TokenGrid(grid, patch, before, after, other_lengths=lengths)


def _cogvideox(call: ModelCall) -> TokenGrid | None:
    """CogVideoX: text tokens first, then the video; no cross-attention."""
    text = call.conditions.get("c_crossattn")
    if not isinstance(text, torch.Tensor):
        return None
    model = call.diffusion_model
    patch = (model.patch_size_t or 1, model.patch_size, model.patch_size)
    before = text.shape[1]
    return TokenGrid(_patches(tuple(call.x.shape[2:]), patch), patch, before, text=before)


_READERS: dict[str, Callable[[ModelCall], TokenGrid | None]] = {
    "comfy.ldm.wan.model.WanModel": _wan,
    "comfy.ldm.cogvideo.model.CogVideoXTransformer3DModel": _cogvideox,
}
