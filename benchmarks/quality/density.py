"""Shares of the key blocks that cost a given density.

With quotas ("topk") a row's density follows from how many of its N key blocks are on each level:
(sum over levels of count / level + count on level 0 / tail) / N. So configurations can be compared
at equal cost. Blocks come in whole numbers, so a density is met from below, as closely as one
block allows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psa_kernels import PSAConfig
from psa_kernels.config import MaskRatios

POOLED = (1, 2, 4, 8)


class Unreachable(ValueError):  # noqa: N818 - a finding: the table says so in place of figures
    """No shares of this kind cost so little."""


def density_of(counts: Mapping[int, int], blocks: int, tail: int | str) -> float:
    """Density of a row with `counts` of its key blocks per level, the rest on level 0."""
    rest = blocks - sum(counts.values())
    cost = sum(count / level for level, count in counts.items())
    return (cost + (0 if tail == "none" else rest / tail)) / blocks


def nearest_whole(target: float, blocks: int) -> float:
    """The density nearest to `target` that whole key blocks on level 1 alone can have."""
    return max(1, round(target * blocks)) / blocks


def solve_counts(
    target: float, ratio: Mapping[int, float], tail: int | str, blocks: int
) -> dict[int, int]:
    """How many key blocks go to each level for a density of at most `target`.

    ratio  blocks of each level in proportion to one another, such as {1: 1, 8: 3}
    The largest multiple of `ratio` that fits, then single steps while one fits, to the finest level
    first. At least one block is on the finest level. Raises `Unreachable`.
    """
    levels = [level for level in POOLED if ratio.get(level, 0) > 0]

    def scaled(x: float) -> dict[int, int]:
        counts = {level: math.floor(x * ratio[level] + 1e-9) for level in levels}
        counts[levels[0]] = max(1, counts[levels[0]])
        return counts

    def fits(counts: dict[int, int]) -> bool:
        whole = sum(counts.values()) <= blocks
        return whole and density_of(counts, blocks, tail) <= target + 1e-9

    if not fits(scaled(0)):
        least = density_of(scaled(0), blocks, tail)
        raise Unreachable(f"it costs {least:.3f} at least")
    low, high = 0.0, blocks / min(ratio[level] for level in levels)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(scaled(middle)) else (low, middle)
    counts = scaled(low)
    while bigger := next(
        (more for more in _one_step(counts, levels, tail, blocks) if fits(more)), None
    ):
        counts = bigger
    return counts


def _one_step(counts: dict[int, int], levels: list[int], tail: int | str, blocks: int):
    """Yields what costs a little more: a block taken from level 0, or from the coarsest level."""
    whole = sum(counts.values()) == blocks
    coarsest = next((level for level in reversed(levels) if counts[level]), levels[0])
    for level in levels:
        if whole and level < coarsest:
            yield {**counts, level: counts[level] + 1, coarsest: counts[coarsest] - 1}
        # beside a tail as coarse as the level itself a block more costs nothing and is no gain
        elif not whole and level != tail:
            yield {**counts, level: counts[level] + 1}


def ratios_of(counts: Mapping[int, int], blocks: int) -> MaskRatios:
    """`mask_ratios` that give these counts for `blocks` key blocks; the rest is on level 0."""
    ratios, begin = {}, 0
    for level in POOLED:
        if counts.get(level):
            end = begin + counts[level]
            ratios[level] = (begin / blocks, end / blocks)
            begin = end
    if begin < blocks:
        ratios[0] = (begin / blocks, 1.0)
    return MaskRatios(ratios)


def solve(target: float, ratio: Mapping[int, float], tail: int | str, blocks: int) -> MaskRatios:
    """`mask_ratios` for a density of at most `target`; see `solve_counts`."""
    return ratios_of(solve_counts(target, ratio, tail, blocks), blocks)


@dataclass(frozen=True)
class Part:
    """Steps that follow one another with the same shares. counts: key blocks per level, the rest on
    level 0 with this tail."""

    steps: int
    counts: Mapping[int, int]
    tail: int | str

    def cost(self, blocks: int) -> float:
        return self.steps * density_of(self.counts, blocks, self.tail)


def nothing_dropped(target: float, blocks: int) -> dict[int, int]:
    """As many blocks in full as a density of `target` has room for, all others at 8."""
    full = math.floor(blocks * (target - 1 / 8) / (1 - 1 / 8) + 1e-9)
    if full < 1:
        raise Unreachable(
            f"it costs {density_of({1: 1, 8: blocks - 1}, blocks, 'none'):.3f} at least"
        )
    return {1: min(full, blocks), 8: max(0, blocks - full)}


def filled(parts: Sequence[Part], blocks: int, budget: float) -> list[Part]:
    """The parts with more blocks on finer levels, one by one from the first part on, as long as
    together they cost at most `budget`, in steps of dense attention."""
    parts = list(parts)

    def richer():
        for i, part in enumerate(parts):
            others = sum(other.cost(blocks) for other in parts) - part.cost(blocks)
            for counts in _one_step(dict(part.counts), list(part.counts), part.tail, blocks):
                more = Part(part.steps, counts, part.tail)
                if others + more.cost(blocks) <= budget + 1e-9:
                    yield i, more

    while found := next(richer(), None):
        parts[found[0]] = found[1]
    return parts


def sparse_steps(config: PSAConfig, steps: int) -> list[PSAConfig]:
    """The settings of each step of a run that is not dense, in order."""
    own = (config.for_step(step / steps) for step in range(config.warmup_steps, steps))
    return [settings for settings in own if settings.type != "dense"]


def cost_of_run(config: PSAConfig, tokens: int, steps: int) -> float:
    """Mean density of all steps of a run by quotas, dense ones counted as 1; no text tokens."""
    sparse = sparse_steps(config, steps)
    total = float(steps - len(sparse))
    for own in sparse:
        blocks = -(-tokens // own.block_n)
        counts = own.mask_ratios.quotas(blocks)
        total += density_of({x: n for x, n in counts.items() if x}, blocks, own.tail)
    return total / steps
