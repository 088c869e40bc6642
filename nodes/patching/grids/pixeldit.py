"""PixelDiT and PiD: layouts of comfy.ldm.pixeldit."""

from __future__ import annotations

from dataclasses import replace

import torch

from ....psa_engines.core.token_grid import TokenGrid
from .model_call import ModelCall, is_image, patches


def pixeldit(call: ModelCall) -> TokenGrid | None:
    """PixelDiT, PiD: text, then the image; the last blocks, over pixels, see the image alone.

    These attend patch by patch too. The latent that PiD decodes is added to the image's tokens.
    """
    text = call.conditions.get("c_crossattn")
    if not is_image(call.x) or not isinstance(text, torch.Tensor):
        return None
    model = call.diffusion_model
    patch = (1, model.patch_size, model.patch_size)
    alone = TokenGrid(patches((1, *call.x.shape[2:]), patch), patch)
    before = min(text.shape[1], model.txt_max_length)
    return replace(alone, before=before, text=before, also=(alone,))
