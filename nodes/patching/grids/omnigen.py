"""OmniGen 2 and Boogu: layouts of comfy.ldm.omnigen and of comfy.ldm.boogu, built on it."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from ....psa_engines.core.token_grid import TokenGrid
from .model_call import ModelCall, is_image, patches


def omnigen2(call: ModelCall) -> TokenGrid | None:
    """OmniGen 2: text, reference images, the image.

    Its refiners see each of them alone; their token counts tell them apart.
    """
    text = call.conditions.get("c_crossattn")
    if not is_image(call.x) or not isinstance(text, torch.Tensor):
        return None
    side = call.diffusion_model.patch_size
    references = call.conditions.get("ref_latents") or ()
    of_references = sum(math.prod(patches(tuple(r.shape[2:]), (side, side))) for r in references)
    patch = (1, side, side)
    grid = patches((1, *call.x.shape[2:]), patch)
    return TokenGrid(grid, patch, text.shape[1] + of_references, text=text.shape[1])


def boogu(call: ModelCall) -> TokenGrid | None:
    """Boogu: as OmniGen 2; its first blocks attend once more, without the text."""
    image = omnigen2(call)
    if image is None:
        return None
    model = call.diffusion_model
    twice, once = len(model.double_stream_layers), len(model.single_stream_layers)
    blocks = (*(i for i in range(twice) for _ in range(2)), *range(twice, twice + once))
    alone = replace(image, before=image.before - image.text, text=0)
    return replace(image, blocks=blocks, also=(alone,))
