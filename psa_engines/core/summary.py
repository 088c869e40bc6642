"""A run in figures: what ran sparse, what ran dense and why, how long it took."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..ground import LEVELS
from .recording.records import DENSE_CALL, OTHER_CALL, PSA_CALL, RunRecord, Tally
from .recording.speedup import speedup_of
from .schedule import Step


def figures(record: RunRecord, plan: Sequence[Step]) -> dict[str, Any]:
    """A run's figures in plain types; `plan`: its steps."""
    tally = record.tally()
    return {
        "calls": calls_of(record.cells),
        **tally_figures(tally),
        "implementation": ", ".join(record.implementations) or None,
        "implementation_reason": ", ".join(record.implementation_reasons) or None,
        "speedup": speedup_of(record.shapes),
        "times": {
            "psa_ms": record.milliseconds(PSA_CALL),
            "dense_ms": record.milliseconds(DENSE_CALL),
            "other_ms": record.milliseconds(OTHER_CALL),
            "compile_seconds": record.compile_seconds,
            "compile_calls": record.compile_calls,
            "timer": record.timer,
        },
        "missing": record.fault,
        "steps": [
            {"step": i, "sigma": step.sigma, "place": step.place, "range": step.range,
             **calls_of(record.cells, step=i), "seconds": record.steps[i]}
            for i, step in enumerate(plan)
        ],
        "ranges": _by_range(record, plan),
    }  # fmt: skip


def _by_range(record: RunRecord, plan: Sequence[Step]) -> list[dict[str, Any]]:
    """Figures of each range of steps in the plan, and of all other steps; [] without ranges."""
    steps_of: dict[str | None, set[int]] = {}
    for i, step in enumerate(plan):
        steps_of.setdefault(step.range, set()).add(i)
    if set(steps_of) <= {None}:
        return []
    found = []
    for name, steps in steps_of.items():
        cells = [cell for cell in record.cells if cell.step in steps]
        seconds = [s for i in steps if (s := record.steps[i]) is not None]
        found.append({
            "range": name, "steps": [i + 1 for i in sorted(steps)], "calls": calls_of(cells),
            **tally_figures(record.tally(cells)),
            "step_s": statistics.median(seconds) if seconds else None,
        })  # fmt: skip
    return found


def tally_figures(tally: Tally | None) -> dict[str, Any]:
    """density    share of dense attention's query-key products that was computed
    per_level  share of the video's block pairs on each level
    mass       share of the estimated attention mass in them, None where it is NaN, as with NaN in q
    """
    if tally is None:
        return {"density": None, "per_level": {}, "mass": {}}
    pairs = tally.pairs.sum(0)
    shares, mass = pairs / max(1, pairs.sum()), tally.mass.mean(0) / tally.calls
    names = [str(level) for level in LEVELS]
    return {
        "density": float(tally.density.mean()),
        "per_level": dict(zip(names, shares.tolist(), strict=True)),
        "mass": {
            name: share if math.isfinite(share) else None
            for name, share in zip(names, mass.tolist(), strict=True)
        },
    }


def calls_of(cells: list, **place: int | None) -> dict[str, Any]:
    """{"sparse", "dense": {reason: calls}} of the cells at a step or block."""
    found = [c for c in cells if all(getattr(c, name) == x for name, x in place.items())]
    return {
        "sparse": sum(cell.sparse for cell in found),
        "dense": dict(sum((cell.dense for cell in found), Counter())),
    }


def summary_line(report: dict[str, Any]) -> str:
    """One line that says what the run did."""
    dense = report["calls"]["dense"]
    reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(dense.items(), key=_by_count))
    line = f"{report['preset']}: {report['calls']['sparse']} attention calls sparse"
    if report["density"] is not None:
        line += f" at {report['density']:.1%} density ({report['implementation']})"
    line += f", {sum(dense.values())} dense" + (f" ({reasons})" if reasons else "")
    line += f"; {report['plan_text']}"
    if report["failure"]:
        line += f"; STEPPED ASIDE: {report['failure']}"
    if report.get("bypassed"):
        line += f"; BYPASSED by {report['bypassed']}"
    if report["repeated"]:
        line += f"; {repeated_text(report['repeated'])}"
    return line


def repeated_text(times: int) -> str:
    """What the counts of calls hold that the result does not."""
    calls, their = "1 model call was", "its"
    if times > 1:
        calls, their = f"{times} model calls were", "their"
    return f"{calls} made again, dense; the attention calls of {their} first try are counted too"


def _by_count(item: tuple[str, int]) -> int:
    return -item[1]
