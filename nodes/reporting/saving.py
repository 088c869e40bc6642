"""What a run gained: attention, steps, the whole run, and what it can gain at most."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from ...psa_engines.core.recording.records import (
    DENSE_CALL,
    OTHER_CALL,
    PSA_CALL,
    CallShape,
    RunRecord,
)
from .dense_time import DenseTime


def saving(record: RunRecord, dense: Mapping[CallShape, DenseTime]) -> dict[str, Any]:
    """Figures are None if they are unknown.

    attention   times dense attention, over all sparse calls
    saved_s     seconds that the sparse calls would have taken longer densely
    run_s       seconds of the run's steps; compiling, which a next run need not do, is left out
    without_s   the same without PSA
    run         without_s / run_s
    sparse_step_s, dense_step_s  the median step of each kind, without the run's first and those
                                 that compiled
    dense_step_from              "measured", or "computed" from a sparse step and the saving
    step        dense_step_s / sparse_step_s
    share       of a dense step, in self-attention over the video
    limit       the most a step could become faster if that took no time
    repaid      sparse steps after which compiling has paid for itself
    """
    answer: dict[str, Any] = dict.fromkeys(
        ("attention", "saved_s", "run_s", "without_s", "run", "sparse_step_s", "dense_step_s",
         "dense_step_from", "step", "share", "limit", "repaid")
    )  # fmt: skip
    psa_ms = record.milliseconds(PSA_CALL)
    served = {shape: times for shape, times in record.shapes.items() if times.psa}
    if not psa_ms or not served or any(dense[shape].ms is None for shape in served):
        return answer
    # calls that compiled have the usual time in psa_ms, and no entry among the times
    counted = sum(len(times.psa) for times in served.values())
    calls = sum(cell.sparse for cell in record.cells)
    dense_ms = sum(len(times.psa) * dense[shape].ms for shape, times in served.items())
    dense_ms *= calls / counted
    answer["attention"] = dense_ms / psa_ms
    answer["saved_s"] = saved = (dense_ms - psa_ms) / 1000
    steps = _Steps(record)
    if steps.seconds:
        answer["run_s"] = run = max(0.0, sum(steps.seconds.values()) - record.compile_seconds)
        answer["without_s"] = run + saved
        answer["run"] = (run + saved) / run if run > 0 else None
    sparse, own = steps.median(steps.sparse), steps.median(steps.dense)
    per_step = saved / max(1, len(steps.with_psa))
    answer["sparse_step_s"] = sparse
    if own is not None:
        answer["dense_step_s"], answer["dense_step_from"] = own, "measured"
        attention = steps.attention(steps.dense, DENSE_CALL)
    elif sparse is not None:
        answer["dense_step_s"], answer["dense_step_from"] = sparse + per_step, "computed"
        attention = steps.attention(steps.sparse, PSA_CALL, DENSE_CALL) + per_step
    if sparse and answer["dense_step_s"]:
        answer["step"] = answer["dense_step_s"] / sparse
        answer["share"] = share = min(1.0, attention / answer["dense_step_s"])
        answer["limit"] = 1 / (1 - share) if share < 0.999 else None
    if record.compile_seconds and per_step > 0:
        answer["repaid"] = record.compile_seconds / per_step
    return answer


class _Steps:
    """seconds   of each step that was timed
    with_psa  steps with any sparse call
    sparse    those of them whose time says what a sparse step takes
    dense     steps without a sparse call, but with attention over the video
    """

    def __init__(self, record: RunRecord):
        self.record = record
        self.seconds = {i: s for i, s in enumerate(record.steps) if s is not None}
        cells = [cell for cell in record.cells if cell.step is not None]
        self.with_psa = {cell.step for cell in cells if cell.sparse}
        video = {cell.step for cell in cells if cell.block is not None}
        # the first step also loads what the model needs
        usual = self.seconds.keys() - record.compiled_steps - {min(self.seconds, default=None)}
        self.sparse = sorted(self.with_psa & usual)
        self.dense = sorted((video - self.with_psa) & usual)

    def median(self, steps: list[int]) -> float | None:
        return statistics.median(self.seconds[i] for i in steps) if steps else None

    def attention(self, steps: list[int], *kinds: str) -> float:
        """Seconds of the video's self-attention in the median one of `steps`."""
        sums = [
            sum(
                cell.ms.get(kind, 0.0)
                for cell in self.record.cells
                if cell.step == i
                for kind in kinds
            )
            / 1000
            for i in steps
        ]
        return statistics.median(sums) if sums else 0.0


def attention_parts(record: RunRecord) -> dict[str, float] | None:
    """Seconds in PSA, in dense attention over the video, in other attention, and elsewhere."""
    timed = [s for s in record.steps if s is not None]
    if not record.timer or not timed:
        return None
    parts = {
        "psa": record.milliseconds(PSA_CALL), "dense": record.milliseconds(DENSE_CALL),
        "other": record.milliseconds(OTHER_CALL),
    }  # fmt: skip
    seconds = {name: ms / 1000 for name, ms in parts.items()}
    seconds["compile"] = record.compile_seconds
    return {**seconds, "rest": max(0.0, sum(timed) - sum(seconds.values()))}
