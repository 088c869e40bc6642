"""The Wan family: layouts of comfy.ldm.wan."""

from __future__ import annotations

import math

import torch

from .token_grid import ModelCall, TokenGrid, is_video, patches


def wan(call: ModelCall) -> TokenGrid | None:
    """Wan 2.1 and 2.2: a reference frame before the video, context latents after it."""
    if not is_video(call.x):
        return None
    patch = tuple(call.diffusion_model.patch_size)
    frames, height, width = call.x.shape[2:]
    appended = call.conditions.get("time_dim_concat")
    if appended is not None:
        frames += appended.shape[2]
    grid = patches((frames, height, width), patch)

    before = after = 0
    reference = call.conditions.get("reference_latent")
    if reference is not None and getattr(call.diffusion_model, "ref_conv", None) is not None:
        # A reference is not padded: the strided convolution that cuts it leaves out a rest.
        before = math.prod(s // p for s, p in zip(reference.shape[-2:], patch[1:], strict=True))
    for latent in call.conditions.get("context_latents") or ():
        after += math.prod(patches(tuple(latent.shape[2:]), patch))

    # Cross-attention looks square when text or image tokens happen to be as many as the video's.
    others = [call.conditions.get(name) for name in ("c_crossattn", "clip_fea")]
    lengths = tuple(o.shape[-2] for o in others if isinstance(o, torch.Tensor))
    return TokenGrid(grid, patch, before, after, other_lengths=lengths)
