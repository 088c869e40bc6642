"""One line that says what a run is doing, sent while it does it, a few times a second at most."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import torch

from .clocks import EventClock
from .recorder import Recorder

log = logging.getLogger("PSA")

EVERY = 0.25  # seconds between two lines


class LiveText:
    """send  gets {"text", "step", "steps", "state", "density", "speedup"}; None: nothing is sent
    plan  for each step, why it is planned dense, or None
    """

    def __init__(
        self, recorder: Recorder, plan: list[str | None],
        send: Callable[[dict[str, Any]], None] | None,
    ):  # fmt: skip
        self.recorder, self.plan, self.send = recorder, plan, send
        self._due = 0.0
        self._lock = threading.Lock()
        self._density = LatestDensity()
        self._last: dict[str, Any] | None = None

    def tick(self, step: int, dense: str | None) -> None:
        """A step continues; `dense`: why it is not sparse, or None if it is."""
        now = time.monotonic()
        if self.send is None or now < self._due or not self._lock.acquire(blocking=False):
            return
        try:
            self._due = now + EVERY
            self.recorder.drain()
            message = self._message(step, dense)
            if message != self._last:
                self._last = message
                self.send(message)
        except Exception as error:
            self._give_up(error)
        finally:
            self._lock.release()

    def _give_up(self, error: Exception) -> None:
        self.send = None  # a line of text is worth no run
        log.warning("PSA shows no progress in this run: %s: %s", type(error).__name__, str(error))

    def say(self, step: int, text: str) -> None:
        """A line about what comes before a step."""
        with self._lock:
            try:
                if self.send is not None:
                    self._last = self._line(step, text, "sparse", None, None)
                    self.send(self._last)
            except Exception as error:
                self._give_up(error)

    def _message(self, step: int, dense: str | None) -> dict[str, Any]:
        density = self._density.read(self.recorder.latest)
        speedup = self.recorder.speedup()
        state = f"dense ({dense})" if dense else "sparse"
        parts = [state]
        if not dense:
            if density is not None:
                parts.append(f"{density:.0%} density")
            if speedup is not None:
                parts.append(f"{speedup:.1f}x attention")
        return self._line(step, ", ".join(parts), "dense" if dense else "sparse", density, speedup)

    def _line(
        self, step: int, text: str, state: str, density: float | None, speedup: float | None
    ) -> dict[str, Any]:
        steps = len(self.plan)
        return {
            "text": f"step {step + 1}/{steps}, {text}", "step": step + 1, "steps": steps,
            "state": state, "density": density, "speedup": speedup,
        }  # fmt: skip


class LatestDensity:
    """The density of a finished call, read without waiting for the GPU.

    A number is copied into pinned memory behind the call in the GPU's queue; a later question finds
    it there once the GPU has got so far.
    """

    def __init__(self) -> None:
        self._known: float | None = None
        self._coming: tuple[EventClock, Any, torch.Tensor, int] | None = None

    def read(self, latest: tuple[torch.Tensor, int] | None) -> float | None:
        """The newest density that is known; `latest`: `Stats.sums`, and dense's products."""
        if self._coming is not None:
            clock, mark, number, possible = self._coming
            if not clock.passed(mark):
                return self._known
            self._known = float(number) / possible
            self._coming = None
        if latest is None:
            return self._known
        sums, possible = latest
        products = sums[:, 5]
        if products.device.type == "cpu":
            self._known = float(products.sum()) / possible
        elif products.device.type in ("cuda", "xpu"):
            clock = EventClock(products.device)
            number = torch.empty((), dtype=products.dtype, pin_memory=True)
            number.copy_(products.sum(), non_blocking=True)
            self._coming = clock, clock.mark(), number, possible
        return self._known
