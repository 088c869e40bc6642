"""The steps of a sampler run, and whether PSA is on in each.

A run may be a part of a longer one (denoise < 1, two samplers in a row, the two experts of Wan
2.2), which only its sigmas tell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from ..ground import DENSE, PSAConfig, StepRanges, range_text

WARM_UP = "warm-up"
BEFORE_WINDOW = "before start percent"
AFTER_WINDOW = "after end percent"
DENSE_PRESET = "dense preset"
DENSE_RANGE = "dense range"


@dataclass(frozen=True)
class Step:
    """One sampler step.

    dense  the reason why it is dense, or None where PSA is on
    place  where it begins in the whole schedule, in [0, 1): the steps before it over all steps,
           counted as for the warm-up. A part of a split run has the places that its steps have in
           the whole. Where no schedule is recognised, or none is looked for because nothing
           depends on it: the percent of the model's noise schedule that its sigma stands for.
    range  the preset's range of steps that it begins in, as the preset has it; None where in none
    """

    sigma: float
    dense: str | None
    place: float = 0.0
    range: str | None = None


@dataclass(frozen=True)
class Schedule:
    """The steps of one sampler run.

    goes_on   it stops before the noise is gone
    estimate  how many steps came before, where that could only be estimated: no known schedule
              holds this run's sigmas
    of        the steps of the whole, where only these could be estimated: known schedules of other
              lengths hold this run's sigmas too
    """

    steps: tuple[Step, ...]
    goes_on: bool = False
    estimate: int | None = None
    of: int | None = None

    def all_dense(self, reason: str) -> Schedule:
        """The same steps, none of them sparse."""
        return replace(self, steps=tuple(replace(step, dense=reason) for step in self.steps))

    def by_ranges(self, ranges: StepRanges) -> Schedule:
        """The same steps with their ranges; those in a dense one are dense."""
        return replace(self, steps=tuple(_in_range(step, ranges) for step in self.steps))

    @property
    def sparse_steps(self) -> int:
        return sum(step.dense is None for step in self.steps)

    def describe(self) -> str:
        """E.g. "20 steps: 1-5 dense (warm-up), 6-10 sparse (25-50%), 11-20 sparse"."""
        parts, start = [], 0
        for what, alike in groupby(map(_what, self.steps)):
            end = start + len(list(alike))
            parts.append(f"{start + 1}-{end} {what}" if end > start + 1 else f"{end} {what}")
            start = end
        count = len(self.steps)
        head = f"{count} step{'' if count == 1 else 's'}"
        if self.estimate is not None:
            parts[-1] += f" (estimated to be the steps after the first {self.estimate})"
        elif self.of is not None:
            parts[-1] += f" (estimated to be part of {self.of} steps)"
        return f"{head}: " + ", ".join(parts) if parts else head


def _what(step: Step) -> str:
    if step.dense:
        return f"dense ({step.dense})"
    return f"sparse ({step.range})" if step.range else "sparse"


def _in_range(step: Step, ranges: StepRanges) -> Step:
    found = ranges.at(step.place)
    if found is None:
        return step
    dense = step.dense or (DENSE_RANGE if ranges[found] == DENSE else None)
    return replace(step, dense=dense, range=range_text(found))


@dataclass(frozen=True)
class Part:
    """Where the steps of a run lie in a whole schedule.

    before     steps of the whole before the run's first
    total      steps of the whole, None where no schedule is recognised
    estimated  whether `before` is no more than likely
    doubtful   whether `total` is: a schedule of another length holds the same steps at the same
               place
    """

    before: int
    total: int | None
    estimated: bool = False
    doubtful: bool = False


FindPart = Callable[[list[float]], Part | None]


def _in_none(sigmas: list[float]) -> Part | None:
    return None


def plan_steps(
    sigmas: Sequence[float],
    percent_to_sigma: Callable[[float], float],
    warmup_steps: int,
    window: tuple[float, float] | None,
    find_part: FindPart = _in_none,
) -> Schedule:
    """The plan of one sampler run.

    sigmas            the run's schedule, its last entry where the run ends
    percent_to_sigma  the model's own: 0 is the start of a full schedule, 1 its end
    warmup_steps      dense steps at the start of the full schedule
    window            (start, end) percent; where given, it replaces the warm-up
    find_part         where these sigmas lie in a known whole schedule, None if in none
    """
    sigmas = without_padding(sigmas)
    starts = sigmas[:-1]
    part = part_of_whole(sigmas, percent_to_sigma, find_part)
    if window is not None:
        first, last = (float(percent_to_sigma(p)) for p in window)
        reasons = [_outside(s, first, last) for s in starts]
    else:
        reasons = [WARM_UP if part.before + i < warmup_steps else None for i in range(len(starts))]
    if part.total is not None:
        places = [(part.before + i) / part.total for i in range(len(starts))]
    else:
        places = [min(percent_of(s, percent_to_sigma), _ALMOST_ONE) for s in starts]
    steps = tuple(Step(*step) for step in zip(starts, reasons, places, strict=True))
    goes_on = bool(starts) and sigmas[-1] > 0.0
    return Schedule(
        steps,
        goes_on,
        part.before if part.estimated else None,
        part.total if part.doubtful else None,
    )


def plan_whole(starts: Sequence[float], warmup_steps: int, ranges: StepRanges) -> Schedule:
    """The plan of a run whose host knows the whole schedule, the warm-up and a preset's ranges.

    starts  where each step begins, in the host's own measure: sigmas, or timesteps
    """
    steps = (
        Step(start, WARM_UP if i < warmup_steps else None, i / len(starts))
        for i, start in enumerate(starts)
    )
    return Schedule(tuple(steps)).by_ranges(ranges)


def plan_of(starts: Sequence[float], config: PSAConfig) -> Schedule:
    """`plan_whole` of a preset's settings; all dense where they are of type "dense"."""
    schedule = plan_whole(starts, config.warmup_steps, config.steps)
    return schedule.all_dense(DENSE_PRESET) if config.type == DENSE else schedule


