"""Qwen-Image: layouts of comfy.ldm.qwen_image."""

from __future__ import annotations

import math

import torch

from ....psa_engines.core.token_grid import TokenGrid
from .model_call import ModelCall, is_video, patches


def qwen_image(call: ModelCall) -> TokenGrid | None:
    """Qwen-Image and Edit: text, the image (layers of one as frames), reference images."""
    text = call.conditions.get("c_crossattn")
    if not is_video(call.x) or not isinstance(text, torch.Tensor):
        return None
    side = call.diffusion_model.patch_size
    patch = (1, side, side)
    references = call.conditions.get("ref_latents") or ()
    after = sum(math.prod(patches(tuple(r.shape[2:]), patch)) for r in references)
    before = text.shape[1]
    return TokenGrid(patches(tuple(call.x.shape[2:]), patch), patch, before, after, text=before)
