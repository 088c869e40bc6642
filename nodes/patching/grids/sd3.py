"""Stable Diffusion 3 and 3.5: layouts of comfy.ldm.modules.diffusionmodules.mmdit."""

from __future__ import annotations

from dataclasses import replace

import torch

from ....psa_engines.core.token_grid import TokenGrid
from .model_call import ModelCall, is_image, patches


def sd3(call: ModelCall) -> TokenGrid | None:
    """SD 3 and 3.5: text, then the image; blocks of 3.5 medium attend to the image alone too."""
    text = call.conditions.get("c_crossattn")
    if not is_image(call.x) or not isinstance(text, torch.Tensor):
        return None
    model = call.diffusion_model
    side = model.patch_size
    patch = (1, side, side)
    alone = TokenGrid(patches((1, *call.x.shape[2:]), patch), patch)
    blocks = (
        [i] * (1 + bool(getattr(block.x_block, "x_block_self_attn", False)))
        for i, block in enumerate(model.joint_blocks)
    )
    return replace(
        alone,
        before=model.register_length + text.shape[1],
        text=text.shape[1],
        blocks=tuple(i for calls in blocks for i in calls),
        also=(alone,),
    )
