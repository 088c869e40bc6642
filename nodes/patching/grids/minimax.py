"""MiniMax-H3: layouts of comfy.ldm.minimax."""

from __future__ import annotations

import math
import sys

import torch

from ....psa_engines.core.token_grid import TokenGrid
from .model_call import ModelCall, latent_shapes, patches


def minimax(call: ModelCall) -> TokenGrid | None:
    """MiniMax-H3: text, reference frames and sounds, the audio, and last the video."""
    shapes = latent_shapes(call)
    text = call.conditions.get("c_crossattn")
    if [len(shape) for shape in shapes] != [5, 4] or not isinstance(text, torch.Tensor):
        return None
    video, audio = shapes
    model = call.diffusion_model
    patch = tuple(model.patch_size)
    grid = patches(tuple(video[2:]), patch)

    # the model's own description of its sequence; it makes a new one if this is from another call
    payload = call.conditions.get("minimax_payload") or {}
    padded = (n * p for n, p in zip(grid, patch, strict=True))
    signature = (text.shape[1], *padded, audio[-1])
    layout = payload.get("layout")
    if layout is None or layout.signature != signature:
        packed_layout = sys.modules[type(model).__module__].PackedLayout
        layout = packed_layout(
            *signature, keyframes=payload.get("keyframes"), refs=payload.get("refs")
        )
    start, stop, kind = layout.segments[-1]
    if kind != "video" or stop - start != math.prod(grid):
        return None
    return TokenGrid(grid, patch, before=start, text=text.shape[1])
