"""Times of what runs on a device, read later: GPU events where there are any, else the wall clock.

An event is put into the GPU's queue and costs a microsecond or two there; asking whether it has
passed, and reading the time between two that have, waits for nothing.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

import torch


class Clock(Protocol):
    name: str

    def mark(self) -> Any:
        """This moment in the device's work."""

    def passed(self, mark: Any) -> bool:
        """Whether the device is past it. Waits for nothing."""

    def milliseconds(self, begin: Any, end: Any) -> float:
        """Between two marks that have passed."""

    def wait(self, mark: Any) -> None:
        """Until it has passed."""


class WallClock:
    """For a CPU, where work is done when the call returns."""

    name = "wall clock"

    def mark(self) -> float:
        return time.perf_counter()

    def passed(self, mark: float) -> bool:
        return True

    def milliseconds(self, begin: float, end: float) -> float:
        return 1000 * (end - begin)

    def wait(self, mark: float) -> None:
        pass


class EventClock:
    """For a device whose torch module has events (CUDA, ROCm, XPU)."""

    name = "GPU events"

    def __init__(self, device: torch.device):
        self.device = device
        self.module = getattr(torch, device.type)

    def mark(self) -> Any:
        event = self.module.Event(enable_timing=True)
        event.record(self.module.current_stream(self.device))
        return event

    def passed(self, mark: Any) -> bool:
        return mark.query()

    def milliseconds(self, begin: Any, end: Any) -> float:
        return begin.elapsed_time(end)

    def wait(self, mark: Any) -> None:
        mark.synchronize()


class NoClock:
    """For a device whose work cannot be timed without waiting for it."""

    name = "none"

    def mark(self) -> None:
        return None

    def passed(self, mark: None) -> bool:
        return True

    def milliseconds(self, begin: None, end: None) -> float:
        return float("nan")

    def wait(self, mark: None) -> None:
        pass


def clock_of(device: torch.device) -> Clock:
    if device.type == "cpu":
        return WallClock()
    if device.type in ("cuda", "xpu"):
        return EventClock(device)
    return NoClock()
