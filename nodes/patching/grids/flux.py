"""Flux and models based on it: layouts of comfy.ldm.flux, chroma and chroma_radiance."""

from __future__ import annotations

import math

import torch

from ....psa_engines.core.token_grid import TokenGrid
from .model_call import ModelCall, is_image, patches


def flux(call: ModelCall) -> TokenGrid | None:
    """Flux, Kontext, Flux 2: text, the image, reference images."""
    references = call.conditions.get("ref_latents") or ()
    patch = (call.diffusion_model.patch_size,) * 2
    after = sum(math.prod(patches(tuple(r.shape[2:]), patch)) for r in references)
    return _text_then_image(call, after)


def chroma(call: ModelCall) -> TokenGrid | None:
    """Chroma and Chroma Radiance: text, then the image; references are ignored."""
    return _text_then_image(call, 0)


def _text_then_image(call: ModelCall, after: int) -> TokenGrid | None:
    text = call.conditions.get("c_crossattn")
    if not is_image(call.x) or not isinstance(text, torch.Tensor):
        return None
    side = call.diffusion_model.patch_size
    patch = (1, side, side)
    before = text.shape[1]
    return TokenGrid(patches((1, *call.x.shape[2:]), patch), patch, before, after, text=before)
