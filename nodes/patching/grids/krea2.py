"""Krea 2: layout of comfy.ldm.krea2."""

from __future__ import annotations

import math

import torch

from ....psa_engines.core.token_grid import TokenGrid
from .model_call import ModelCall, is_image, is_video, patches


def krea2(call: ModelCall) -> TokenGrid | None:
    """Krea 2: text, the image, and reference images if the model knows where to place them.

    The text's layers go through blocks of their own before it.
    """
    text = call.conditions.get("c_crossattn")
    image = is_image(call.x) or (is_video(call.x) and call.x.shape[2] == 1)
    if not image or not isinstance(text, torch.Tensor):
        return None
    model = call.diffusion_model
    sides = (model.patch, model.patch)
    references = call.conditions.get("ref_latents") or ()
    if call.conditions.get("ref_latents_method", model.default_ref_method) is None:
        references = ()
    after = sum(math.prod(patches(tuple(r.shape[-2:]), sides)) for r in references)
    before = text.shape[1]
    grid = (1, *patches(tuple(call.x.shape[-2:]), sides))
    return TokenGrid(
        grid, (1, *sides), before, after, text=before, other_lengths=(model.txtlayers,)
    )
