"""Where in a whole schedule of ComfyUI's a part of it lies.

Asked for runs that start below the highest noise or stop before it is gone. Nearly always one of
ComfyUI's schedulers made them, and where its steps are of uneven length, nothing else tells how
many came before.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import comfy.samplers
import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from ...psa_engines.core.schedule import Part, percent_of
from .flow_shift import Reshifted, at_shift, even_shifts, odds, own_shift, typed

# ComfyUI's own, which fit at every number of steps; plans can be asked for with these.
OWN = (
    "simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal",
    "linear_quadratic", "kl_optimal",
)  # fmt: skip
MOST_STEPS = 150  # of a whole schedule that is looked through; some tenths of a second at most
# Other packs' schedulers may fail or take long at unusual step counts.
MOST_STEPS_OF_OTHERS = 60
EVEN = ("simple", "sgm_uniform", "normal")
OF_THE_TABLE = ("simple", "ddim_uniform", "beta")
# between the model's highest and lowest sigma, which is the last but one: 0 follows
TO_THE_LOWEST = ("karras", "exponential", "kl_optimal")


def known_part(sigmas: list[float], model_sampling: Any) -> Part | None:
    """Where `sigmas` lie in the shortest schedule that holds them; None if there is none.

    For a flow model, schedules of another shift count too: sigmas are often made from a model
    before its shift is set. A beginning that was made to end at 0 is found as that beginning.
    """
    part = np.asarray(sigmas, dtype=np.float64)
    if len(part) < 3:
        return None  # one step is found in almost any schedule
    schedules = _Schedules(_on_cpu(model_sampling))
    shift = own_shift(schedules.model_sampling)
    found = _search(part, schedules)
    if found is None and shift is not None:
        found = _search_shifts(part, schedules, shift)
    if found is None and len(part) > 3 and part[-1] == 0.0:
        # a scheduler's last step to 0 is no longer than the others: this was cut short
        found = _search(part[:-1], schedules)
        if found is None and shift is not None and len(part) > 4:
            found = _search_shifts(part[:-1], schedules, shift)
    return found


class _Schedules:
    """ComfyUI's schedules of one model, made when they are asked for."""

    def __init__(self, model_sampling: Any):
        self.model_sampling = model_sampling
        self._quick = _QuickTable(model_sampling)
        self.names = [name for name in OWN if name in comfy.samplers.SCHEDULER_NAMES]
        self._others = [name for name in comfy.samplers.SCHEDULER_NAMES if name not in OWN]
        self._made: dict[tuple[str, int], np.ndarray | None] = {}

    def of(self, name: str, steps: int) -> np.ndarray | None:
        if (name, steps) not in self._made:
            self._made[name, steps] = self._make(name, steps)
        return self._made[name, steps]

    def _make(self, name: str, steps: int) -> np.ndarray | None:
        for model_sampling in (self._quick, self.model_sampling):
            try:
                sigmas = comfy.samplers.calculate_sigmas(model_sampling, name, steps)
                return sigmas.double().cpu().numpy()
            except Exception:  # not every scheduler fits every model
                continue
        if name in self._others:
            self._others.remove(name)
        return None

    def each(self, fewest: int, even: range) -> Iterator[np.ndarray]:
        """Those of `fewest` or more steps, shortest first; of schedulers whose steps are even, only
        those whose number of steps is in `even`."""
        for steps in range(fewest, MOST_STEPS + 1):
            names = self.names if steps in even else [n for n in self.names if n not in EVEN]
            yield from self._of((*names, *self._others), steps)

    def from_table(self, fewest: int) -> Iterator[np.ndarray]:
        """Those whose sigmas are entries of the model's table; other packs' may be."""
        for steps in range(fewest, MOST_STEPS + 1):
            yield from self._of((*OF_THE_TABLE, *self._others), steps)

    def _of(self, names: Sequence[str], steps: int) -> Iterator[np.ndarray]:
        for name in names:
            if name in OWN or steps <= MOST_STEPS_OF_OTHERS:
                yield from _variants(self.of(name, steps))


class _QuickTable:
    """A `model_sampling` whose table is not a tensor, so that thousands of look-ups cost little."""

    def __init__(self, model_sampling: Any):
        self._model_sampling = model_sampling
        table = getattr(model_sampling, "sigmas", None)
        if isinstance(table, torch.Tensor):
            self.sigmas = table.double().cpu().numpy()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model_sampling, name)


def _steps_if_even(part: np.ndarray, model_sampling: Any) -> range:
    """How many steps the whole may have if its steps are even, in percent."""
    last = len(part) - (2 if part[-1] == 0.0 else 1)
    try:
        ends = [percent_of(float(s), model_sampling.percent_to_sigma) for s in part[[0, last]]]
    except Exception:  # a model like none that we know
        return range(MOST_STEPS + 1)
    if ends[1] <= ends[0] or last == 0:
        return range(0)
    steps = last / (ends[1] - ends[0])
    # tables have 1000 levels: a step's length is known to one of them
    room = min(2.0 + 0.0015 * steps**2 / last, 12.0)
    return range(max(1, int(steps - room)), int(min(steps + room, MOST_STEPS)) + 2)


