"""Times of calls that take turns within one process, each after a flush of the L2 cache.

A GPU's clock changes with power and temperature: two methods can be compared only if their calls
interleave, and a difference within the spread of either means nothing. The calls of a round are
queued, as a model queues its own, behind other work that lasts until all are launched: else the
first one's time would be that of the host, which launches it while the GPU waits.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

LONGEST_LEAD = 0.05  # seconds of other work before a round


@dataclass(frozen=True)
class Timing:
    """Milliseconds: median of `count` calls; low and high hold the middle 80% of them."""

    ms: float
    low: float
    high: float
    count: int

    @property
    def spread(self) -> float:
        """Half the width of the middle 80%, as a share of the median."""
        return (self.high - self.low) / 2 / self.ms

    @classmethod
    def of(cls, times: list[float]) -> Timing:
        ordered = sorted(times)
        edge = len(ordered) // 10
        return cls(statistics.median(ordered), ordered[edge], ordered[-1 - edge], len(ordered))


class Clock:
    """Times single calls on one device: CUDA events on a GPU, the wall clock elsewhere."""

    def __init__(self, device: torch.device):
        self.cuda = device.type == "cuda"
        if self.cuda:
            size = 4 * torch.cuda.get_device_properties(device).L2_cache_size
            self.flush = torch.empty(max(size, 2**26), dtype=torch.int8, device=device)
            self.start(self._flush)()
            self.flush_ms = self.start(self._flush)()

    def _flush(self) -> None:
        self.flush.zero_()

    def keep_busy(self, seconds: float) -> None:
        """Gives a GPU that much to do, at most LONGEST_LEAD; does not wait for it."""
        if self.cuda:
            ms = 1e3 * min(seconds, LONGEST_LEAD)
            for _ in range(math.ceil(ms / self.flush_ms)):
                self._flush()

    def start(self, call: Callable[[], object]) -> Callable[[], float]:
        """Launches the call; the result gives its milliseconds, waiting for it if need be."""
        if not self.cuda:
            begin = time.perf_counter()
            call()
            elapsed = (time.perf_counter() - begin) * 1e3
            return lambda: elapsed
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._flush()
        begin.record()
        call()
        end.record()

        def milliseconds() -> float:
            end.synchronize()
            return begin.elapsed_time(end)

        return milliseconds


def alternate(
    calls: dict[str, Callable[[], object]],
    clock: Clock,
    *,
    seconds_each: float = 1.0,
    least: int = 3,
    most: int = 50,
) -> dict[str, Timing]:
    """Timings of calls that have run before, taking turns.

    A call gets about `seconds_each` of the time, in at least `least` and at most `most` turns that
    are spread over the whole run.
    """
    once, launching = {}, 0.0
    for name, call in calls.items():
        begin = time.perf_counter()
        wait = clock.start(call)
        launching += time.perf_counter() - begin
        once[name] = wait()
    turns = {
        name: max(least, min(most, int(seconds_each * 1e3 / max(ms, 1e-3))))
        for name, ms in once.items()
    }
    rounds = max(turns.values(), default=0)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for r in range(rounds):
        clock.keep_busy(launching)
        pending = {
            name: clock.start(call)
            for name, call in calls.items()
            if (r + 1) * turns[name] // rounds > r * turns[name] // rounds
        }
        for name, wait in pending.items():
            times[name].append(wait())
    return {name: Timing.of(found) for name, found in times.items()}
