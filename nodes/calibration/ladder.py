"""The budgets that a calibration tries: a base preset made smaller and larger."""

from __future__ import annotations

from dataclasses import dataclass

from ...psa_kernels.config import LEVELS, MaskRatios, PSAConfig

# How much larger a rung is than the one before, how many are below the base, and the share of full
# blocks above which a block may as well be dense.
STEP, BELOW, MOST = 1.4, 3, 0.8
MOST_RUNGS = 40
LADDER = (STEP, BELOW, MOST, MOST_RUNGS)  # figures of one ladder are none of another's


@dataclass(frozen=True)
class Rung:
    """`config` is the base with its shares scaled by `scale`; 1 is the base itself."""

    scale: float
    config: PSAConfig


def ladder(base: PSAConfig, key_blocks: int) -> tuple[Rung, ...]:
    """Rungs of rising budget, no two of which give a row of `key_blocks` the same levels."""
    base = base.replace(blocks={}, steps={})
    found: dict[tuple, Rung] = {}
    for power in range(-BELOW, MOST_RUNGS):
        scale = STEP**power
        ratios = scaled(base, scale)
        if power > 0 and ratios.width(1) >= MOST:
            break
        same = tuple((ratios.quotas(key_blocks) if base.mask_mode == "topk" else ratios).items())
        rung = Rung(scale, base.replace(mask_ratios=ratios))
        if same not in found or scale == 1:
            found[same] = rung
    return tuple(found.values())


def scaled(config: PSAConfig, scale: float) -> MaskRatios:
    """The shares of all levels times `scale`, as far as there is room; level 0 takes the rest.

    Without a level 0 the coarsest level takes it. Of thresholds the mass that is left out goes
    with the scale: 1 - bound becomes (1 - bound) ** scale.
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
