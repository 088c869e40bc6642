"""Which clip sizes are trained when: small ones first, since most of what is learned is local.

A size is (frames, rows, columns) in tokens: 2 video frames and 8 x 8 pixels each.  Sizes of one
number of tokens share a compiled program.
"""

from __future__ import annotations

import random

Size = tuple[int, int, int]
Stages = tuple[tuple[float, dict[Size, float]], ...]

# (until which share of the training, {size: share of the steps}); all steps have about equally
# many tokens
DEFAULT: Stages = (
    (0.35, {(1, 32, 32): 0.40, (4, 16, 16): 0.60}),
    (0.70, {(1, 32, 32): 0.10, (4, 16, 16): 0.15, (4, 32, 32): 0.45, (8, 32, 32): 0.30}),
    (1.00, {(4, 32, 32): 0.20, (8, 32, 32): 0.45, (16, 32, 32): 0.32, (21, 30, 52): 0.03}),
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
