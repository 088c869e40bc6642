"""JoyImage: layout of comfy.ldm.joyimage."""

from __future__ import annotations

import math

import torch

from ....psa_engines.core.token_grid import TokenGrid
from .model_call import ModelCall, is_video, patches


def joyimage(call: ModelCall) -> TokenGrid | None:
    """JoyImage Edit: the image, reference images, text."""
    text = call.conditions.get("c_crossattn")
    if not is_video(call.x) or not isinstance(text, torch.Tensor):
        return None
    patch = tuple(call.diffusion_model.patch_size)
    references = call.conditions.get("ref_latents") or ()
    after = sum(math.prod(patches(tuple(r.shape[2:]), patch)) for r in references) + text.shape[1]
    grid = patches(tuple(call.x.shape[2:]), patch)
    return TokenGrid(grid, patch, after=after, text=text.shape[1])
