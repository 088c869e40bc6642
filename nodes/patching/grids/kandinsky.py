"""Kandinsky 5: layout of comfy.ldm.kandinsky5."""

from __future__ import annotations

import torch

from ....psa_engines.core.token_grid import TokenGrid
from .model_call import ModelCall, is_image, is_video, patches


def kandinsky(call: ModelCall) -> TokenGrid | None:
    """Kandinsky 5: the video or image alone. Text goes through blocks of its own before it."""
    if not is_video(call.x) and not is_image(call.x):
        return None
    size = tuple(call.x.shape[2:]) if is_video(call.x) else (1, *call.x.shape[2:])
    patch = tuple(call.diffusion_model.patch_size)
    text = call.conditions.get("c_crossattn")
    others = (text.shape[1],) if isinstance(text, torch.Tensor) else ()
    return TokenGrid(patches(size, patch), patch, other_lengths=others)
