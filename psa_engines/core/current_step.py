"""Which step of its schedule a sampler is in, from its model calls and its callback.

By sigma, never by counting calls: samplers call the model once, twice or seven times a step, CFG
may take one call or two. But some add noise first, so a step's first call is above the step's own
sigma, and may be above that of steps long past. From then on the steps only go forward.
"""

from __future__ import annotations

import math
import threading

from .schedule import Schedule, slack_of

# The most that noise raises a sigma in samplers with churn; beyond it a sampler starts over.
MOST_CHURN = math.sqrt(2.0)
_REACH = MOST_CHURN * (1.0 + 1e-4)


class CurrentStep:
    """raised  what the sampler is known to raise the sigma of a step by, as a factor"""

    def __init__(self, schedule: Schedule, raised: float = 1.0):
        self._starts = [step.sigma for step in schedule.steps]
        # sigmas rise where a video is turned back into noise
        self._sign = -1.0 if self._starts and self._starts[0] < self._starts[-1] else 1.0
        self._raised = raised
        self._now = 0
        self._last: float | None = None
        self._sure = False  # whether the last call was at a step's start, raised or not
        self._lock = threading.Lock()

    def of_call(self, sigma: float) -> int:
        """Index of the step that a model call at `sigma` belongs to.

        A call at a step's start belongs to that step, also one with which the step before ends (a
        corrector's): it sees that step's noise. One between two steps belongs to the earlier; once
        the sampler adds noise, to the step that it has come to, unless it starts over.
        """
        with self._lock:
            if self._last is None and self._starts:
                self._learn(sigma, 0)
            self._last = sigma
            at = self._starting_at(sigma)
            self._sure = bool(at)
            found = self._nearest(at or self._holding(sigma))
            churned = self._raised > 1.0 and found < self._now
            if at or not churned or sigma > self._starts[self._now] * _REACH:
                self._now = found
            return self._now

    def called_back(self, step: int) -> None:
        """The sampler says that it is in `step`: believed where noise hides its last call's."""
        with self._lock:
            if self._last is None or self._sure or not isinstance(step, int):
                return
            if not self._now < step < len(self._starts):
                return
            if self._starts[step] < self._last <= self._starts[step] * _REACH:
                self._learn(self._last, step)
                self._now = step

    def _learn(self, sigma: float, step: int) -> None:
        """What the noise of this step's first call came to: the next step will have as much."""
        start = self._starts[step]
        if start + slack_of(start) < sigma <= start * _REACH:
            self._raised = sigma / start

    def _starting_at(self, sigma: float) -> list[int]:
        factors = {1.0, self._raised}
        return [
            i for i, start in enumerate(self._starts)
            if any(abs(start * factor - sigma) <= slack_of(sigma) for factor in factors)
        ]  # fmt: skip

    def _holding(self, sigma: float) -> list[int]:
        """The steps that `sigma` is in: more than one where a schedule goes back up."""
        starts, here = [self._sign * start for start in self._starts], self._sign * sigma
        ends = [*starts[1:], -math.inf]
        found = [
            i for i, (start, end) in enumerate(zip(starts, ends, strict=True))
            if start >= here and (here > end or end >= start)
        ]  # fmt: skip
        return found or [0]

    def _nearest(self, steps: list[int]) -> int:
        """To where the sampler is; rather ahead of it."""
        return min(steps, key=lambda i: (i < self._now, abs(i - self._now)))
