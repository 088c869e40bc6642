"""Mass thresholds that cost a given density on the model's own attention.

With quotas a density follows from the shares; with thresholds it depends on how peaked the
attention is. So the estimator's masses of one dense run are kept, and the thresholds moved until
the levels they give cost what is asked for, on the mean over layers and steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from psa_kernels import PSAConfig
from psa_kernels.config import MaskRatios
from psa_kernels.layout import Layout
from psa_kernels.reference import assign_levels
from psa_kernels.stats import Stats

from ..block_mass import Call
from .watch import Seen

PRECISION = 1e-3  # of a threshold: figures that a preset could hold


@dataclass
class Masses:
    """S `[1, H, query blocks, key blocks]` of sampled calls, Gilbert order, blocks of 128."""

    grid: tuple[int, int, int]
    found: list[tuple[torch.Tensor, Layout]] = field(default_factory=list)

    def visit(self, seen: Seen) -> None:
        call = Call(seen.q, seen.k, self.grid, "Gilbert", 128)
        self.found.append((call.mass(), call.layout))

    def density(self, config: PSAConfig) -> float:
        """Mean density over the calls; `config` has the order and block sizes of the masses."""
        total = 0.0
        for mass, layout in self.found:
            plan = assign_levels(mass, None, layout, config)
            total += Stats(plan, layout, config.tail).density
        return total / len(self.found)

    def thresholds(self, density: float, start: PSAConfig) -> PSAConfig:
        """`start` with "thresholdbound" in place of quotas, at most of this density.

        The thresholds begin at the mean mass that the quotas of `start` cover and move together:
        1 - bound becomes (1 - bound) ** x.
        """
        covered = {level: self._covered(upper) for level, upper in start.mask_ratios.uppers()}
        low, high = 0.02, 50.0
        for _ in range(40):
            x = (low * high) ** 0.5
            dear = self.density(_bounded(start, covered, x)) > density
            low, high = (low, x) if dear else (x, high)
        return _bounded(start, covered, low)

    def _covered(self, share: float) -> float:
        """Mass of the top `share` of the blocks, mean over rows, heads and calls."""
        total = 0.0
        for mass, _ in self.found:
            count = int(share * mass.shape[-1] + 1e-6)
            total += mass.topk(count).values.sum(-1).mean().item() if count else 0.0
        return min(1.0, total / len(self.found))


def _bounded(start: PSAConfig, covered: dict[int, float], x: float) -> PSAConfig:
    ratios, begin = {}, 0.0
    last = list(covered)[-1]
    for level, mass in covered.items():
        end = 1.0 if level == last else 1 - (1 - mass) ** x
        end = max(begin, round(end / PRECISION) * PRECISION)
        ratios[level] = (round(begin, 6), round(end, 6))
        begin = end
    return start.replace(mask_mode="thresholdbound", mask_ratios=MaskRatios(ratios))
