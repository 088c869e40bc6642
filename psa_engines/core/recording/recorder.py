"""Writes a run down while it lasts: counts at once, the GPU's figures when they have arrived.

Nothing here waits for a GPU before `finish`, and a failure costs figures, never the run. Threads
may record at the same time (several GPUs).
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ...ground import Stats, compiled_kernels
from .borders import StepBorders
from .call_times import Begun, CallTimes, TimedCall
from .clocks import Clock, NoClock, clock_of
from .records import DENSE_CALL, OTHER_CALL, PSA_CALL, CallShape, Cell, RunRecord
from .speedup import speedup_of
from .tallies import Tallies

log = logging.getLogger("PSA")


class BegunDense(NamedTuple):
    """A call that other attention is about to serve."""

    begun: Begun
    kind: str
    cell: Cell
    shape: CallShape | None


def _at_most_figures_lost(method: Callable) -> Callable:
    """An error in `method` is logged once and costs figures; it returns None."""

    @functools.wraps(method)
    def call(self: Recorder, *args: Any) -> Any:
        try:
            return method(self, *args)
        except Exception as error:
            if self._fault is None:
                self._fault = f"{type(error).__name__}: {error}"
                log.warning("PSA could not record all of this run, which goes on: %s", self._fault)
            return None

    return call


class Recorder:
    def __init__(self, steps: int):
        self._lock = threading.RLock()
        self._steps = steps
        self._clocks: dict[torch.device, Clock] = {}
        self._cells: dict[tuple[int | None, int | None], Cell] = {}
        self._times = CallTimes()
        self._tallies = Tallies()
        self._borders = StepBorders()
        self._implementations: set[str] = set()
        self._reasons: set[str] = set()
        self._fault: str | None = None

    # --- while the run lasts

    @_at_most_figures_lost
    def model_call(self, step: int | None, device: torch.device | None) -> None:
        """The model is about to be called in a step."""
        if step is None or device is None:
            return
        clock = self._clock(device)
        with self._lock:
            self._borders.model_call(step, clock)

    @_at_most_figures_lost
    def model_call_ended(self, device: torch.device | None) -> None:
        if device is None:
            return
        clock = self._clock(device)
        with self._lock:
            self._borders.model_call_ended(clock)
            self._times.read(wait=False)

    @_at_most_figures_lost
    def begin(self, device: torch.device) -> Begun | None:
        """An attention call is about to be served; None where recording has failed."""
        if self._fault:
            return None
        clock = self._clock(device)
        kernels = compiled_kernels()
        return Begun(clock, clock.mark(), time.perf_counter(), kernels)

    @_at_most_figures_lost
    def dense(
        self, step: int | None, block: int | None, reason: str, shape: CallShape | None,
        device: torch.device | None,
    ) -> BegunDense | None:  # fmt: skip
        """Other attention is about to serve a call, one of the video's self-attention if it has a
        `block`. `dense_ended` takes what this returns."""
        with self._lock:
            cell = self._cell(step, block)
            cell.dense[reason] += 1
        begun = None if device is None else self.begin(device)
        kind = OTHER_CALL if block is None else DENSE_CALL
        return None if begun is None else BegunDense(begun, kind, cell, shape)

    @_at_most_figures_lost
    def dense_ended(self, call: BegunDense | None) -> None:
        if call is not None:
            self._time(*call)

    def sparse(
        self, step: int, block: int, shape: CallShape, stats: Stats, begun: Begun | None,
        redo: Callable[[], Any] | None,
    ) -> None:  # fmt: skip
        """PSA served a call. `redo` gives what would serve one like it densely, for timing, if
        anything does. Raises if the call cannot even be counted."""
        host = time.perf_counter()
        with self._lock:
            cell = self._cell(step, block)
            cell.sparse += 1
            self._implementations.add(stats.implementation)
            if stats.reason:
                self._reasons.add(stats.reason)
        if begun is not None:
            self._sparse_figures(cell, shape, stats, begun, redo, host)

    @_at_most_figures_lost
    def _sparse_figures(
        self, cell: Cell, shape: CallShape, stats: Stats, begun: Begun,
        redo: Callable[[], Any] | None, host: float,
    ) -> None:  # fmt: skip
        with self._lock:
            self._tallies.count(cell.step, cell.block, stats)
            times = self._times.of(shape)
            times.redo = times.redo or (redo and redo())
        compiling = host - begun.host if compiled_kernels() > begun.kernels else None
        self._time(begun, PSA_CALL, cell, shape, compiling)

    @_at_most_figures_lost
    def drain(self) -> None:
        """Reads the times of what the device has finished. Waits for nothing."""
        with self._lock:
            self._times.read(wait=False)

    @property
    def latest(self) -> tuple[torch.Tensor, int] | None:
        """The sums of the last sparse call, see `Tallies`."""
        return self._tallies.latest

    def speedup(self) -> float | None:
        """Dense time over sparse time of the calls read so far; None before both are known."""
        with self._lock:
            return speedup_of(self._times.shapes)

    # --- when it is over

    def finish(self) -> RunRecord:
        """Waits for the device, once."""
        seconds = self._read_all() or [None] * self._steps
        with self._lock:
            times = self._times
            times.settle_compiled()
            for shape_times in times.shapes.values():
                if shape_times.dense:
                    shape_times.redo = None  # the run has timed it
            clocks = (clock for clock in self._clocks.values() if not isinstance(clock, NoClock))
            record = RunRecord(
                cells=[self._cells[key] for key in sorted(self._cells, key=_by_place)],
                shapes=times.shapes,
                steps=seconds,
                timer=", ".join(sorted({clock.name for clock in clocks})) or None,
                # on a CPU nothing compiles; on a GPU the host itself needs a millisecond at most
                compile_seconds=sum((call.compiling for call in times.compiled), 0.0),
                compile_calls=len(times.compiled),
                compiled_steps=frozenset(call.cell.step for call in times.compiled),
                implementations=tuple(sorted(self._implementations)),
                implementation_reasons=tuple(sorted(self._reasons)),
                fault=self._fault,
            )
            times.forget_unread()
            self._tallies.drop()
        return record

    @_at_most_figures_lost
    def _read_all(self) -> list[float | None]:
        """The seconds of each step; calls' times and tallies go to their places."""
        with self._lock:
            self._times.read(wait=True)
            for step, block, tally in self._tallies.read():
                cell = self._cell(step, block)
                if cell.tally is None:
                    cell.tally = tally
                elif cell.tally.pairs.shape == tally.pairs.shape:
                    cell.tally = cell.tally + tally
        return self._borders.seconds(self._steps)

    # --- inside

    def _clock(self, device: torch.device) -> Clock:
        clock = self._clocks.get(device)
        if clock is None:
            with self._lock:
                clock = self._clocks.setdefault(device, clock_of(device))
        return clock

    def _cell(self, step: int | None, block: int | None) -> Cell:
        cell = self._cells.get((step, block))
        if cell is None:
            cell = self._cells[step, block] = Cell(step, block)
        return cell

    def _time(
        self, begun: Begun, kind: str, cell: Cell, shape: CallShape | None,
        compiling: float | None = None,
    ) -> None:  # fmt: skip
        call = TimedCall(begun, begun.clock.mark(), kind, cell, shape, compiling)
        with self._lock:
            self._times.add(call)


def _by_place(key: tuple[int | None, int | None]) -> tuple[int, ...]:
    return tuple(-1 if x is None else x for x in key)
