"""From the measurements to predicted errors: each block's points (density, error).

An error is a share of the squared norm of the model's output, mean over the sparse steps: the error
of the block's own attention, times how much of it reaches the output. The probes say how much;
without them all blocks count alike. Budgets are chosen with the root of that factor, because a
probe of one block among dense ones overstates how much blocks differ (benchmarks/NOTES.md).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .allocate import Point
from .grouping import Compared
from .measure import Call

DENSE = -1  # in place of a rung
TRUST = 0.5


@dataclass(frozen=True)
class Probe:
    """A model call with one block sparse: squared error of the output over its squared norm."""

    step: int
    block: int
    rung: int
    error: float


@dataclass(frozen=True)
class Measurements:
    """scales    of the ladder's rungs
    calls     step -> its attention calls
    compared  the comparison of groupings; None if the base's own grouping was kept without one
    stands    step -> how many sparse steps it stands for; empty: all for the same number
    """

    scales: tuple[float, ...]
    calls: dict[int, list[Call]]
    probes: tuple[Probe, ...] = ()
    compared: Compared | None = None
    stands: dict[int, float] = field(default_factory=dict)

    def weight(self, step: int) -> float:
        return self.stands.get(step, 1.0)

    @property
    def blocks(self) -> list[int]:
        return sorted({call.block for calls in self.calls.values() for call in calls})


def points(
    found: Measurements,
    *,
    dense: bool = True,
    kept: Iterable[int] = (),
    trust: float = TRUST,
) -> dict[int, list[Point]]:
    """Block -> the points of its rungs, and that of the dense block.

    dense  whether a block may be dense
    kept   blocks that stay dense
    trust  exponent of the probes' factor: 0 ignores the probes, 1 uses them as they are
    """
    kept = set(kept)
    weights = weights_of(found)
    totals: dict[int, list[list[float]]] = defaultdict(lambda: [[0.0, 0.0] for _ in found.scales])
    counts: dict[int, float] = defaultdict(float)
    every = sum(map(found.weight, found.calls))
    for step, calls in found.calls.items():
        stands = found.weight(step)
        share = stands / every
        of_block: dict[int, int] = Counter(call.block for call in calls)
        for call in calls:
            counts[call.block] += stands
            factor = weights(step, call.block) ** trust
            for total, (density, error) in zip(totals[call.block], call.rungs, strict=True):
                size = error / call.norm if call.norm else 0.0
                total[0] += density * stands
                total[1] += size * factor * share / of_block[call.block]
    return {
        block: [
            Point(density / counts[block], error, rung)
            for rung, (density, error) in enumerate(totals[block])
            if block not in kept and math.isfinite(error)
        ]
        + [Point(1.0, 0.0, DENSE)] * (dense or block in kept)
        for block in found.blocks
    }


def weights_of(found: Measurements):
    """(step, block) -> how much of a block's relative error reaches the output, from the nearest
    probed step; 1 without probes."""
    by_step: dict[int, dict[int, float]] = defaultdict(dict)
    for probe in found.probes:
        calls = [call for call in found.calls.get(probe.step, ()) if call.block == probe.block]
        own = _mean(call.rungs[probe.rung][1] / call.norm for call in calls if call.norm)
        by_step[probe.step][probe.block] = probe.error / own if own else 0.0

    def weight(step: int, block: int) -> float:
        near = sorted(by_step, key=lambda other: abs(other - step))
        return next((by_step[s][block] for s in near if block in by_step[s]), 1.0)

    return weight


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values) if values else 0.0


def uniform(blocks: Sequence[Sequence[Point]]) -> list[tuple[float, float]]:
    """(mean density, summed error) with all blocks on the same rung, rung by rung.

    Blocks that stay dense are dense here too.
    """
    rungs = sorted({p.rung for points in blocks for p in points} - {DENSE})
    found = []
    for rung in rungs:
        at = [_at(points, rung) for points in blocks]
        if None not in at:
            found.append((sum(p.density for p in at) / len(at), sum(p.error for p in at)))
    return sorted(found)


def _at(points: Sequence[Point], rung: int) -> Point | None:
    if len(points) == 1 and points[0].rung == DENSE:
        return points[0]
    return next((p for p in points if p.rung == rung), None)
