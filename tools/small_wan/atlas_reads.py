"""Reading an atlas at many places at once."""

import torch
from torch.nn import functional

from .assets import COLUMNS, Atlas


def levels(texels: torch.Tensor) -> torch.Tensor:
    """The level (a number with a fraction) at which so many texels a pixel become one."""
    return texels.clamp(min=1e-6).log2()


def sample(
    atlas: Atlas,
    cell: torch.Tensor,
    u: torch.Tensor,
    v: torch.Tensor,
    lod: torch.Tensor,
    *,
    smooth: bool = True,
    channels: slice = slice(None),
) -> torch.Tensor:
    """[C, B, F, H, W] of pictures at u to the right and v down, 0..1; outside their border goes on.

    cell and lod: broadcast over u and v [B, F, H, W].  `smooth`: two levels are mixed, otherwise
    lod has whole numbers.
    """
    pixels = atlas.pixels[:, channels]
    lod = lod.clamp(0, atlas.levels - 1)
    low = lod.floor() if smooth else lod
    read = _read(pixels, atlas.size, cell, u, v, low)
    if not smooth:
        return read
    above = _read(pixels, atlas.size, cell, u, v, (low + 1).clamp(max=atlas.levels - 1))
    return torch.lerp(read, above, (lod - low).expand_as(u)[None])


def _read(pixels: torch.Tensor, size: int, cell, u, v, level) -> torch.Tensor:
    height, width = pixels.shape[-2:]
    side = torch.exp2(-level) * size
    halved = level > 0
    left = (cell % COLUMNS) * (1.5 * size) + torch.where(halved, float(size), 0.0)
    top = (cell // COLUMNS) * float(size) + torch.where(halved, size - 2 * side, 0.0)
    border = 0.5 / side
    x = left + torch.minimum(torch.maximum(u, border), 1 - border) * side
    y = top + torch.minimum(torch.maximum(v, border), 1 - border) * side
    grid = torch.stack([x * (2 / width) - 1, y * (2 / height) - 1], -1)
    read = functional.grid_sample(pixels, grid.reshape(1, -1, u.shape[-1], 2), align_corners=False)
    return read.reshape(pixels.shape[1], *u.shape)
