"""The STA order: one small 3D tile after another (section 1)."""

from __future__ import annotations

import torch


def tile_order(grid: tuple[int, int, int], tile: tuple[int, int, int]) -> torch.Tensor:
    """int64 `[T * h * w]`: raster order of tiles, raster order inside a tile.

    `grid` (frames, height, width) and `tile` (depth, height, width) in tokens. If a tile does not
    divide the grid, the tiles at the far edges are smaller.
    """
    tile_of = torch.zeros(grid, dtype=torch.int64)
    for axis, (size, step) in enumerate(zip(grid, tile, strict=True)):
        shape = [1, 1, 1]
        shape[axis] = size
        tiles_along = -(-size // step)
        tile_of = tile_of * tiles_along + (torch.arange(size) // step).view(shape)
    # a stable sort leaves the tokens of one tile in raster order
    return tile_of.flatten().argsort(stable=True)
