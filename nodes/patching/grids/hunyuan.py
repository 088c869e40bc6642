"""HunyuanVideo: layouts of comfy.ldm.hunyuan_video."""

from __future__ import annotations

import math

import torch

from ....psa_engines.core.token_grid import TokenGrid
from .model_call import ModelCall, is_image, is_video


def hunyuan(call: ModelCall) -> TokenGrid | None:
    """HunyuanVideo 1.0 and 1.5 and HunyuanImage: text, a reference, the video in one sequence."""
    model = call.diffusion_model
    patch = tuple(model.patch_size)
    if not (is_video if len(patch) == 3 else is_image)(call.x):
        return None
    text = _text_tokens(call)
    if text is None:
        return None
    reference = call.conditions.get("ref_latent")
    before = 0 if reference is None else math.prod(_cut(reference, patch))
    after = 0
    # ComfyUI turned text and video round in the change that dropped this attribute (its #12432).
    if getattr(model.double_blocks[0], "flipped_img_txt", False):
        after = text
    else:
        before += text
    of_image = (1,) * (3 - len(patch))
    return TokenGrid(of_image + _cut(call.x, patch), of_image + patch, before, after, text)


def _cut(latent: torch.Tensor, patch: tuple[int, ...]) -> tuple[int, ...]:
    # The model itself fails on a latent that its patches do not divide.
    return tuple(s // p for s, p in zip(latent.shape[2:], patch, strict=True))


def _text_tokens(call: ModelCall) -> int | None:
    """All text tokens beside the video: prompt, glyphs, the image that 1.5 has seen."""
    parts = [call.conditions.get("c_crossattn")]
    if getattr(call.diffusion_model, "byt5_in", None) is not None:
        parts.append(call.conditions.get("txt_byt5"))
    parts.append(call.conditions.get("clip_fea"))
    if not isinstance(parts[0], torch.Tensor):
        return None
    return sum(part.shape[1] for part in parts if part is not None)
