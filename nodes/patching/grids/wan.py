"""The Wan family: layouts of comfy.ldm.wan.

Every model of it patches the latent, padded to whole patches, in the order frames, rows, columns.
What differs is what lies around the video. References, context latents and poses are never thinned
out: they are extra tokens, also where the model counts them among its frames.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from ....psa_engines.core.token_grid import TokenGrid
from .model_call import ModelCall, is_video, patches


def wan(call: ModelCall) -> TokenGrid | None:
    """Wan 2.1 and 2.2, Phantom, Fun: reference frame, video, appended frames, context latents."""
    video = _video(call)
    if video is None:
        return None
    context = sum(
        math.prod(patches(tuple(latent.shape[2:]), video.patch))
        for latent in call.conditions.get("context_latents") or ()
    )
    return replace(video, before=_converted_reference(call, video), after=video.after + context)


def camera(call: ModelCall) -> TokenGrid | None:
    """Wan Camera: the camera is added to the video's tokens."""
    return _video(call)


def vace(call: ModelCall) -> TokenGrid | None:
    """Wan VACE: blocks over the control video run between the main ones, in the same layout."""
    video = _video(call)
    streams = call.conditions.get("vace_context")
    if video is None or not isinstance(streams, torch.Tensor):
        return None
    model = call.diffusion_model
    # Numbered as newer versions of ComfyUI number them: with the main block that they follow.
    blocks = (
        [i] * (1 + streams.shape[1] * (i in model.vace_layers_mapping))
        for i in range(len(model.blocks))
    )
    return replace(video, blocks=tuple(i for calls in blocks for i in calls))


def s2v(call: ModelCall) -> TokenGrid | None:
    """Wan 2.2 S2V: video, reference, then past motion in patches that grow with its age."""
    video = _reference_after(call)
    motion = call.conditions.get("reference_motion")
    if video is None or motion is None:
        return video
    packer = call.diffusion_model.frame_packer
    ages = zip(packer.zip_frame_buckets, (packer.proj, packer.proj_2x, packer.proj_4x), strict=True)
    size = tuple(motion.shape[3:])
    tokens = sum(_whole_patches((frames, *size), conv.kernel_size) for frames, conv in ages)
    return replace(video, after=video.after + tokens)


def humo(call: ModelCall) -> TokenGrid | None:
    """HuMo: video, then the reference; its audio cross-attention goes frame by frame."""
    video = _reference_after(call)
    if video is None or call.conditions.get("audio_embed") is None:
        return video
    # of one frame; a single frame is as many queries as the whole video
    audio = call.diffusion_model.audio_proj.context_tokens
    return replace(video, other_lengths=(*video.other_lengths, audio))


def scail(call: ModelCall) -> TokenGrid | None:
    """SCAIL and SCAIL-2: reference frames that count as the first of the video, video, poses."""
    video = _video(call)
    if video is None:
        return None
    frames, height, width = video.published or video.grid
    reference = call.conditions.get("reference_latent")
    references = 0 if reference is None else reference.shape[2]
    poses = call.conditions.get("pose_latents")
    after = 0 if poses is None else math.prod(patches(tuple(poses.shape[2:]), video.patch))
    return replace(
        video,
        before=references * height * width,
        after=video.after + after,
        published=(frames + references, height, width),
    )


def animate(call: ModelCall) -> TokenGrid | None:
    """Wan Animate: the latent's first frame is the reference; a pose is added to the others."""
    video = _video(call)
    return None if video is None else _first_frame_is_reference(video)


def animate2(call: ModelCall) -> TokenGrid | None:
    """Wan Animate 2: the latent's first frame is the reference.

    With a pose video the model attends frame by frame, to keys that are not its queries; what it
    does over the pose video alone is not this layout either. Both stay dense.
    """
    if not is_video(call.x):
        return None
    # The model ignores frames to append.
    patch = tuple(call.diffusion_model.patch_size)
    grid = patches(tuple(call.x.shape[2:]), patch)
    video = TokenGrid(grid, patch, other_lengths=_other_lengths(call), published=grid)
    return _first_frame_is_reference(video)


def dancer(call: ModelCall) -> TokenGrid | None:
    """WanDancer: as Wan, with music in cross-attention that PSA does not see.

    Its class has a place for a reference before the video, but fails on one.
    """
    return _video(call)


def _video(call: ModelCall) -> TokenGrid | None:
    """The latent's frames; appended ones (Phantom's references) are extra tokens after them."""
    if not is_video(call.x):
        return None
    patch = tuple(call.diffusion_model.patch_size)
    grid = patches(tuple(call.x.shape[2:]), patch)
    appended = call.conditions.get("time_dim_concat")
    more = 0 if appended is None else appended.shape[2]
    return TokenGrid(
        grid,
        patch,
        after=more * math.prod(grid[1:]),
        other_lengths=_other_lengths(call),
        published=(grid[0] + more, *grid[1:]),
    )


def _reference_after(call: ModelCall) -> TokenGrid | None:
    video = _video(call)
    reference = call.conditions.get("reference_latent")
    if video is None or reference is None:
        return video
    return replace(video, after=video.after + _whole_patches(reference.shape[2:], video.patch))


def _first_frame_is_reference(video: TokenGrid) -> TokenGrid:
    frames, height, width = video.grid
    if frames == 1:
        return video
    return replace(video, grid=(frames - 1, height, width), before=height * width)


def _converted_reference(call: ModelCall, video: TokenGrid) -> int:
    reference = call.conditions.get("reference_latent")
    if reference is None or getattr(call.diffusion_model, "ref_conv", None) is None:
        return 0
    return _whole_patches(reference.shape[-2:], video.patch[1:])


def _whole_patches(size: Any, patch: Any) -> int:
    """A reference is not padded: the convolution that cuts it drops the rest."""
    return math.prod(s // p for s, p in zip(size, patch, strict=True))


def _other_lengths(call: ModelCall) -> tuple[int, ...]:
    """Cross-attention looks square when its keys happen to be as many as the video's tokens."""
    names = ("c_crossattn", "clip_fea", "clip_fea_ref")
    found = {name: call.conditions.get(name) for name in names}
    lengths = {n: x.shape[-2] for n, x in found.items() if isinstance(x, torch.Tensor)}
    # WanDancer attends to both images at once.
    images = lengths.get("clip_fea", 0) + lengths.get("clip_fea_ref", 0)
    return (*lengths.values(), *([images] if "clip_fea_ref" in lengths else []))
