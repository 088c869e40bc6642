"""LTX-Video and LTX-2: layouts of comfy.ldm.lightricks."""

from __future__ import annotations

import torch

from ....psa_engines.core.token_grid import TokenGrid
from .model_call import ModelCall, latent_shapes


def ltx(call: ModelCall) -> TokenGrid | None:
    """LTX-Video and the video stream of LTX-2; guide frames follow the video.

    Guides are frames of the latent. Those of another size come in a frame with holes, which the
    model leaves out.
    """
    video, *audio = latent_shapes(call)
    if len(video) != 5:
        return None
    patch = tuple(call.diffusion_model.patchifier.patch_size)
    frames, height, width = (s // p for s, p in zip(video[2:], patch, strict=True))

    keyframes = call.conditions.get("keyframe_idxs")
    guides = 0 if keyframes is None else keyframes.shape[2]
    guide_frames, rest = divmod(guides, height * width)
    if rest or guide_frames >= frames:
        return None
    tokens = (frames - guide_frames) * height * width
    mask = call.conditions.get("denoise_mask") if guides else None
    if mask is not None:
        # Read once per call of the model, which reads the same mask.
        left_out = (mask < 0).any(dim=1)[0].flatten()
        if left_out[:tokens].any():
            return None
        guides -= int(left_out[tokens:].sum())

    # Cross-attention with text and audio, and the audio's own: they may look like the video's.
    others = [shape[2] for shape in audio]
    text, reference = call.conditions.get("c_crossattn"), call.conditions.get("ref_audio")
    if isinstance(text, torch.Tensor):
        others.append(text.shape[1])
    if reference is not None:
        others += [n + reference["tokens"].shape[1] for n in others[: len(audio)]]
    grid = (frames - guide_frames, height, width)
    return TokenGrid(grid, patch, after=guides, other_lengths=tuple(others))
