"""Which block gets which rung: the least predicted error for a density, or the other way round.

Every block's points (density, error) are reduced to their lower convex hull. The steps up the hulls
are taken in order, the largest gain for its cost first. Each state on the way has the least error
of all allocations that are no denser: together they are the trade-off curve. The budget that is
left after the last whole step goes to steps that still fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

SLACK = 1e-9  # how far a sum of floats may be over a target


@dataclass(frozen=True)
class Point:
    """One rung of one block. A `density` of 1 with an `error` of 0 is the dense block."""

    density: float
    error: float
    rung: int


@dataclass(frozen=True)
class Allocation:
    """rungs    one for each block, in the order given
    density  mean over the blocks
    error    sum over the blocks
    """

    rungs: tuple[int, ...]
    density: float
    error: float


def hull(points: Sequence[Point]) -> list[Point]:
    """The lower convex hull, with density rising and error falling."""
    found: list[Point] = []
    for point in sorted(points, key=lambda p: (p.density, p.error)):
        if found and point.error >= found[-1].error:
            continue
        while len(found) > 1 and _above(found[-2], found[-1], point):
            found.pop()
        found.append(point)
    return found


def _above(left: Point, middle: Point, right: Point) -> bool:
    """Whether the middle point lies on or above the line between the others."""
    rise = (right.error - left.error) * (middle.density - left.density)
    return (middle.error - left.error) * (right.density - left.density) >= rise


def curve(blocks: Sequence[Sequence[Point]]) -> list[Allocation]:
    """From the least density to the least error, one step of one block at a time."""
    hulls = [hull(points) for points in blocks]
    steps = sorted(
        (-(b.error - a.error) / (b.density - a.density), i, place)
        for i, points in enumerate(hulls)
        for place, (a, b) in enumerate(pairwise(points), 1)
    )
    at = [points[0] for points in hulls]
    states = [allocation(at)]
    for _, i, place in sorted(steps, key=lambda step: -step[0]):
        at[i] = hulls[i][place]
        states.append(allocation(at))
    return states


def for_density(blocks: Sequence[Sequence[Point]], target: float) -> Allocation:
    """The least error at a mean density of at most `target`; the least dense if none fits."""
    states = curve(blocks)
    fitting = [state for state in states if state.density <= target + SLACK]
    if not fitting:
        return states[0]
    # with few blocks, one long step of a hull may block many short ones
    starts = [fitting[-1], *(s for s in _alike(blocks) if s.density <= target + SLACK)]
    return min((_filled(blocks, start, target) for start in starts), key=lambda s: s.error)


def _alike(blocks: Sequence[Sequence[Point]]) -> list[Allocation]:
    """All blocks on the same rung, for each rung that all blocks have."""
    by_rung = [{p.rung: p for p in points} for points in blocks]
    shared = set.intersection(*map(set, by_rung))
    return [allocation([points[rung] for points in by_rung]) for rung in sorted(shared)]


def for_error(states: Sequence[Allocation], target: float) -> Allocation:
    """The least dense state of a curve whose summed error is at most `target`; else the last."""
    return next((state for state in states if state.error <= target * (1 + SLACK)), states[-1])


def _filled(blocks: Sequence[Sequence[Point]], start: Allocation, target: float) -> Allocation:
    """`start`, with the rest of the budget spent on single steps that fit, best first."""
    at = points_at(blocks, start.rungs)
    room = target * len(blocks) - sum(p.density for p in at)
    while True:
        better = [
            ((at[i].error - p.error) / (p.density - at[i].density), i, p)
            for i, points in enumerate(blocks)
            for p in points
            if p.error < at[i].error and 0 < p.density - at[i].density <= room + SLACK
        ]
        if not better:
            return allocation(at)
        _, i, point = max(better, key=lambda found: found[0])
        room -= point.density - at[i].density
        at[i] = point


def points_at(blocks: Sequence[Sequence[Point]], rungs: Sequence[int]) -> list[Point]:
    """Each block's point on its rung."""
    return [
        next(p for p in points if p.rung == rung)
        for points, rung in zip(blocks, rungs, strict=True)
    ]


def allocation(at: Sequence[Point]) -> Allocation:
    return Allocation(
        tuple(p.rung for p in at), sum(p.density for p in at) / len(at), sum(p.error for p in at)
    )


def interpolated(curve: list[tuple[float, float]], density: float) -> float | None:
    """The error at a density between two points of a curve; None outside it."""
    for (left, high), (right, low) in pairwise(curve):
        if left <= density <= right:
            share = (density - left) / (right - left) if right > left else 0.0
            return high + (low - high) * share
    return next((error for at, error in curve if abs(at - density) < 1e-9), None)
