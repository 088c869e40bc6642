"""Calls of one attention layer in the steps of a run, on a small video."""

import torch

from psa_kernels import PSAConfig, psa_attention

CONFIG = PSAConfig(
    block_n=32, tile_n=16, grouping="similar", refresh=3, tail=16, second_moment=True,
    mask_ratios={1: (0, 0.3), 8: (0.3, 0.6), 0: (0.6, 1)}, rearrange_method="Gilbert",
)  # fmt: skip
GRID = (4, 6, 8)
# what the fixture `made` finds where everything is made anew
ALL = ["groups", "importance", "levels"]


def tensors(step=0, dtype=torch.float32, grid=GRID):
    """q, k, v that drift from step to step."""
    rng = torch.Generator().manual_seed(0)
    shape = 1, 2, grid[0] * grid[1] * grid[2], 16
    first, drift = torch.randn(2, 3, *shape, generator=rng)
    return (first + 0.3 * step * drift).to(dtype)


def call(state, step=None, config=CONFIG, inputs=None, **keywords):
    q, k, v = tensors(step or 0) if inputs is None else inputs
    grid = keywords.pop("grid", GRID)
    return psa_attention(q, k, v, config=config, grid=grid, state=state, step=step, **keywords)


def made_in(made, state, steps, **keywords):
    """What the call of each step makes, as lists like ALL."""
    found = []
    for step in steps:
        made.clear()
        call(state, step, **keywords)
        found.append(list(made))
    return found