def _variants(schedule: np.ndarray | None) -> tuple[np.ndarray, ...]:
    if schedule is None:
        return ()
    # some samplers (dpm_2, uni_pc) leave out the last but one
    return schedule, np.concatenate((schedule[:-2], schedule[-1:]))


def _search(part: np.ndarray, schedules: _Schedules) -> Part | None:
    even = _steps_if_even(part, schedules.model_sampling)
    for schedule in schedules.each(len(part) - 1, even):
        found = _in(schedule, part)
        if found is not None:
            return _doubted(found, part, schedules)
    return None


def _doubted(found: Part, part: np.ndarray, schedules: _Schedules) -> Part:
    """The same, doubtful if another even schedule's steps are as long and it holds them too:
    `normal` has the steps of a `sgm_uniform` one that is a step shorter, but for its end."""
    for steps in range(found.total, found.total + 3):
        for name in EVEN:
            schedule = schedules.of(name, steps)
            other = None if schedule is None else _in(schedule, part)
            if other is not None and other.total != found.total:
                return replace(
                    found, doubtful=True, estimated=found.estimated or other.before != found.before
                )
    return found


def _in(schedule: np.ndarray, part: np.ndarray, own: float | None = None) -> Part | None:
    """Where `part` lies in `schedule`; where `own` is given, the shift of the schedule's model, at
    whatever other shift."""
    if len(schedule) < len(part):
        return None
    slack = 1e-4 * np.maximum(np.abs(part), 1e-2)
    if own is None and np.abs(schedule - part[0]).min() > slack[0]:
        return None
    windows = sliding_window_view(schedule, len(part))
    if own is not None:
        pivot = int(np.argmin(np.abs(part - 0.5)))
        with np.errstate(divide="ignore", invalid="ignore"):
            factors = odds(windows[:, pivot]) / odds(part[pivot])
            windows = at_shift(windows, factors[:, None])
    for start in np.flatnonzero((np.abs(windows - part) <= slack).all(1)):
        if own is None or _likely(part, own * factors[start]):
            return Part(int(start), len(schedule) - 1)
    return None


def _likely(part: np.ndarray, shift: float) -> bool:
    # two sigmas fit some shift by chance, but hardly one that a person types
    inner = np.count_nonzero((part > 0.0) & (part < 1.0))
    return 0.05 < shift < 200.0 and (inner > 2 or (inner == 2 and typed(shift)))


def _search_shifts(part: np.ndarray, schedules: _Schedules, own: float) -> Part | None:
    """In a flow model's schedules at other shifts than the model's own."""
    even = even_shifts(part, own, schedules.model_sampling)
    tries = [(shift, EVEN, range(steps - 1, steps + 2)) for shift, steps in even]
    if part[-1] == 0.0:
        all_steps = range(len(part) - 1, MOST_STEPS + 1)
        last = odds(part[-2])
        lowest = own * odds(float(schedules.model_sampling.sigmas[0]))
        tries.append((lowest / last, TO_THE_LOWEST, all_steps))
        # normal takes the lowest sigma for a way and shifts it once more
        shift = math.sqrt(lowest / last)
        step = 1.0 / (1.0 + shift * odds(part[-3])) - 1.0 / (1.0 + shift * last)
        if step > 0.0:
            steps = round(1.0 / step)
            tries.append((shift, ("normal",), range(steps - 1, steps + 3)))
    for shift, names, counts in tries:
        if not _likely(part, shift):
            continue
        shifted = _Schedules(Reshifted(schedules.model_sampling, shift / own))
        for name, steps in itertools.product(names, counts):
            for schedule in _variants(shifted.of(name, steps)) if steps > 0 else ():
                found = _in(schedule, part)
                if found is not None:
                    return _doubted(found, part, shifted)
    # entries of the model's table all move by one factor of their odds
    for schedule in schedules.from_table(len(part) - 1):
        found = _in(schedule, part, own)
        if found is not None:
            return found
    return None


def _on_cpu(model_sampling: Any) -> Any:
    """A loaded model's tables are on the GPU, where every look-up waits; a copy here does not."""
    tables = model_sampling.buffers() if isinstance(model_sampling, torch.nn.Module) else ()
    moved = {id(table): table.cpu() for table in tables if table.device.type != "cpu"}
    if not moved:
        return model_sampling
    try:
        return copy.deepcopy(model_sampling, moved)
    except Exception:  # another pack's may hold what cannot be copied; looking there is only slow
        return model_sampling
