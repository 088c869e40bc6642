"""Mochi: layout of comfy.ldm.genmo."""

from __future__ import annotations

import torch

from ....psa_engines.core.token_grid import TokenGrid
from .model_call import ModelCall, is_video


def mochi(call: ModelCall) -> TokenGrid | None:
    """Mochi: the video, then as many text tokens as the longest prompt has."""
    text = call.conditions.get("c_crossattn")
    if not is_video(call.x) or not isinstance(text, torch.Tensor):
        return None
    side = call.diffusion_model.patch_size
    frames, height, width = call.x.shape[2:]
    # 256 is what the model takes where no mask says how long the prompt is
    tokens = min(call.conditions.get("num_tokens", 256), text.shape[1])
    # The model itself fails on a latent that its patches do not divide.
    grid = (frames, height // side, width // side)
    return TokenGrid(grid, (1, side, side), after=tokens, text=tokens)
