"""One run of a sampler with one way of attention: seconds per step, timed from outside."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch

from . import wan
from .attention_timer import AttentionTimer
from .ways import Way

# Of the model's output in the first step, against dense. Random weights attend nearly evenly, so a
# way that only approximates is close; this bound catches garbage.
GARBAGE = 0.1
EXACT = 0.02  # bfloat16 through 40 layers with sums in another order


@dataclass
class Row:
    """seconds   median of the steps after the first, which compiles
    steps     each of them
    first     the first step
    attention  seconds of self-attention in a step, of the same steps
    error     rel-L2 of the model's output in the first step
    report    PSA's own, of the run
    own       what that report says of the same steps: seconds a step, and of PSA in it
    """

    way: str
    exact: bool
    seconds: float | None = None
    steps: list[float] = field(default_factory=list)
    first: float | None = None
    attention: float | None = None
    error: float | None = None
    peak_gib: float | None = None
    left_out: str | None = None
    report: dict[str, Any] | None = None
    own: dict[str, float] | None = None


class Bench:
    """A model and a video size; `dense` of it is the first way measured."""

    def __init__(
        self, comfy: Any, model: Any, layers: int, video: tuple[int, int, int], steps: int
    ):
        self.comfy, self.model, self.layers = comfy, model, layers
        self.video, self.steps = video, steps
        self.gpu = torch.cuda.is_available()
        self.dense: torch.Tensor | None = None

    def measure(self, way: Way) -> Row:
        row = Row(way.name, way.exact)
        way.reports.clear()
        try:
            seconds, output, calls = self._sample(way)
        except Exception as reason:  # a peer's own, or out of memory: the other ways go on
            if self.dense is None:
                raise  # there is nothing to compare them with
            row.left_out = f"{type(reason).__name__}: {reason}".splitlines()[0][-160:]
            return row
        row.report = way.reports[0] if way.reports else None
        if self.dense is None:
            self.dense = output
        row.error = rel_l2(output, self.dense)
        if self.gpu:
            row.peak_gib = torch.cuda.max_memory_allocated() / 2**30
        row.left_out = self._fault(way, row)
        if row.left_out is None:
            row.first, *row.steps = seconds
            row.seconds = statistics.median(row.steps)
            row.attention = self._per_step(calls)
            row.own = self._own(row)
        return row

    def _per_step(self, calls: list[float]) -> float:
        """Seconds in a step, of milliseconds of each call of the run; the first step left out."""
        steps = [sum(calls[i : i + self.layers]) for i in range(0, len(calls), self.layers)]
        return statistics.median(steps[1:]) / 1000

    def _own(self, row: Row) -> dict[str, float] | None:
        if row.report is None:
            return None
        steps = [step["seconds"] for step in row.report["steps"][1:]]
        return {
            "step": statistics.median(steps),
            "attention": row.report["times"]["psa_ms"] / self.steps / 1000,
        }

    def _sample(self, way: Way) -> tuple[list[float], torch.Tensor, list[float]]:
        """(seconds of each step, the first output, milliseconds of each call)."""
        if self.gpu:
            torch.cuda.reset_peak_memory_stats()
        timer = AttentionTimer()
        model = timer.on(way.patch(self.model))
        seconds, output = sample(self.comfy, model, self.video, self.steps)
        return seconds, output, timer.milliseconds()

    def _fault(self, way: Way, row: Row) -> str | None:
        """Why no time may be shown, or None."""
        calls = self.layers * self.steps
        if not row.error < (EXACT if way.exact else GARBAGE):  # NaN too
            return f"the first step's output is {row.error:.3f} off"
        if way.served is not None and way.served[0] != calls:
            return f"it served {way.served[0]} of {calls} self-attention calls"
        if row.report is not None:
            sparse = row.report["calls"]["sparse"]
            if row.report["failure"] or sparse != calls:
                return f"{sparse} of {calls} calls sparse; {row.report['failure']}"
        return None


def sample(
    comfy: Any, model: Any, video: tuple[int, int, int], steps: int
) -> tuple[list[float], torch.Tensor]:
    """One run as KSampler makes it: (seconds of each step, the model's first output).

    By a clock that waits for the GPU; the output is float32 on the CPU.
    """
    outputs: list[torch.Tensor] = []

    def mark() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    def after_step(step: int, denoised, x, total: int) -> None:
        marks.append(mark())
        if step == 0:
            outputs.append((x - denoised).float().cpu())

    marks = [mark()]
    comfy.ksampler(
        model, positive=wan.text(1), negative=wan.text(2), latent=torch.zeros(1, 16, *video),
        seed=1, steps=steps, cfg=1.0, callback=after_step,
    )  # fmt: skip
    return [after - before for before, after in pairwise(marks)], outputs[0]


def rel_l2(x: torch.Tensor, reference: torch.Tensor) -> float:
    return ((x - reference).norm() / reference.norm()).item()
