"""How long dense attention takes at the shapes of a run, on the machine that it ran on.

From the run's own dense calls where it has any, or those of the other part of a split sampling.
Else calls are made after the run: random numbers in the same memory layout, to whatever attention
PSA would have stepped aside to.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import comfy.model_management
import torch

from ...psa_engines.core.recording.clocks import NoClock, clock_of
from ...psa_engines.core.recording.records import CallShape, RunRecord
from ...psa_kernels.attention import made_current
from ..recording.dense_call import DenseCall

log = logging.getLogger("PSA")

MOST_CALLS = 5
ENOUGH = 3.0  # seconds of calls, after which one is the last
MOST_CPU = 20.0  # seconds that a call may take on a CPU by its arithmetic
OWN, BESIDE = "this run's dense steps", "the other run's dense steps"
AFTER = "measured after the run"


@dataclass(frozen=True)
class DenseTime:
    """Milliseconds of one dense call and their source, or the `reason` why there are none."""

    ms: float | None
    source: str | None = None
    calls: int = 0
    reason: str | None = None


def dense_calls(records: Iterable[RunRecord]) -> dict[CallShape, list[float]]:
    """Milliseconds of the dense calls of all these runs."""
    found: dict[CallShape, list[float]] = {}
    for record in records:
        for shape, times in record.shapes.items():
            found.setdefault(shape, []).extend(times.dense)
    return found


def dense_times(
    record: RunRecord, known: Mapping[CallShape, list[float]]
) -> dict[CallShape, DenseTime]:
    """Dense times for every shape of call that PSA served. `known`: dense calls of all runs."""
    found = {}
    for shape, times in record.shapes.items():
        if not times.psa:
            continue
        if times.dense:
            found[shape] = DenseTime(statistics.median(times.dense), OWN, len(times.dense))
        elif known.get(shape):
            calls = known[shape]
            found[shape] = DenseTime(statistics.median(calls), BESIDE, len(calls))
        elif times.measured is not None:
            found[shape] = times.measured
        elif times.redo is None:
            found[shape] = DenseTime(None, reason="no dense call of this shape was seen")
        else:
            found[shape] = measured = _measured(shape, times.redo)
            if measured.ms is not None:
                # once is enough; the attention to call may keep much alive
                times.measured, times.redo = measured, None
    return found


def _measured(shape: CallShape, call: DenseCall) -> DenseTime:
    device = torch.device(shape.device)
    try:
        too_long = _too_long(shape) if device.type == "cpu" else None
        if too_long:
            return DenseTime(None, reason=too_long)
        # a dense call keeps its inputs, its output and at most as much again in other layouts
        needed = 3 * call.bytes
        if device.type != "cpu" and needed > comfy.model_management.get_free_memory(device):
            comfy.model_management.free_memory(needed, device)
        return _timed(call, device)
    except comfy.model_management.InterruptProcessingException:
        raise
    except Exception as error:  # anyone's attention may fail
        log.warning(
            "PSA Report could not time dense attention: %s: %s", type(error).__name__, error
        )
        return DenseTime(None, reason=f"{type(error).__name__}: {error}".splitlines()[0])
    finally:
        comfy.model_management.soft_empty_cache()


def _timed(call: DenseCall, device: torch.device) -> DenseTime:
    clock = clock_of(device)
    if isinstance(clock, NoClock):
        return DenseTime(None, reason=f"calls on {device.type} cannot be timed")
    times: list[float] = []
    # the current one, as it was in the run: kernels of others may not ask where their inputs are
    with torch.inference_mode(), made_current(device):
        args, kwargs = call.tensors()
        began = time.perf_counter()
        # one call more than is counted: the first may compile or choose a kernel
        for number in range(MOST_CALLS + 1):
            comfy.model_management.throw_exception_if_processing_interrupted()
            begin = clock.mark()
            call.serve(*args, **kwargs)
            end = clock.mark()
            clock.wait(end)
            if number:
                times.append(clock.milliseconds(begin, end))
            if times and time.perf_counter() - began > ENOUGH:
                break
    return DenseTime(statistics.median(times), AFTER, len(times))


def _too_long(shape: CallShape) -> str | None:
    """Why a call is too slow to time on this CPU, judged by its arithmetic and a small product."""
    size = 512
    a, b = torch.randn(2, size, size)
    began = time.perf_counter()
    for _ in range(4):
        a @ b
    rate = 4 * 2 * size**3 / (time.perf_counter() - began)
    seconds = 4 * shape.batch * shape.heads * shape.tokens**2 * shape.head_dim / rate
    if seconds < MOST_CPU:
        return None
    return f"a dense call would take about {seconds:.0f} s on this CPU"
