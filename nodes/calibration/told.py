"""What a calibration found, as plain data for programs and as a preset's description."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from ..preset_value import PresetValue
from .fit import Fit
from .predict import DENSE, Measurements


def as_json(found: Measurements, fitted: Fit, base: PresetValue, kind: str) -> dict[str, Any]:
    """`kind` of target: density or error. `error` is always the square root: rel-L2 of the model's
    output where blocks were probed, else of the attention's outputs."""
    alike = interpolated(fitted.uniform, fitted.chosen.density)
    return {
        "base": base.label,
        "target": {"kind": kind, "value": fitted.target, "met": fitted.met},
        "error_of": "model output" if found.probes else "attention outputs",
        "chosen": {"density": fitted.chosen.density, "error": fitted.chosen.error ** 0.5},
        "uniform_at_that_density": None if alike is None else alike ** 0.5,
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


def description(told: dict[str, Any]) -> str:
    chosen = told["chosen"]
    dense = _dense(told)
    text = (
        f"Calibrated from {told['base']}: density {chosen['density']:.3f}, mean over "
        f"{len(told['blocks'])} blocks"
    )
    text += f", {dense} of them dense" if dense else ""
    text = f"{text}; predicted error of the {told['error_of']} {chosen['error']:.3f}."
    missed = unmet(told)
    return f"{text} {missed}." if missed else text


def unmet(told: dict[str, Any]) -> str | None:
    """A sentence about a target that is out of reach, without its full stop."""
    target = told["target"]
    if target["met"]:
        return None
    kind, asked = target["kind"], target["value"]
    got = f"{told['chosen'][kind]:.3g}"
    dense = _dense(told)
    if kind == "error":  # with blocks left dense every error can be met
        limit = "while allow_dense is off"
    else:
        limit = "that the preset's levels allow"
        limit += f" with {dense} block{'s' * (dense > 1)} dense" if dense else ""
    return f"Target missed: {kind} {asked:.3g} asked; {got} is the least {limit}"


def _dense(told: dict[str, Any]) -> int:
    return sum(block["scale"] is None for block in told["blocks"])


def interpolated(curve: list[tuple[float, float]], density: float) -> float | None:
    """The error at a density between two points of a curve; None outside it."""
    for (left, high), (right, low) in pairwise(curve):
        if left <= density <= right:
            share = (density - left) / (right - left) if right > left else 0.0
            return high + (low - high) * share
    return next((error for at, error in curve if abs(at - density) < 1e-9), None)


def _curve(points: list[tuple[float, float]]) -> list[dict[str, float]]:
    return [{"density": density, "error": error**0.5} for density, error in points]
