"""The report of a model's last runs: the data behind its text, picture and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...psa_engines.core.recording.records import DENSE_CALL, PSA_CALL, CallShape, Cell
from ...psa_engines.core.summary import calls_of, tally_figures
from ...psa_kernels.config import LEVELS
from ..recording.run_log import LoggedRun, RunLog
from .dense_time import DenseTime, dense_calls, dense_times
from .estimated import estimated
from .maps import Maps, maps
from .saving import attention_parts, saving

VERSION = 1  # of the JSON
NO_PSA = (
    "There is no PSA on this model. Link the model that Apply PSA gives, and make sure that it "
    "is switched on."
)
NO_RUN = (
    'Nothing has been sampled with this model yet. Link the sampler\'s output to "after", so '
    "that the report waits for it."
)


@dataclass(frozen=True)
class RunReport:
    """figures   the run, as in the JSON
    maps      None if there is no record
    """

    figures: dict[str, Any]
    maps: Maps | None


@dataclass(frozen=True)
class Report:
    """The report of one model; `note` says why there are no runs, or which are left out."""

    runs: list[RunReport]
    note: str | None = None


def reports_of(logs: list[RunLog | None]) -> list[Report]:
    """A report for each model's log. Measures what the runs did not: see `dense_times`."""
    found = [[] if log is None else log.latest() for log in logs]
    known = dense_calls(run.record for runs in found for run in runs if run.record)
    return [
        Report([_run_report(run, known) for run in runs], _note(log, runs))
        for log, runs in zip(logs, found, strict=True)
    ]


def _note(log: RunLog | None, runs: list[LoggedRun]) -> str | None:
    if log is None:
        return NO_PSA
    if not runs:
        return NO_RUN
    if log.left_out:
        return (
            f"Only the last {len(runs)} of {log.left_out + len(runs)} runs are shown: a model "
            "keeps no more."
        )
    return None


def as_json(reports: list[Report]) -> dict[str, Any]:
    return _plain({
        "version": VERSION,
        "models": [
            {"note": report.note, "runs": [run.figures for run in report.runs]}
            for report in reports
        ],
    })  # fmt: skip


def _run_report(logged: LoggedRun, known: Mapping[CallShape, list[float]]) -> RunReport:
    if logged.report is None or logged.record is None:
        return RunReport({"note": logged.note}, None)
    record = logged.record
    dense = dense_times(record, known)
    found = maps(record)
    counted = [cell for cell in record.cells if cell.tally]
    figures = {
        "note": None,
        **logged.report,
        "grid": None if logged.grid is None else list(logged.grid[0]),
        "tail": _tails(logged, counted),
        "retained": _retained(logged, counted),
        "other_tokens": None if logged.grid is None else logged.grid[1],
        "shapes": [_shape(x, times, dense.get(x)) for x, times in record.shapes.items()],
        "saving": saving(record, dense),
        "parts": attention_parts(record),
        "estimate": estimated(logged),
        "blocks": [_block(record, block) for block in found.blocks],
        "block_steps": {
            "blocks": found.blocks, "steps": list(range(1, len(record.steps) + 1)),
            "density": found.by_step, "levels": _by_level(found.step_levels),
        },
        "head_blocks": {
            "heads": len(found.by_head), "blocks": found.blocks,
            "density": found.by_head, "levels": _by_level(found.head_levels),
        },
    }  # fmt: skip
    return RunReport(figures, found)


def _tail(logged: LoggedRun, cell: Cell) -> int | str:
    if not logged.preset:
        return "none"
    range_ = logged.report["steps"][cell.step]["range"]
    return logged.preset.config.in_range(range_).for_block(cell.block).tail


def _tails(logged: LoggedRun, cells: list[Cell]) -> int | str:
    """What became of level 0: "none", the tail's pooling, or "mixed" if blocks differ."""
    found = {_tail(logged, cell) for cell in cells}
    return found.pop() if len(found) == 1 else "mixed" if found else "none"


def _retained(logged: LoggedRun, cells: list[Cell]) -> float | None:
    """The share of the estimated mass in blocks that are read, at any level."""
    # with NaN in q or k there is no mass
    cells = [cell for cell in cells if np.isfinite(cell.tally.mass).all()]
    calls = sum(cell.tally.calls for cell in cells)
    lost = sum(
        float(cell.tally.mass[:, -1].mean()) for cell in cells if _tail(logged, cell) == "none"
    )
    return 1.0 - lost / calls if calls else None


def _shape(shape: CallShape, times: Any, dense: DenseTime | None) -> dict[str, Any]:
    # the mean: blocks may have budgets of their own
    psa = float(np.mean(times.psa)) if times.psa else None
    ms = dense.ms if dense else (float(np.median(times.dense)) if times.dense else None)
    return {
        **shape._asdict(),
        "psa_calls": len(times.psa), "psa_ms": psa,
        "dense_calls": dense.calls if dense else len(times.dense), "dense_ms": ms,
        "dense_from": dense.source if dense else None,
        "dense_reason": dense.reason if dense else None,
        "speedup": ms / psa if psa and ms is not None else None,
    }  # fmt: skip


def _block(record: Any, block: int) -> dict[str, Any]:
    cells = [cell for cell in record.cells if cell.block == block]
    return {
        "block": block,
        **calls_of(cells),
        **tally_figures(record.tally(cells)),
        "psa_ms": sum(cell.ms.get(PSA_CALL, 0.0) for cell in cells) if record.timer else None,
        "dense_ms": sum(cell.ms.get(DENSE_CALL, 0.0) for cell in cells) if record.timer else None,
    }


def _by_level(levels: np.ndarray) -> dict[str, np.ndarray]:
    """Shares of the levels that any block pair is on."""
    return {
        str(level): share
        for level, share in zip(LEVELS, levels, strict=True) if np.nansum(share) > 0
    }  # fmt: skip


def _plain(value: Any) -> Any:
    """Plain values for JSON: no arrays, no NaN, five digits."""
    if isinstance(value, dict):
        return {str(key): _plain(x) for key, x in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(x) for x in value]
    if isinstance(value, float | np.floating):
        value = float(value)
        if not math.isfinite(value):
            return None
        return float(f"{value:.5g}") if abs(value) < 1000 else round(value, 3)
    if isinstance(value, np.integer):
        return int(value)
    return value
