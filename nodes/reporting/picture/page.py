"""Lays the parts of a report out, one run under the other."""

from __future__ import annotations

import numpy as np
from PIL import Image

from .. import words
from ..report import Report, RunReport
from .canvas import BACK, BAD, GOOD, MUTED, TEXT, WARN, Canvas, wrap
from .parts import (
    MARGIN,
    WIDTH,
    budget,
    calls,
    gains,
    heat_maps,
    level_maps,
    ranges,
    steps,
    time_parts,
)

MOST_HEIGHT = 4000  # of one run


def picture_of(reports: list[Report]) -> Image.Image:
    """RGB, 1600 pixels wide and as high as it needs."""
    pages = []
    for number, report in enumerate(reports, 1):
        name = f"PSA report, model {number}" if len(reports) > 1 else "PSA report"
        if report.note:
            pages.append(_message(name, report.note))
        for i, run in enumerate(report.runs, 1):
            title = f"{name}, run {i} of {len(report.runs)}" if len(report.runs) > 1 else name
            pages.append(_page(title, run))
    height = sum(page.height for page in pages)
    whole = Image.new("RGB", (WIDTH, height), BACK)
    y = 0
    for page in pages:
        whole.paste(page, (0, y))
        y += page.height
    return whole


def _message(title: str, note: str) -> Image.Image:
    canvas = Canvas(WIDTH, MOST_HEIGHT)
    canvas.text((MARGIN, 36), title, 20, MUTED)
    y = 76
    for line in wrap(note, 28, WIDTH - 2 * MARGIN):
        canvas.text((MARGIN, y), line, 28)
        y += 40
    return canvas.crop(y + 36)


def _page(title: str, run: RunReport) -> Image.Image:
    figures = run.figures
    if run.maps is None:
        return _message(title, figures["note"])
    canvas = Canvas(WIDTH, MOST_HEIGHT)
    y = _head(canvas, title, figures)
    y = gains(canvas, y, figures)
    y = steps(canvas, y, figures)
    y = ranges(canvas, y, figures)
    if np.isfinite(run.maps.by_step).any():
        y = heat_maps(canvas, y, run.maps)
        y = level_maps(canvas, y, figures, run.maps)
    if figures["per_level"]:
        y = budget(canvas, y, figures)
    left = calls(canvas, y, figures)
    right = time_parts(canvas, y, figures)
    return canvas.crop(max(left, right) + 12)


def _head(canvas: Canvas, title: str, figures: dict) -> int:
    canvas.text((MARGIN, 32), title, 20, MUTED)
    y = 62
    canvas.text((MARGIN, y), figures["preset"], 36)
    y += 52
    gain = figures["saving"]["attention"]
    slow = gain is not None and gain < 1
    color = BAD if figures["failure"] else WARN if slow or not figures["calls"]["sparse"] else GOOD
    for line in wrap(words.verdict(figures), 24, WIDTH - 2 * MARGIN):
        canvas.text((MARGIN, y), line, 24, color)
        y += 34
    about = figures["plan_text"]
    if figures["implementation"]:
        about += f". Served by {figures['implementation']}"
        if figures["implementation_reason"]:
            about += f" ({figures['implementation_reason']})"
    dense = words.dense_kernel(figures)
    if dense:
        about += f". {dense}"
    if figures["ended"]:
        about += f". The run ended early: {figures['ended']}"
    for line in wrap(about, 19, WIDTH - 2 * MARGIN):
        canvas.text((MARGIN, y), line, 19, TEXT)
        y += 27
    return y + 14
