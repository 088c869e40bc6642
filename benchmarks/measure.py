"""One shape: every method checked on every profile, and timed on those that are to be timed."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from psa_kernels.tune.timing import Clock, alternate

from . import inputs, profiles
from .breakdown import stage_times
from .checks import CheckFailed, Truth, check, extra_memory
from .method import Method, Problem, Unavailable


@dataclass
class Row:
    """What one method did on one profile; `ms` only if its checks passed."""

    method: str
    kind: str
    shape: str
    profile: str
    order: str
    error: float | None = None  # rel-L2 from float32 dense
    worst_head: float | None = None
    density: float | None = None
    extra_bytes: int | None = None
    ms: float | None = None
    low: float | None = None
    high: float | None = None
    calls: int | None = None
    ratio: float | None = None  # fastest dense of the same run / this
    note: str = ""
    left_out: str = ""  # why there is nothing to show


@dataclass(frozen=True)
class Settings:
    """seconds_each: timing a method. deadline: `time.monotonic()` after which nothing starts."""

    implementation: str
    device: torch.device
    seconds_each: float
    deadline: float
    clock: Clock

    @property
    def late(self) -> bool:
        return time.monotonic() > self.deadline


def measure_shape(
    name: str,
    shape: tuple[int, int, tuple[int, int, int], int] | inputs.Captured,
    methods: list[Method],
    names: list[str],
    timed: list[str],
    settings: Settings,
    say: Callable[[str], None],
) -> tuple[list[Row], list[dict]]:
    """(a row per method, order and profile; a stage table per configuration of ours).

    shape   heads, head dim, grid of video tokens, text tokens; or the file that has q, k, v
    names   of profiles; timed: those on which methods are timed; on all of them results are checked
    """
    if isinstance(shape, inputs.Captured):
        heads, dim, grid, text = shape.heads, shape.dim, shape.grid, 0
    else:
        heads, dim, grid, text = shape
    source = profiles.Source(shape, settings.device)
    tokens = math.prod(grid) + text
    say(f"{name}: {heads} heads of {dim}, {tokens} tokens, grid {grid}, {text} text")
    methods = [method for method in methods if dim in method.head_dims]
    rows, stages = [], []
    for profile in names:
        if settings.late:
            say(f"{name} {profile}: left out, the time limit is reached")
            continue
        problem = Problem(*source.of(profile), grid, text)
        say(f"{name} {profile}")
        found = measure_profile(name, profile, problem, methods, profile in timed, settings, say)
        rows += found
        if profile == timed[0]:
            stages = _stages(name, problem, methods, found, settings)
        del problem
        release(settings.device)
    return rows, stages


def measure_profile(
    shape: str,
    profile: str,
    problem: Problem,
    methods: list[Method],
    timed: bool,
    settings: Settings,
    say: Callable[[str], None],
) -> list[Row]:
    truth = Truth.of(problem)
    rows, calls = [], {}
    for method in methods:
        for order in method.orders:
            row = Row(method.name, method.kind, shape, profile, order, note=method.note)
            rows.append(row)
            if settings.late:
                row.left_out = "the time limit is reached"
                continue
            call = _checked(method, order, problem, truth, settings, row)
            if row.left_out:
                say(f"  left out: {method.name} ({order}): {row.left_out}")
                # the next order would only say the same
                break
            if timed:
                calls[len(rows) - 1] = call
    timings = alternate(calls, settings.clock, seconds_each=settings.seconds_each)
    for i, timing in timings.items():
        row = rows[i]
        row.ms, row.low, row.high, row.calls = timing.ms, timing.low, timing.high, timing.count
    dense = [row.ms for row in rows if row.kind == "dense" and row.ms]
    for row in rows:
        if row.ms and dense:
            row.ratio = min(dense) / row.ms
    return rows


def _checked(
    method: Method, order: str, problem: Problem, truth: Truth, settings: Settings, row: Row
) -> Callable[[], torch.Tensor] | None:
    """A call that passed its checks, with what was found in `row`; or None and the reason there."""
    try:
        own = problem.along_curve if order == "curve" else problem
        call = method.prepare(own)
        row.error, row.worst_head = check(method, call, own, truth, settings.implementation)
        row.extra_bytes = extra_memory(call, settings.device)
        row.density = method.density(own) if method.density else None
        if method.kind == "dense":
            row.density = 1.0
        return call
    except Unavailable as reason:
        row.left_out = str(reason)
    except CheckFailed as reason:
        row.left_out = f"CHECK FAILED: {reason}"
    except torch.cuda.OutOfMemoryError:
        row.left_out = "out of GPU memory"
    except Exception as error:  # somebody else's kernel can raise anything; the others go on
        words = " ".join(str(error).split())[:200]
        row.left_out = f"FAILED: {type(error).__name__}: {words}"
    release(settings.device)
    return None


def _stages(
    shape: str, problem: Problem, methods: list[Method], rows: list[Row], settings: Settings
) -> list[dict]:
    """Stage tables of those of our configurations whose checks passed."""
    passed = {row.method for row in rows if row.ms}
    dense = min((row.ms for row in rows if row.kind == "dense" and row.ms), default=None)
    tables = []
    for method in methods:
        if method.config is None or method.name not in passed or settings.late:
            continue
        times, rate = stage_times(
            problem, method.config, settings.implementation, settings.clock,
            settings.seconds_each / 4,
        )  # fmt: skip
        table = {"shape": shape, "method": method.name}
        table |= {stage: timing.ms for stage, timing in times.items()}
        table["attend TFLOP/s"] = rate / 1e12
        if dense:
            table["of dense rate"] = rate / (problem.dense_flop / dense * 1e3)
        tables.append(table)
    return tables


def release(device: torch.device) -> None:
    """Gives the GPU's memory back; a CPU needs none of that."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
