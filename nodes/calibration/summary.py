"""The result of a calibration: plain data for programs, and a preset's description."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..preset_value import PresetValue
from .allocate import interpolated
from .fit import Fit
from .grouping import MARGIN, SIMILAR, Compared
from .predict import DENSE, Measurements


def as_json(found: Measurements, fitted: Fit, base: PresetValue, kind: str) -> dict[str, Any]:
    """`kind` of target: density or error. Errors are square roots: rel-L2 of the model's output if
    blocks were probed, else of the attention's outputs."""
    alike = interpolated(fitted.uniform, fitted.chosen.density)
    return {
        "base": base.label,
        "target": {"kind": kind, "value": fitted.target, "met": fitted.met},
        "error_of": "model output" if found.probes else "attention outputs",
        "chosen": {"density": fitted.chosen.density, "error": fitted.chosen.error ** 0.5},
        "uniform_at_that_density": None if alike is None else alike ** 0.5,
        "grouping": _grouping(found.compared, fitted),
        "curve": _curve(fitted.curve),
        "uniform": _curve(fitted.uniform),
        "blocks": [
            {
                "block": block, "density": point.density, "error": point.error ** 0.5,
                "scale": None if point.rung == DENSE else found.scales[point.rung],
                "weight": fitted.weights[block] if found.probes else None,
            }
            for block, point in fitted.blocks.items()
        ],
        "measured_steps": [step + 1 for step in sorted(found.calls)],
        "probed_steps": sorted({probe.step + 1 for probe in found.probes}),
        "rungs": list(found.scales),
    }  # fmt: skip


def description(summary: dict[str, Any]) -> str:
    chosen = summary["chosen"]
    dense = _dense(summary)
    text = (
        f"Calibrated from {summary['base']}: density {chosen['density']:.3f}, mean over the sparse "
        f"steps and {len(summary['blocks'])} blocks"
    )
    text += f", {dense} of them dense" if dense else ""
    text = f"{text}; predicted error of the {summary['error_of']} {chosen['error']:.3f}."
    for more in (regrouped(summary), unmet(summary)):
        text += f" {more}." if more else ""
    return text


def regrouped(summary: dict[str, Any]) -> str | None:
    """A sentence about the grouping that was chosen, without its full stop."""
    grouping = summary["grouping"]
    if not grouping["compared"]:
        return None
    return choice(Compared(**{name: grouping[name] for name in ("chosen", "order", "similar")}))


def choice(compared: Compared) -> str:
    """What was chosen, and by how much."""
    order, similar, margin = compared.order, compared.similar, f"{MARGIN:.0%}"
    if order is None or similar is None or order == 0:
        return "Keys are pooled in token order, because the two groupings could not be compared"
    by = f"{abs(1 - similar / order):.0%} {'lower' if similar <= order else 'higher'}"
    found = f"with like keys together the attention's error is {by}, {similar:.3g} for {order:.3g}"
    if compared.chosen == SIMILAR:
        return f"grouping: similar was chosen; {found}"
    return f"grouping: order was kept; {found}, but only more than {margin} lower counts"


def _grouping(compared: Compared | None, fitted: Fit) -> dict[str, Any]:
    found = compared or Compared(fitted.config.grouping, None, None)
    return {"compared": compared is not None, **asdict(found), "margin": MARGIN}


def unmet(summary: dict[str, Any]) -> str | None:
    """A sentence about a target that is out of reach, without its full stop."""
    target = summary["target"]
    if target["met"]:
        return None
    kind, asked = target["kind"], target["value"]
    got = f"{summary['chosen'][kind]:.3g}"
    dense = _dense(summary)
    if kind == "error":  # dense blocks can meet every error
        limit = "while allow_dense is off"
    else:
        limit = "that the preset's levels allow"
        limit += f" with {dense} block{'s' * (dense > 1)} dense" if dense else ""
    return f"Target missed: {kind} {asked:.3g} was asked for; {got} is the least {limit}"


def _dense(summary: dict[str, Any]) -> int:
    return sum(block["scale"] is None for block in summary["blocks"])


def _curve(points: list[tuple[float, float]]) -> list[dict[str, float]]:
    return [{"density": density, "error": error**0.5} for density, error in points]