_ALMOST_ONE = math.nextafter(1.0, 0.0)


def without_padding(sigmas: Sequence[float]) -> list[float]:
    """The schedule without zeros at which no step begins.

    Samplers of other packs pad theirs, [0, 1, 0.9, 0.7, 0, 0], or rise and end in a mark,
    [0, 0.7, 0.9, 1, 0]. A zero is where a run ends, or where one back to noise begins.
    """
    entries = [float(s) for s in sigmas]
    steps = [s for s in entries if s > 0.0]
    if len(steps) == 0 or len(entries) < 2:
        return steps
    if steps[0] < steps[-1]:  # back to noise
        return [0.0, *steps] if entries[0] <= 0.0 else steps
    return [*steps, 0.0] if entries[-1] <= 0.0 else steps


def _outside(sigma: float, first: float, last: float) -> str | None:
    if sigma > first + slack_of(sigma):
        return BEFORE_WINDOW
    return AFTER_WINDOW if sigma < last - slack_of(sigma) else None


def part_of_whole(
    sigmas: Sequence[float],
    percent_to_sigma: Callable[[float], float],
    find_part: FindPart = _in_none,
) -> Part:
    """Where a run's steps lie in the whole schedule that it is a part of.

    A run that starts below the model's highest noise is the rest of a longer schedule, one that
    stops above 0 the beginning of one. If no known schedule holds it, its own steps say how long a
    step is, in percent of the way, so the others can be counted: exactly where steps are even,
    while at least two are left, roughly elsewhere.
    """
    count = len(sigmas) - 1
    if count < 1:
        return Part(0, None)
    starts_on_top = percent_of(sigmas[0], percent_to_sigma) == 0.0
    ends = sigmas[-1] <= 0.0
    if starts_on_top and ends and not _cut_short(sigmas, percent_to_sigma):
        return Part(0, count)
    found = find_part(list(sigmas))
    if found is not None:
        return replace(found, before=0) if starts_on_top else found
    if starts_on_top and ends:
        return Part(0, count)
    marks = [percent_of(s, percent_to_sigma) for s in sigmas]
    lengths = [after - before for before, after in pairwise(marks)]
    # The last step may differ: the scheduler's end is not at 0, or the sampler skips a sigma.
    even = _even(lengths[:-1])
    sure = even and len(lengths) > 2
    if even:
        lengths = lengths[:-1]
    length = sum(lengths) / len(lengths)
    if length <= 0:  # back to noise
        return Part(0, None)
    before = 0 if starts_on_top else round(marks[0] / length)
    estimated = not (starts_on_top or sure)
    if not even:
        return Part(before, None, estimated)
    total = before + count if ends else max(before + count, round(1 / length))
    return Part(before, total, estimated)


def _cut_short(sigmas: Sequence[float], percent_to_sigma: Callable[[float], float]) -> bool:
    """Whether a run may end at 0 because it was cut short, not because its schedule ends: its last
    step is longer than the one before."""
    if len(sigmas) < 3:
        return False
    a, b, c = (percent_of(s, percent_to_sigma) for s in sigmas[-3:])
    return not _even((b - a, c - b)) and c - b > b - a


def _even(lengths: Sequence[float]) -> bool:
    """Alike but for a scheduler's rounding to one of the model's 1000 noise levels."""
    if not lengths:
        return False
    return max(lengths) - min(lengths) <= max(0.1 * sum(lengths) / len(lengths), 0.002)


def percent_of(sigma: float, percent_to_sigma: Callable[[float], float]) -> float:
    """Inverse of the model's decreasing `percent_to_sigma`."""
    low, high = 0.0, 1.0
    if sigma >= percent_to_sigma(1e-6):
        return low
    if sigma <= percent_to_sigma(high):
        return high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if percent_to_sigma(middle) > sigma else (low, middle)
    return (low + high) / 2


def slack_of(sigma: float) -> float:
    # Schedules are float32 tensors; a sampler may hand back a rounded copy of its own sigma.
    return 1e-5 * max(1.0, abs(sigma))
