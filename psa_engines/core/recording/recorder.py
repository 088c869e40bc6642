"""Writes a run down while it lasts: counts at once, everything of the GPU's when it has got there.

Nothing here waits for a GPU before `finish`, and nothing raises: a run is worth more than its
record. Threads may record at the same time (several GPUs).
"""

from __future__ import annotations

import logging
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ...ground import Stats, compiled_kernels, mass_shares
from .borders import StepBorders
from .clocks import Clock, NoClock, clock_of
from .records import DENSE, OTHER, PSA, CallShape, Cell, RunRecord, ShapeTimes, Tally
from .speedup import speedup_of

log = logging.getLogger("PSA")


@dataclass(frozen=True)
class Begun:
    """Where an attention call began, on the device and on the host."""

    clock: Clock
    mark: Any
    host: float
    kernels: int


@dataclass(frozen=True)
class _Span:
    """A call whose end the device may not have reached; `compiling`: host seconds, if it was."""

    clock: Clock
    begin: Any
    end: Any
    kind: str
    cell: Cell
    shape: CallShape | None
    compiling: float | None


@dataclass
class _DeviceTally:
    """Sums over calls: `Stats.sums`, on the device; possible: see `Tally`."""

    sums: torch.Tensor
    possible: float
    calls: int


class Recorder:
    def __init__(self, steps: int):
        self._lock = threading.RLock()
        self._steps = steps
        self._clocks: dict[torch.device, Clock] = {}
        self._cells: dict[tuple[int | None, int | None], Cell] = {}
        self._tallies: dict[tuple, _DeviceTally] = {}
        self._shapes: dict[CallShape, ShapeTimes] = {}
        self._spans: deque[_Span] = deque()
        self._borders = StepBorders()
        self._compiling: list[tuple[Cell, CallShape, float]] = []
        self._implementations: set[str] = set()
        self._reasons: set[str] = set()
        self._fault: str | None = None
        # of the last sparse call: `Stats.sums`, on the device, and dense attention's products
        self.latest: tuple[torch.Tensor, int] | None = None

    # --- while the run lasts

    def model_call(self, step: int | None, device: torch.device | None) -> None:
        """The model is about to be called in a step."""
        if step is None or device is None:
            return
        try:
            clock = self._clock(device)
            with self._lock:
                self._borders.model_call(step, clock)
        except Exception as error:
            self._give_up(error)

    def model_call_ended(self, device: torch.device | None) -> None:
        if device is None:
            return
        try:
            clock = self._clock(device)
            with self._lock:
                self._borders.model_call_ended(clock)
            self.drain()
        except Exception as error:
            self._give_up(error)

    def begin(self, device: torch.device) -> Begun | None:
        """An attention call is about to be served; None where recording has failed."""
        if self._fault:
            return None
        try:
            clock = self._clock(device)
            kernels = compiled_kernels()
            return Begun(clock, clock.mark(), time.perf_counter(), kernels)
        except Exception as error:
            self._give_up(error)
            return None

    def dense(
        self, step: int | None, block: int | None, reason: str, shape: CallShape | None,
        device: torch.device | None,
    ) -> tuple[Begun, str, Cell, CallShape | None] | None:  # fmt: skip
        """A call is about to go to other attention; of the video's self-attention where `block` is
        given. What comes back goes to `dense_ended`.
        """
        try:
            with self._lock:
                cell = self._cell(step, block)
                cell.dense[reason] += 1
        except Exception as error:
            self._give_up(error)
            return None
        begun = None if device is None else self.begin(device)
        return None if begun is None else (begun, OTHER if block is None else DENSE, cell, shape)

    def dense_ended(self, call: tuple[Begun, str, Cell, CallShape | None] | None) -> None:
        if call is not None:
            self._end(*call, None)

    def sparse(
        self, step: int, block: int, shape: CallShape, stats: Stats, begun: Begun | None,
        redo: Callable[[], Any] | None,
    ) -> None:  # fmt: skip
        """PSA served a call. `redo` gives what would serve one like it densely, for timing, if
        anything does."""
        host = time.perf_counter()
        with self._lock:
            cell = self._cell(step, block)
            cell.sparse += 1
            self._implementations.add(stats.implementation)
            if stats.reason:
                self._reasons.add(stats.reason)
        if begun is None:
            return
        try:
            self._count(step, block, stats)
            with self._lock:
                times = self._shapes.setdefault(shape, ShapeTimes())
                times.redo = times.redo or (redo and redo())
            compiling = host - begun.host if compiled_kernels() > begun.kernels else None
        except Exception as error:
            self._give_up(error)
            return
        self._end(begun, PSA, cell, shape, compiling)

    def drain(self) -> None:
        """Reads the times of what the device has finished. Waits for nothing."""
        try:
            self._read_spans(wait=False)
        except Exception as error:
            self._give_up(error)

    def speedup(self) -> float | None:
        """Dense time over sparse time of the calls read so far; None before both are known."""
        with self._lock:
            return speedup_of(self._shapes)

    # --- when it is over

    def finish(self) -> RunRecord:
        """Waits for the device, once."""
        seconds: list[float | None] = [None] * self._steps
        try:
            self._read_spans(wait=True)
            self._read_tallies()
            seconds = self._borders.seconds(self._steps)
        except Exception as error:
            self._give_up(error)
        with self._lock:
            compile_seconds = self._settle_compiling()
            for times in self._shapes.values():
                if times.dense:
                    times.redo = None  # the run has timed it
            record = RunRecord(
                [self._cells[key] for key in sorted(self._cells, key=_by_place)],
                self._shapes, seconds, self._timer(), compile_seconds, len(self._compiling),
                frozenset(cell.step for cell, *_ in self._compiling),
                tuple(sorted(self._implementations)), tuple(sorted(self._reasons)), self._fault,
            )  # fmt: skip
            self._spans.clear()
            self._tallies.clear()
            self.latest = None
        return record

    # --- inside

    def _clock(self, device: torch.device) -> Clock:
        clock = self._clocks.get(device)
        if clock is None:
            with self._lock:
                clock = self._clocks.setdefault(device, clock_of(device))
        return clock

    def _timer(self) -> str | None:
        names = {clock.name for clock in self._clocks.values() if not isinstance(clock, NoClock)}
        return ", ".join(sorted(names)) or None

    def _cell(self, step: int | None, block: int | None) -> Cell:
        cell = self._cells.get((step, block))
        if cell is None:
            cell = self._cells[step, block] = Cell(step, block)
        return cell

    def _count(self, step: int, block: int, stats: Stats) -> None:
        sums, possible = stats.sums, stats.dense_products
        key = step, block, sums.shape[0], sums.device
        with self._lock:
            self.latest = sums, possible
            held = self._tallies.get(key)
            if held is None:
                self._tallies[key] = _DeviceTally(sums, possible / sums.shape[0], 1)
            else:
                held.sums = held.sums + sums
                held.possible += possible / sums.shape[0]
                held.calls += 1

    def _end(
        self, begun: Begun, kind: str, cell: Cell, shape: CallShape | None, compiling: float | None
    ) -> None:
        if isinstance(begun.clock, NoClock):
            return
        try:
            mark = begun.clock.mark()
            span = _Span(begun.clock, begun.mark, mark, kind, cell, shape, compiling)
            with self._lock:
                self._spans.append(span)
        except Exception as error:
            self._give_up(error)

    def _read_spans(self, wait: bool) -> None:
        with self._lock:
            while self._spans:
                span = self._spans[0]
                if wait:
                    span.clock.wait(span.end)
                elif not span.clock.passed(span.end):
                    return
                self._spans.popleft()
                if span.compiling is not None:
                    # the GPU waited for the compiler: this is no time of the kernels
                    self._compiling.append((span.cell, span.shape, span.compiling))
                    continue
                passed = span.clock.milliseconds(span.begin, span.end)
                span.cell.ms[span.kind] = span.cell.ms.get(span.kind, 0.0) + passed
                if span.shape is not None:
                    times = self._shapes.setdefault(span.shape, ShapeTimes())
                    (times.psa if span.kind == PSA else times.dense).append(passed)

    def _settle_compiling(self) -> float:
        """Gives calls that compiled the usual time of their shape; the rest of theirs is the sum.
        """
        total = 0.0
        for cell, shape, host in self._compiling:
            others = self._shapes[shape].psa if shape in self._shapes else []
            usual = statistics.median(others) if others else 0.0
            cell.ms[PSA] = cell.ms.get(PSA, 0.0) + usual
            # on a CPU nothing compiles; on a GPU the host itself needs no more than a millisecond
            total += host
        return total

    def _read_tallies(self) -> None:
        with self._lock:
            for (step, block, *_), held in self._tallies.items():
                # copies: a view would keep its tensor
                sums = held.sums.cpu()
                mass = mass_shares(sums).mul_(held.calls).numpy().copy()
                sums = sums.numpy().copy()
                tally = Tally(sums[:, :5], sums[:, 5], held.possible, mass, held.calls)
                cell = self._cell(step, block)
                if cell.tally is None:
                    cell.tally = tally
                elif cell.tally.pairs.shape == tally.pairs.shape:
                    cell.tally = cell.tally + tally

    def _give_up(self, error: Exception) -> None:
        if self._fault is None:
            self._fault = f"{type(error).__name__}: {error}"
            log.warning("PSA could not record all of this run, which goes on: %s", self._fault)


def _by_place(key: tuple[int | None, int | None]) -> tuple[int, ...]:
    return tuple(-1 if x is None else x for x in key)
