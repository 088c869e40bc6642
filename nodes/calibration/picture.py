"""The trade-off curve and the blocks' budgets as a picture."""

from __future__ import annotations

import math
from typing import Any

from PIL import Image

from ..reporting.picture.canvas import ACCENT, CARD, DENSE, GOOD, MUTED, TEXT, WARN, Canvas, wrap
from .summary import regrouped, unmet

WIDTH, MARGIN = 1200, 36
PLOT_HEIGHT, BARS_HEIGHT = 470, 300


def picture_of(summary: dict[str, Any]) -> Image.Image:
    """RGB, 1200 pixels wide. `summary`: the result of `summary.as_json`."""
    canvas = Canvas(WIDTH, 1200)
    canvas.text((MARGIN, 30), "PSA calibration", 20, MUTED)
    chosen, y = summary["chosen"], 60
    canvas.text((MARGIN, y), summary["base"], 34)
    y += 50
    verdict = (
        f"density {chosen['density']:.1%}, predicted error of the {summary['error_of']} "
        f"{chosen['error']:.2%}"
    )
    alike = summary["uniform_at_that_density"]
    if alike is not None:
        verdict += f"; all blocks alike at that density: {alike:.2%}"
    for line in wrap(verdict, 22, WIDTH - 2 * MARGIN):
        canvas.text((MARGIN, y), line, 22, GOOD)
        y += 32
    for text, size, color in ((unmet(summary), 22, WARN), (regrouped(summary), 18, MUTED)):
        for line in wrap(text, size, WIDTH - 2 * MARGIN) if text else ():
            canvas.text((MARGIN, y), line, size, color)
            y += size + 10
    y = _plot(canvas, y + 10, summary)
    y = _bars(canvas, y + 20, summary["blocks"])
    return canvas.crop(y + 24)


def _plot(canvas: Canvas, top: int, summary: dict[str, Any]) -> int:
    bottom = top + PLOT_HEIGHT
    canvas.card((MARGIN, top, WIDTH - MARGIN, bottom), "Predicted error against density")
    left, right, upper, lower = MARGIN + 92, WIDTH - MARGIN - 36, top + 64, bottom - 60
    points = [*summary["curve"], *summary["uniform"], summary["chosen"]]
    # at the curve's end all blocks are dense and the error is 0: its last part is left out
    shown = [p["error"] for p in (*summary["uniform"], summary["chosen"]) if p["error"] > 0]
    least = min(shown, default=0.01) / 3
    low, high = _decades([least, *(p["error"] for p in points if p["error"] > least)])
    first, last = _decades([p["density"] for p in points])

    def place(point: dict[str, float]) -> tuple[float, float]:
        x = (math.log10(max(point["density"], 10**first)) - first) / (last - first)
        y = (math.log10(max(point["error"], 10**low)) - low) / (high - low)
        return left + x * (right - left), lower - y * (lower - upper)

    for tick in _ticks(first, last):
        x, _ = place({"density": tick, "error": 1.0})
        canvas.draw.line((x, upper, x, lower), fill=DENSE)
        canvas.text((x, lower + 8), f"{tick:.0%}", 16, MUTED, "ma")
    for tick in _ticks(low, high):
        _, y = place({"density": 1.0, "error": tick})
        canvas.draw.line((left, y, right, y), fill=DENSE)
        canvas.text((left - 10, y), f"{tick:.3g}", 16, MUTED, "rm")
    canvas.text((right, lower + 30), "mean density of the sparse steps", 16, MUTED, "ra")
    for name, color in (("uniform", WARN), ("curve", ACCENT)):
        line = [place(point) for point in summary[name] if point["error"] >= least]
        if len(line) > 1:
            canvas.draw.line(line, fill=color, width=3, joint="curve")
        for x, y in line if name == "uniform" else ():
            canvas.draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=color)
    x, y = place(summary["chosen"])
    canvas.draw.ellipse((x - 8, y - 8, x + 8, y + 8), fill=GOOD, outline=CARD, width=2)
    labels = (("all blocks alike", WARN), ("fitted by block", ACCENT), ("chosen", GOOD))
    for i, (label, color) in enumerate(labels):
        x = right - 190
        canvas.draw.line((x, upper + 18 + 26 * i, x + 28, upper + 18 + 26 * i), fill=color, width=4)
        canvas.text((x + 38, upper + 18 + 26 * i), label, 17, TEXT, "lm")
    return bottom


def _bars(canvas: Canvas, top: int, blocks: list[dict[str, Any]]) -> int:
    bottom = top + BARS_HEIGHT
    canvas.card((MARGIN, top, WIDTH - MARGIN, bottom), "Density of each block; grey: dense")
    left, right, upper, lower = MARGIN + 92, WIDTH - MARGIN - 36, top + 64, bottom - 44
    most = max((b["density"] for b in blocks if b["scale"] is not None), default=1.0)
    whole = next(x for x in (0.1, 0.2, 0.5, 1.0) if most <= x + 1e-9)
    for tick in range(5):
        y = lower - tick / 4 * (lower - upper)
        canvas.draw.line((left, y, right, y), fill=DENSE)
        canvas.text((left - 10, y), f"{tick * 25 * whole:.3g}%", 16, MUTED, "rm")
    each = (right - left) / len(blocks)
    every = math.ceil(36 / each)
    for i, block in enumerate(blocks):
        x = left + i * each
        y = lower - min(1.0, block["density"] / whole) * (lower - upper)
        gap = max(1.0, each * 0.15)
        color = MUTED if block["scale"] is None else ACCENT
        canvas.draw.rectangle((x + gap, y, x + each - gap, lower), fill=color)
        if i % every == 0:
            canvas.text((x + each / 2, lower + 8), str(block["block"]), 16, MUTED, "ma")
    return bottom


def _decades(values: list[float]) -> tuple[float, float]:
    """The ends of a logarithmic axis, as exponents of ten, with room around the values."""
    low, high = math.log10(min(values, default=0.1)), math.log10(max(values, default=1.0))
    room = max(0.05 * (high - low), 0.04)
    return low - room, high + room


def _ticks(low: float, high: float) -> list[float]:
    """Round values between two powers of ten; fewer on a long axis."""
    digits = (1, 2, 5) if high - low < 2.2 else (1,)
    found = [d * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for d in digits]
    return [x for x in found if low <= math.log10(x) <= high]
