"""AuraFlow: layout of comfy.ldm.aura."""

from __future__ import annotations

import torch

from ....psa_engines.core.token_grid import TokenGrid
from .model_call import ModelCall, is_image, patches


def auraflow(call: ModelCall) -> TokenGrid | None:
    """AuraFlow: register tokens, text, then the image."""
    text = call.conditions.get("c_crossattn")
    if not is_image(call.x) or not isinstance(text, torch.Tensor):
        return None
    model = call.diffusion_model
    patch = (1, model.patch_size, model.patch_size)
    before = model.register_tokens.shape[1] + text.shape[1]
    return TokenGrid(patches((1, *call.x.shape[2:]), patch), patch, before, text=text.shape[1])
