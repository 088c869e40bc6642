"""Which clip sizes are trained when: small ones first, since most of what is learned is local.

A size is (frames, rows, columns) in tokens: 4 video frames and 16 x 16 pixels each.
"""

from __future__ import annotations

import random

Size = tuple[int, int, int]
Stages = tuple[tuple[float, dict[Size, float]], ...]

# (until which share of the training, {size: share of the steps}); all steps have about equally
# many tokens
DEFAULT: Stages = (
    (0.30, {(4, 12, 12): 0.40, (6, 16, 16): 0.40, (8, 16, 24): 0.20}),
    (0.75, {(4, 12, 12): 0.10, (6, 16, 16): 0.30, (8, 16, 24): 0.30, (8, 32, 32): 0.30}),
    (1.00, {(6, 16, 16): 0.15, (8, 16, 24): 0.25, (8, 32, 32): 0.45, (16, 32, 32): 0.15}),
)
# for a look at the trainer on a CPU
TINY: Stages = ((1.0, {(3, 6, 6): 0.5, (4, 8, 8): 0.5}),)

CURRICULA = {"default": DEFAULT, "tiny": TINY}


def size_at(stages: Stages, progress: float, seed: int) -> Size:
    """The size of one step; the same for the same seed."""
    shares = next((shares for until, shares in stages if progress < until), stages[-1][1])
    return random.Random(seed).choices(list(shares), weights=list(shares.values()))[0]


def tokens(size: Size) -> int:
    return size[0] * size[1] * size[2]
