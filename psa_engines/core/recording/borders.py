"""How long each step took: from its first call of the model to the next step's."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from .clocks import Clock, NoClock


class StepBorders:
    """When steps begin, by the clock of the run's first device, also for work on other devices."""

    def __init__(self) -> None:
        self._clock: Clock | None = None
        self._begins: list[tuple[int, Any]] = []
        self._end: Any = None

    def model_call(self, step: int, clock: Clock) -> None:
        """The model is about to be called."""
        if self._clock is None:
            self._clock = clock
        if self._clock is not clock:
            return
        # a call that is cut off has no end
        self._end = None
        if not self._begins or self._begins[-1][0] != step:
            self._begins.append((step, clock.mark()))

    def model_call_ended(self, clock: Clock) -> None:
        if self._clock is clock:
            self._end = clock.mark()

    def seconds(self, steps: int) -> list[float | None]:
        """The time of each of `steps`; None if not timed, or cut off. Waits for the device."""
        found: list[float | None] = [None] * steps
        if self._clock is None or isinstance(self._clock, NoClock):
            return found
        marks = self._begins if self._end is None else [*self._begins, (None, self._end)]
        for (step, begin), (_, after) in pairwise(marks):
            self._clock.wait(after)
            passed = self._clock.milliseconds(begin, after) / 1000
            found[step] = (found[step] or 0.0) + passed
        return found
