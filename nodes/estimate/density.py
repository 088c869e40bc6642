"""The share of dense attention's query-key products that calls compute (`Stats.density`).

In mode topk it follows from the quotas. Where it depends on the video, made-up attention stands in
for it: peaked, medium and flat.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...psa_kernels.config import DENSE, PSAConfig
from .calls import Calls


@dataclass(frozen=True)
class Tokens:
    """`grid` = (frames, height, width) of the video's tokens; `text` tokens stand beside them."""

    grid: tuple[int, int, int]
    text: int

    @property
    def video(self) -> int:
        return math.prod(self.grid)

    @property
    def total(self) -> int:
        return self.video + self.text


# where no size is given: what goes by quotas hardly depends on it
USUAL = Tokens((21, 30, 52), 0)

# share of a row's key blocks before which less than MASS lies, the most important first, in peaked,
# medium and flat attention: `python -m benchmarks.density_profiles`
MASS = (0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.97, 0.99, 1)
IN_ORDER = (
    (0.004, 0.004, 0.006, 0.012, 0.019, 0.040, 0.120, 0.309, 0.423, 1),
    (0.004, 0.004, 0.010, 0.027, 0.055, 0.120, 0.248, 0.405, 0.484, 1),
    (0.004, 0.017, 0.070, 0.174, 0.244, 0.340, 0.527, 0.789, 0.909, 1),
)
IN_RASTER = (
    (0.004, 0.011, 0.031, 0.080, 0.133, 0.220, 0.356, 0.555, 0.749, 1),
    (0.004, 0.018, 0.052, 0.134, 0.204, 0.298, 0.448, 0.721, 0.878, 1),
    (0.004, 0.051, 0.146, 0.311, 0.436, 0.590, 0.773, 0.924, 0.974, 1),
)
NOTES = {
    "profile": "depends on the video; for made-up attention, neither peaked nor flat",
    "exact": "the same for every video: each level has its quota of blocks",
    "dense": "nothing is sparse",
}


@dataclass(frozen=True)
class Density:
    """kind: "exact", "profile" (it depends on the video and is from `low` to `high`) or "dense"."""

    value: float
    low: float
    high: float
    kind: str
    note: str


def density(calls: Calls, tokens: Tokens) -> Density:
    """The mean over the calls."""
    low, value, high = (
        sum(n * _products(config, tokens, _levels(config, tokens, i)) for n, config in calls)
        for i in range(3)
    )
    sparse = any(config.type != DENSE for _, config in calls)
    kind = "dense" if not sparse else "exact" if low == high else "profile"
    mean = f"mean over calls with {len(calls)} sets of settings; " if len(calls) > 1 else ""
    return Density(value, low, high, kind, mean + NOTES[kind])


def _levels(config: PSAConfig, tokens: Tokens, video: int) -> Mapping[int, float]:
    """Level -> share of a row's key blocks; `video`: 0 for peaked attention, 1 medium, 2 flat."""
    if config.type == DENSE:
        return {1: 1.0}
    ratios, blocks = config.mask_ratios, -(-tokens.video // config.block_n)
    taking = [(level, upper) for level, upper in ratios.uppers() if ratios.width(level) > 0]
    if config.mask_mode == "topk":
        counts = ratios.quotas(blocks)
        if counts.get(0) == blocks and config.tail == "none" and not tokens.text:
            # a softmax needs a key: the most important block is kept (reference/levels.py)
            counts = {0: blocks - 1, taking[0][0]: 1}
        found = {level: count / blocks for level, count in counts.items()}
    else:
        curve = (IN_ORDER if config.order else IN_RASTER)[video]
        ends = [float(np.interp(upper, MASS, curve)) for _, upper in taking[:-1]]
        shares = np.diff([0.0, *ends, 1.0]).tolist()
        found = {level: share for (level, _), share in zip(taking, shares, strict=True)}
    if config.use_sim_mask and video == 2:  # no pooled block may be alike enough
        found = {0: found.get(0, 0.0), 1: 1 - found.get(0, 0.0)}
    return found


def _products(config: PSAConfig, tokens: Tokens, shares: Mapping[int, float]) -> float:
    """The density of rows that have `shares` of their key blocks on each level.

    The last key block may be short: it counts as if it were on each level as often as the others.
    """
    n, video, text = config.block_n, tokens.video, tokens.text
    blocks = -(-video // n)
    last, row = video - (blocks - 1) * n, 0.0
    for level, share in shares.items():
        if pool := level or (config.tail != "none" and config.tail):
            row += share * ((blocks - 1) * -(-n // pool) + -(-last // pool))
    # every query sees the text in full; a query of the text sees everything in full
    return (video * (text + row) + text * tokens.total) / tokens.total**2
