"""Where the video's tokens are in a prompt, according to one call of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import Cache

from ..core.token_grid import TokenGrid

# the arguments of one call of a model, by name
Call = Mapping[str, Any]

NO_VIDEO = "no video in the prompt"
UNLIKE = "prompts of several kinds in a batch"


def cache_of(call: Call) -> Cache | None:
    """`past_key_values`, which transformers 5.24 calls `cache`."""
    return next((value for value in call.values() if isinstance(value, Cache)), None)


def cached(call: Call) -> int:
    """How many tokens came before those of this call. With a static cache it waits for the GPU."""
    cache = cache_of(call)
    return 0 if cache is None else int(cache.get_seq_length())


def empty(cache: Cache | None) -> None:
    """Drops everything that a prefill has put into its cache."""
    if cache is None:
        return
    cache.reset()
    # in transformers 5.17, that leaves as many keys, of zeros
    if left := int(cache.get_seq_length()):
        cache.crop(-left)


def new_tokens(call: Call) -> torch.Tensor:
    """The ids `[B, L]` of the tokens that a call adds, or their embeddings `[B, L, C]`."""
    ids = call.get("input_ids")
    return call["inputs_embeds"] if ids is None else ids


def video_of(model: torch.nn.Module, call: Call) -> TokenGrid | str:
    """The one video of a prompt, or why PSA cannot serve it. Waits for the GPU.

    The model's placeholder tokens show where it is; all rows of a batch must have it there.
    """
    ids = call.get("input_ids")
    if ids is None:
        return "no input_ids"
    is_video = ids == model.config.video_token_id
    # where each run of video tokens begins and ends, in each row
    edges = torch.nn.functional.pad(is_video, (1, 1)).int().diff(dim=1)
    runs = (edges == 1).sum(dim=1).tolist()
    if not any(runs):
        return NO_VIDEO
    batch, length = ids.shape
    grids = call.get("video_grid_thw")
    grids = None if grids is None else [tuple(grid) for grid in grids.tolist()]
    if _padded(call.get("attention_mask")):
        return "padded batch"
    if not bool((is_video == is_video[:1]).all()):
        return UNLIKE
    if grids is not None and len(grids) != batch:
        return "several videos in a prompt"
    if runs[0] != 1:
        return "video in several runs of tokens"
    start, end = edges[0].nonzero().flatten().tolist()
    return _grid(model, grids, start, end, length)


def _padded(mask: Any) -> bool:
    return isinstance(mask, torch.Tensor) and mask.dim() == 2 and not bool(mask.all())


def _grid(
    model: torch.nn.Module, grids: list[tuple[int, int, int]] | None, start: int, end: int,
    length: int,
) -> TokenGrid | str:  # fmt: skip
    """Causal attention keeps the tokens' order: without a known grid they form a line."""
    tokens, patch = end - start, (1, 1, 1)
    grid = 1, 1, tokens
    if grids is not None:
        vision = model.config.vision_config
        merge = vision.spatial_merge_size
        patch = vision.temporal_patch_size, vision.patch_size * merge, vision.patch_size * merge
        grid = grids[0][0], grids[0][1] // merge, grids[0][2] // merge
        if len(set(grids)) != 1:
            return UNLIKE
        if grid[0] * grid[1] * grid[2] != tokens:
            return "part of a video"
    return TokenGrid(grid, patch, before=start, after=length - end, text=start + length - end)
