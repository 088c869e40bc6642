"""Makes a preset from the measurements, and predicts its error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...psa_kernels.config import DENSE as DENSE_BLOCK
from ...psa_kernels.config import BlockOverrides, PSAConfig, StepRanges
from .allocate import (
    SLACK,
    Allocation,
    Point,
    allocation,
    curve,
    for_density,
    for_error,
    points_at,
)
from .errors import CalibrationError
from .ladder import has_budget, scaled
from .predict import DENSE, Measurements, points, uniform, weights_of


@dataclass(frozen=True)
class Fit:
    """config     the base in the chosen grouping, with a budget of its own for each block
    chosen     density: mean over the blocks in a sparse step; error: predicted share of the squared
               norm of the model's output
    curve      (density, error) of every allocation on the way
    uniform    the same for the base scaled as a whole
    blocks     block -> its point
    weights    block -> how much of its error reaches the output
    target     the density or error (rel-L2) asked for; `met`: whether it was reached
    """

    config: PSAConfig
    chosen: Allocation
    curve: list[tuple[float, float]]
    uniform: list[tuple[float, float]]
    blocks: dict[int, Point]
    weights: dict[int, float]
    target: float
    met: bool


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
    """The allocation for a mean density, or for an error of the model's output (rel-L2).

    density, error            one of the two; with neither, the mean density of the base itself with
                              its `kept` blocks dense
    dense, kept, predicting   see `predict.points`
    If the target is out of reach, the result is the closest allocation, and `met` is false. Raises
    `CalibrationError` for a block without any usable budget.
    """
    by_block = points(found, dense=dense, kept=kept, **predicting)
    for block, rungs in by_block.items():
        if not rungs:
            raise CalibrationError(
                f"block {block}: with every budget its error is infinite or NaN, and allow_dense "
                "is off. Fix: set allow_dense to yes, or name the block in dense_blocks"
            )
    # blocks are chosen with damped weights, but errors are predicted with the probes as they are
    whole = points(found, dense=dense, kept=kept, **{**predicting, "trust": 1.0})
    names, choices, costs = list(by_block), list(by_block.values()), list(whole.values())
    path = [allocation(points_at(costs, state.rungs)) for state in curve(choices)]
    if error is not None:
        target, chosen = error, for_error(path, error**2)
        met = chosen.error <= error**2 * (1 + SLACK)
    else:
        target = density or own_density(found, kept)
        chosen = allocation(points_at(costs, for_density(choices, target).rungs))
        met = chosen.density <= target + SLACK
    at = dict(zip(names, points_at(costs, chosen.rungs), strict=True))
    weights = weights_of(found)
    means = {
        block: sum(weights(step, block) for step in found.calls) / len(found.calls)
        for block in names
    }
    shown = [(state.density, state.error) for state in path]
    return Fit(configured(base, found, at), chosen, shown, uniform(costs), at, means, target, met)


def own_density(found: Measurements, kept: frozenset[int] = frozenset()) -> float:
    """Mean density of the base itself, with its `kept` blocks dense."""
    own = found.scales.index(1.0)
    calls = [(found.weight(step), call) for step, calls in found.calls.items() for call in calls]
    total = sum(n * (1.0 if call.block in kept else call.rungs[own][0]) for n, call in calls)
    return total / sum(n for n, _ in calls)


def configured(base: PSAConfig, found: Measurements, at: dict[int, Point]) -> PSAConfig:
    """`base` in the chosen grouping, with each block on its rung, also in each range of steps with
    a budget of its own. Blocks on the base's own rung get no entry."""
    scales = {block: None if p.rung == DENSE else found.scales[p.rung] for block, p in at.items()}
    steps = {}
    for range_, own in base.steps.items():
        if own != DENSE_BLOCK and has_budget(own):
            own = (*own, ("blocks", _blocks(base.of_ranges[range_], scales)))
        steps[range_] = own
    grouping = found.compared.chosen if found.compared else base.grouping
    return base.replace(blocks=_blocks(base, scales), steps=StepRanges(steps), grouping=grouping)


def _blocks(part: PSAConfig, scales: dict[int, float | None]) -> BlockOverrides:
    """The settings of blocks whose budget is `scales[block]` times that of `part`; None: dense."""
    return BlockOverrides({
        block: DENSE_BLOCK if scale is None else (("mask_ratios", scaled(part, scale)),)
        for block, scale in scales.items() if scale != 1
    })  # fmt: skip
