"""The budgets that a calibration tries: a base preset made smaller and larger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...psa_kernels.config import DENSE, LEVELS, MaskRatios, PSAConfig, StepRanges

# How much larger each rung is than the one before, how many rungs are below the base, and the share
# of blocks in full above which a block may as well be dense.
STEP, BELOW, MOST = 1.4, 3, 0.8
MOST_RUNGS = 40
LADDER = (STEP, BELOW, MOST, MOST_RUNGS)  # figures measured with another ladder cannot be used


@dataclass(frozen=True)
class Rung:
    """`config` is the base with its shares scaled by `scale`, also in its ranges of steps. A scale
    of 1 is the base itself."""

    scale: float
    config: PSAConfig


def ladder(base: PSAConfig, key_blocks: int) -> tuple[Rung, ...]:
    """Rungs of rising budget. No two give a row of `key_blocks` the same levels."""
    found: dict[tuple, Rung] = {}
    for power in range(-BELOW, MOST_RUNGS):
        scale = STEP**power
        config = scaled_base(base, scale)
        parts = sparse_parts(config)
        if power > 0 and all(part.mask_ratios.width(1) >= MOST for part in parts):
            break
        same = tuple(_levels(part, key_blocks) for part in parts)
        if same not in found or scale == 1:
            found[same] = Rung(scale, config)
    return tuple(found.values())


def sparse_parts(config: PSAConfig) -> list[PSAConfig]:
    """The preset's own settings and those of its ranges of steps, without dense ranges."""
    return [part for part in config.of_ranges.values() if part.type != DENSE]


def _levels(config: PSAConfig, key_blocks: int) -> tuple:
    ratios = config.mask_ratios
    return tuple((ratios.quotas(key_blocks) if config.mask_mode == "topk" else ratios).items())


def scaled_base(base: PSAConfig, scale: float) -> PSAConfig:
    """The preset without settings of blocks, and with all budgets scaled by `scale`."""
    steps = {}
    for range_, own in base.steps.items():
        if own != DENSE and has_budget(own):
            ratios = scaled(base.of_ranges[range_], scale)
            own = tuple({**dict(own), "mask_ratios": ratios}.items())
        steps[range_] = own
    return base.replace(blocks={}, mask_ratios=scaled(base, scale), steps=StepRanges(steps))


def has_budget(own: tuple[tuple[str, Any], ...]) -> bool:
    """Whether the settings of a range of steps change its budget."""
    return any(path in ("mask_ratios", "mask_mode") for path, _ in own)


def scaled(config: PSAConfig, scale: float) -> MaskRatios:
    """The shares of all levels times `scale`, as far as there is room; level 0 takes the rest.

    Without a level 0, the coarsest level takes the rest. For thresholds, the mass beyond the bound
    is scaled: 1 - bound becomes (1 - bound) ** scale.
    """
    ratios, begin = {}, 0.0
    for level, upper in config.mask_ratios.uppers():
        if config.mask_mode == "topk":
            end = min(1.0, upper * scale)
        else:
            end = 1.0 - (1.0 - upper) ** scale
        end = max(begin, round(end, 6))
        ratios[level] = (begin, end)
        begin = end
    last = max(ratios, key=LEVELS.index)
    ratios[last] = (ratios[last][0], 1.0)
    return MaskRatios(ratios)
