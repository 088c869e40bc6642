"""Image models whose tokens are the latent's own pixels: Mage-Flow and Ideogram 4."""

from __future__ import annotations

import math

import torch

from ....psa_engines.core.token_grid import TokenGrid
from .model_call import ModelCall, is_image


def mage_flow(call: ModelCall) -> TokenGrid | None:
    """Mage-Flow: text, the image, reference images."""
    if not isinstance(call.conditions.get("c_crossattn"), torch.Tensor):
        return None
    references = call.conditions.get("ref_latents") or ()
    return _text_then_image(call, sum(math.prod(r.shape[2:]) for r in references))


def ideogram4(call: ModelCall) -> TokenGrid | None:
    """Ideogram 4: text, then the image; without a prompt the image alone."""
    return _text_then_image(call, 0)


def _text_then_image(call: ModelCall, after: int) -> TokenGrid | None:
    if not is_image(call.x):
        return None
    text = call.conditions.get("c_crossattn")
    before = 0 if text is None else text.shape[1]
    return TokenGrid((1, *call.x.shape[2:]), (1, 1, 1), before, after, text=before)
