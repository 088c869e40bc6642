"""The plan of a run from a model's own noise schedule: for a run that starts, and for a preview."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from ...psa_engines.core.schedule import (
    AFTER_WINDOW,
    BEFORE_WINDOW,
    DENSE_RANGE,
    Part,
    Schedule,
    percent_of,
    plan_steps,
)
from ...psa_kernels.config import PSAConfig, StepRanges
from .known_schedules import known_part


def plan_run(
    sampling: Any,
    sigmas: Sequence[float],
    warmup_steps: int,
    window: tuple[float, float] | None,
    ranges: StepRanges = PSAConfig.steps,
) -> Schedule:
    """`plan_steps` with what a `model_sampling` object of ComfyUI's knows of the whole schedule,
    and with a preset's ranges of steps.
    """
    ranges = ranges if window is None else ranges.sparse()

    def percent_to_sigma(percent: float) -> float:
        return float(sampling.percent_to_sigma(percent))

    def find_part(part: list[float]) -> Part | None:
        # a search may take tenths of a second, or seconds with many packs' schedulers
        if not ranges:
            if window is not None or warmup_steps == 0:
                return None
            if percent_of(part[0], percent_to_sigma) == 0.0:
                return None  # no steps came before, wherever it ends
        return _remembered(part, sampling)

    plan = plan_steps([float(s) for s in sigmas], percent_to_sigma, warmup_steps, window, find_part)
    if not ranges:  # nothing depends on it
        counts = window is None and warmup_steps > 0
        plan = replace(plan, estimate=plan.estimate if counts else None, of=None)
    return plan.by_ranges(ranges)


def in_window(config: PSAConfig, window: tuple[float, float] | None) -> PSAConfig:
    """The run's settings, with its window, if any, in place of the warm-up and the dense ranges."""
    return config if window is None else config.replace(steps=config.steps.sparse())


_UNKNOWN: Any = object()
_parts: dict[Any, Part | None] = {}


def _remembered(sigmas: list[float], sampling: Any) -> Part | None:
    """`known_part`, looked for once: the same run comes again and again, and a miss takes tenths of
    a second."""
    table = getattr(sampling, "sigmas", None)
    if not isinstance(table, torch.Tensor) or not len(table):
        return known_part(sigmas, sampling)
    key = tuple(sigmas), type(sampling), tuple(table[:: max(1, len(table) // 3)].tolist())
    # another thread may empty it at any time
    found = _parts.get(key, _UNKNOWN)
    if found is _UNKNOWN:
        found = known_part(sigmas, sampling)
        if len(_parts) >= 64:
            _parts.clear()
        _parts[key] = found
    return found


def nothing_sparse(schedule: Schedule, percent: bool = True) -> str | None:
    """What to tell the user of a run that PSA would leave dense from its first to its last step.

    percent: whether the node that asks could go by percent instead of the warm-up. Its run may be
    the first of two; that of the others is whole
    """
    if schedule.sparse_steps or schedule.goes_on:
        return None
    reasons = {step.dense for step in schedule.steps}
    if reasons & {BEFORE_WINDOW, AFTER_WINDOW}:
        fix = "lower start_percent or raise end_percent"
    elif DENSE_RANGE in reasons:
        fix = "leave a part of the run sparse in the preset's steps"
        fix += ", or set schedule to percent" if percent else ""
    else:
        fix = "use more steps, or a preset for few steps such as lora_4step"
        fix += ", or set schedule to percent" if percent else ""
    fix += ", unless another sampler continues from here" if percent else ""
    return f"no step of this run is sparse ({schedule.describe()}). Fix: {fix}."
