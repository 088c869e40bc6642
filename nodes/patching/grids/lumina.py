"""Lumina 2 and Z-Image: layouts of comfy.ldm.lumina."""

from __future__ import annotations

import math

import torch

from ....psa_engines.core.token_grid import TokenGrid
from .model_call import ModelCall, is_image, patches


def lumina(call: ModelCall) -> TokenGrid | None:
    """Lumina 2, Z-Image: caption, then the image, each filled up to a multiple of tokens.

    The refiners see caption or image alone; their token counts tell them apart.
    """
    text = call.conditions.get("c_crossattn")
    if not is_image(call.x) or not isinstance(text, torch.Tensor):
        return None
    if call.conditions.get("ref_latents"):
        return None  # captions, reference images and what a vision model saw of them, interleaved
    side = call.diffusion_model.patch_size
    patch = (1, side, side)
    grid = patches((1, *call.x.shape[2:]), patch)
    multiple = getattr(call.diffusion_model, "pad_tokens_multiple", None) or 1
    filled = -(-text.shape[1] // multiple) * multiple
    return TokenGrid(grid, patch, filled, -math.prod(grid) % multiple, text=filled)
