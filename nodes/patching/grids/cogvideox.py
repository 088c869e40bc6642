"""CogVideoX: layouts of comfy.ldm.cogvideo."""

from __future__ import annotations

import torch

from ....psa_engines.core.token_grid import TokenGrid
from .model_call import ModelCall, is_video, patches


def cogvideox(call: ModelCall) -> TokenGrid | None:
    """CogVideoX: text tokens first, then the video; no cross-attention."""
    text = call.conditions.get("c_crossattn")
    if not is_video(call.x) or not isinstance(text, torch.Tensor):
        return None
    model = call.diffusion_model
    patch = (model.patch_size_t or 1, model.patch_size, model.patch_size)
    before = text.shape[1]
    return TokenGrid(patches(tuple(call.x.shape[2:]), patch), patch, before, text=before)
