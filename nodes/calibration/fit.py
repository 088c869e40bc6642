"""A preset from what was measured, and what it is expected to cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...psa_kernels.config import DENSE as DENSE_BLOCK
from ...psa_kernels.config import PSAConfig
from .allocate import Allocation, Point, curve, for_density, for_error
from .ladder import scaled
from .predict import DENSE, Measurements, points, uniform, weights_of


@dataclass(frozen=True)
class Fit:
    """config   the base with budgets of their own for its blocks
    chosen     density: mean over the blocks in a sparse step; error: predicted share of the squared
               norm of the model's output
    curve      (density, error) of every allocation on the way, and of the base scaled as a whole
    blocks     block -> what it got
    """

    config: PSAConfig
    chosen: Allocation
    curve: list[tuple[float, float]]
    uniform: list[tuple[float, float]]
    blocks: dict[int, Point]
    weights: dict[int, float]


def fit(
    found: Measurements,
    base: PSAConfig,
    *,
    density: float | None = None,
    error: float | None = None,
    dense: bool = True,
    kept: frozenset[int] = frozenset(),
    **predicting: Any,
) -> Fit:
    """The allocation that meets a mean density, or an error of the model's output (rel-L2).

    density, error            one of them; with neither, the mean density of the base itself
    dense, kept, predicting   see `predict.points`
    """
    by_block = points(found, dense=dense, kept=kept, **predicting)
    # what an allocation is expected to cost is told with the probes taken whole
    whole = points(found, dense=dense, kept=kept, **{**predicting, "trust": 1.0})
    names, choices, costs = list(by_block), list(by_block.values()), list(whole.values())
    path = [_costing(costs, state.rungs) for state in curve(choices)]
    if error is not None:
        chosen = for_error(path, error**2)
    else:
        found_best = for_density(choices, density or own_density(found))
        chosen = _costing(costs, found_best.rungs)
    at = {
        block: next(p for p in whole[block] if p.rung == rung)
        for block, rung in zip(names, chosen.rungs, strict=True)
    }
    weights = weights_of(found)
    means = {
        block: sum(weights(step, block) for step in found.calls) / len(found.calls)
        for block in names
    }
    shown = [(state.density, state.error) for state in path]
    return Fit(configured(base, found, at), chosen, shown, uniform(costs), at, means)


def _costing(blocks: list[list[Point]], rungs: tuple[int, ...]) -> Allocation:
    at = [
        next(p for p in points if p.rung == rung)
        for points, rung in zip(blocks, rungs, strict=True)
    ]
    return Allocation(rungs, sum(p.density for p in at) / len(at), sum(p.error for p in at))


def own_density(found: Measurements) -> float:
    """Of the base, all blocks on its own rung."""
    own = found.scales.index(1.0)
    calls = [call for calls in found.calls.values() for call in calls]
    return sum(call.rungs[own][0] for call in calls) / len(calls)


def configured(base: PSAConfig, found: Measurements, at: dict[int, Point]) -> PSAConfig:
    """`base` with each block on its rung; blocks on the base's own need no word."""
    blocks: dict[int, Any] = {}
    for block, point in at.items():
        if point.rung == DENSE:
            blocks[block] = DENSE_BLOCK
        elif found.scales[point.rung] != 1:
            ratios = scaled(base, found.scales[point.rung])
            blocks[block] = {"mask_ratios": {level: list(pair) for level, pair in ratios.items()}}
    return base.replace(blocks=blocks)
