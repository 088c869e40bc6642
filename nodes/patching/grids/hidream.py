"""HiDream-I1: layouts of comfy.ldm.hidream."""

from __future__ import annotations

import torch

from ....psa_engines.core.token_grid import TokenGrid
from .model_call import ModelCall, is_image, patches


def hidream(call: ModelCall) -> TokenGrid | None:
    """HiDream-I1: the image, then text as T5 and twice as Llama saw it."""
    t5 = call.conditions.get("c_crossattn")
    llama = call.conditions.get("encoder_hidden_states_llama3")
    if not is_image(call.x) or not all(isinstance(t, torch.Tensor) for t in (t5, llama)):
        return None
    if call.conditions.get("image_cond") is not None:
        return None  # HiDream-E1 puts the image it edits beside the new one, row by row
    side = call.diffusion_model.patch_size
    patch = (1, side, side)
    text = t5.shape[1] + 2 * llama.shape[2]
    return TokenGrid(patches((1, *call.x.shape[2:]), patch), patch, after=text, text=text)
