"""The runs of a LightX2V process: which run a call belongs to, and what is logged about it."""

from __future__ import annotations

import atexit
import logging
import weakref
from typing import Any

from ..core.last_run import LastRun
from ..core.run import Run
from ..core.schedule import plan_of
from .settings import Settings, settings_of

log = logging.getLogger("PSA")


class Runs(LastRun):
    """The runs of one scheduler, one after another. A run begins with new `timesteps`, or when the
    steps start over."""

    def __init__(self, scheduler: Any):
        self.settings = settings_of(scheduler.config)
        super().__init__(self.settings.preset, None)
        self._timesteps: Any = None
        self._step = -1

    def of_call(self, scheduler: Any) -> tuple[Run, int]:
        """The run and the step of a call that is about to begin."""
        step, timesteps = int(scheduler.step_index), getattr(scheduler, "timesteps", None)
        steps = int(scheduler.infer_steps)
        run = self._run
        new = run is None or timesteps is not self._timesteps or step < self._step
        if new or len(run.schedule.steps) != steps:
            self.end()
            self.settings = settings_of(scheduler.config)
            self.preset = self.settings.preset
            self._run, self._timesteps = _begun(self.settings, steps), timesteps
        self._step, self._finished = step, None
        return self._run, step


def _begun(settings: Settings, steps: int) -> Run:
    preset = settings.preset
    # the number of steps is enough to know how far a run is
    schedule = plan_of([float(steps - i) for i in range(steps)], preset.config)
    log.info("PSA %s: %s", preset.label, schedule.describe())
    return Run(preset, schedule, dense_blocks=settings.dense_blocks, min_tokens=settings.min_tokens)


_of_schedulers: weakref.WeakKeyDictionary[Any, Runs] = weakref.WeakKeyDictionary()


def runs_of(scheduler: Any) -> Runs:
    runs = _of_schedulers.get(scheduler)
    if runs is None:
        runs = _of_schedulers[scheduler] = Runs(scheduler)
    return runs


@atexit.register
def _end_all() -> None:
    for runs in list(_of_schedulers.values()):
        runs.end()
