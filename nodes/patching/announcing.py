"""What the console says about a run before it samples."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from ...psa_engines.core.schedule import Schedule
from .planning import nothing_sparse
from .run import Run

log = logging.getLogger("PSA")


@dataclass(frozen=True)
class _Warned:
    """A run with the warning that none of its steps is sparse; it may be the first of two."""

    label: str
    schedule: Schedule
    prompt: str | None


_lock = threading.Lock()
_warned: _Warned | None = None


def announce(run: Run, prompt: str | None) -> None:
    """Says the plan; one with sparse steps only once the video's first self-attention has come."""
    label, schedule = run.preset.label, run.schedule
    if run.preset.config.type == "dense":
        log.info("PSA %s: a dense preset: every call keeps the model's own attention", label)
        return
    warning = nothing_sparse(schedule)
    _take_back(schedule, prompt)
    if warning is not None:
        log.warning("PSA %s: %s", label, warning)
        if schedule.steps:
            _remember(_Warned(label, schedule, prompt))
    elif schedule.sparse_steps == 0:
        log.info("PSA %s: %s; another sampler continues from here", label, schedule.describe())
    else:
        run.promise = schedule.describe()


def _remember(warned: _Warned | None) -> None:
    global _warned
    with _lock:
        _warned = warned


def _take_back(schedule: Schedule, prompt: str | None) -> None:
    """Takes the warning back if this run continues the one that it was about."""
    with _lock:
        warned = _warned
    if warned is None or not schedule.steps:
        return
    continues = warned.schedule.steps[-1].sigma > schedule.steps[0].sigma
    if warned.prompt == prompt and continues and schedule.sparse_steps:
        log.info(
            "PSA %s: another sampler continues the previous run, with sparse steps: the warning "
            "about that run no longer applies", warned.label,
        )  # fmt: skip
    _remember(None)
