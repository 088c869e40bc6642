"""How long attention calls took: measured on the device, read once it is past them."""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass
from typing import Any

from .clocks import Clock, NoClock
from .records import PSA_CALL, CallShape, Cell, ShapeTimes


@dataclass(frozen=True)
class Begun:
    """Where an attention call began, on the device and on the host.

    kernels  how many the process had compiled by then
    """

    clock: Clock
    mark: Any
    host: float
    kernels: int


@dataclass(frozen=True)
class TimedCall:
    """A call that is over on the host.

    kind       what served it, as in `Cell.ms`
    compiling  host seconds of a call that compiled kernels
    """

    begun: Begun
    end: Any
    kind: str
    cell: Cell
    shape: CallShape | None
    compiling: float | None


class CallTimes:
    """The times of one run, by shape here and in the cells of the calls. It has no lock: `Recorder`
    holds its own."""

    def __init__(self) -> None:
        self.shapes: dict[CallShape, ShapeTimes] = {}
        self.compiled: list[TimedCall] = []
        self._unread: deque[TimedCall] = deque()

    def of(self, shape: CallShape) -> ShapeTimes:
        return self.shapes.setdefault(shape, ShapeTimes())

    def add(self, call: TimedCall) -> None:
        if not isinstance(call.begun.clock, NoClock):
            self._unread.append(call)

    def read(self, wait: bool) -> None:
        """The times of all calls up to the first that the device has not passed; of all calls with
        `wait`."""
        while self._unread:
            call = self._unread[0]
            clock = call.begun.clock
            if wait:
                clock.wait(call.end)
            elif not clock.passed(call.end):
                return
            self._unread.popleft()
            if call.compiling is not None:
                self.compiled.append(call)  # the GPU waited for the compiler
                continue
            ms = clock.milliseconds(call.begun.mark, call.end)
            call.cell.ms[call.kind] = call.cell.ms.get(call.kind, 0.0) + ms
            if call.shape is not None:
                times = self.of(call.shape)
                (times.psa if call.kind == PSA_CALL else times.dense).append(ms)

    def settle_compiled(self) -> None:
        """Gives calls that compiled kernels the usual time of their shape."""
        for call in self.compiled:
            others = self.shapes[call.shape].psa if call.shape in self.shapes else []
            usual = statistics.median(others) if others else 0.0
            call.cell.ms[PSA_CALL] = call.cell.ms.get(PSA_CALL, 0.0) + usual

    def forget_unread(self) -> None:
        self._unread.clear()
