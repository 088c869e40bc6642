"""NVIDIA's Cosmos: layouts of comfy.ldm.cosmos and of comfy.ldm.anima, which is built on it."""

from __future__ import annotations

import torch

from ....psa_engines.core.token_grid import TokenGrid
from .model_call import ModelCall, is_video, patches


def cosmos(call: ModelCall) -> TokenGrid | None:
    """Cosmos 1, Cosmos-Predict2, Anima: the video alone; text only in cross-attention."""
    if not is_video(call.x):
        return None
    model = call.diffusion_model
    patch = (model.patch_temporal, model.patch_spatial, model.patch_spatial)
    text = call.conditions.get("c_crossattn")
    others = (text.shape[1],) if isinstance(text, torch.Tensor) else ()
    return TokenGrid(patches(tuple(call.x.shape[2:]), patch), patch, other_lengths=others)
