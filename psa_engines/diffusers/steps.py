"""Which step a call of a transformer is in, according to the pipeline's scheduler."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import torch

# how far a timestep in bfloat16, as some pipelines pass it, may be from the scheduler's
_ROUNDING = 2**-8


class Steps:
    """The steps of the run for which a scheduler was last set up.

    A second-order solver lists a timestep once for each evaluation; together they are one step.
    """

    def __init__(self, timesteps: torch.Tensor):
        self._entries = [float(t) for t in timesteps.tolist()]
        steps = [list(alike) for _, alike in groupby(self._entries)]
        self.timesteps = [alike[0] for alike in steps]
        self._step_of_entry = [i for i, alike in enumerate(steps) for _ in alike]
        self._now = 0

    def of_call(self, scheduler: Any, timestep: torch.Tensor | float) -> int | None:
        """Index of the step of a call, None if its timestep is not one of this run.

        Waits for the GPU. Many schedulers know the step themselves once the first is over; a
        rounded timestep may fit several.
        """
        # frames that are given have 0, as in Wan 2.2 5B
        t = float(timestep.max() if isinstance(timestep, torch.Tensor) else timestep)
        own = getattr(scheduler, "step_index", None)
        if own is None:  # before the first
            own = getattr(scheduler, "begin_index", None)
        if isinstance(own, int) and 0 <= own < len(self._entries) and _is(t, self._entries[own]):
            self._now = self._step_of_entry[own]
            return self._now
        near = [i for i, start in enumerate(self.timesteps) if _is(t, start)]
        if not near:
            return None
        # the nearest; among equals, the one closest to the current step
        self._now = min(near, key=lambda i: (abs(self.timesteps[i] - t), abs(i - self._now)))
        return self._now


def _is(t: float, start: float) -> bool:
    return abs(t - start) <= _ROUNDING * max(1.0, abs(start))
