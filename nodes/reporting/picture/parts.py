"""The parts of a run's page. Each draws from `y` on and answers where the next one begins."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import words
from ..maps import Maps
from .canvas import (
    ACCENT,
    BACK,
    DENSE,
    GOOD,
    LEVELS,
    MUTED,
    TAIL,
    TEXT,
    WARN,
    Canvas,
    fitted,
    font,
    nice_top,
    wrap,
)  # fmt: skip

WIDTH = 1600
MARGIN = 40
GAP = 20
PAD = 20
PARTS = {
    "psa": ("PSA", ACCENT), "dense": ("dense self-attention", (206, 120, 92)),
    "other": ("other attention", (150, 112, 184)), "compile": ("compiling", WARN),
    "rest": ("everything else", DENSE),
}  # fmt: skip


def gains(canvas: Canvas, y: int, run: dict[str, Any]) -> int:
    """Four figures: attention, step, run, density."""
    gain, expected = run["saving"], run["estimate"] or {}
    served = [shape for shape in run["shapes"] if shape["psa_calls"]]
    call = "not timed"
    if served:
        most = max(served, key=lambda shape: shape["psa_calls"])
        dense = words.milliseconds(most["dense_ms"])
        call = f"{words.milliseconds(most['psa_ms'])} a call, dense {dense}"
    computed = " computed" if gain["dense_step_from"] == "computed" else ""
    step = (
        f"{words.seconds(gain['sparse_step_s'])}, dense {words.seconds(gain['dense_step_s'])}"
        f"{computed}"
    )
    whole = f"{words.seconds(gain['run_s'])}, without {words.seconds(gain['without_s'])}"
    mass = "nothing was sparse" if run["density"] is None else "of unknown mass"
    if run["retained"] is not None:
        full = words.percent(run["mass"]["1"])
        mass = f"{words.percent(run['retained'])} of the mass read, {full} in full"
    tiles = (
        ("Attention, against dense", words.times(gain["attention"]), call, "attention"),
        ("A sparse step", words.times(gain["step"]), step, "step"),
        ("The run", words.times(gain["run"]), whole, "run"),
        ("Density of sparse calls", words.percent(run["density"]), mass, None),
    )
    width = (WIDTH - 2 * MARGIN - 3 * GAP) // 4
    for i, (title, value, below, key) in enumerate(tiles):
        x = MARGIN + i * (width + GAP)
        canvas.card((x, y, x + width, y + 148), title)
        number = gain.get(key) if key else None
        color = TEXT if number is None else GOOD if number >= 1 else WARN
        canvas.text((x + PAD, y + 44), value, 46, color)
        canvas.text((x + PAD, y + 102), fitted(below, 17, width - 2 * PAD), 17)
        figure = expected.get(key) if key else None
        if figure and figure["value"] is not None:
            said = f"estimated before: {words.times(figure['value'])}"
            canvas.text((x + PAD, y + 124), said, 16, MUTED)
    return y + 148 + GAP


def steps(canvas: Canvas, y: int, run: dict[str, Any]) -> int:
    """A bar for each step, as high as it took long; hatched where it was dense."""
    found = run["steps"]
    if not found:
        return y
    height, low = 210, y + 168
    canvas.card((MARGIN, y, WIDTH - MARGIN, y + height), "Steps: time of each")
    known = [step["seconds"] for step in found if step["seconds"] is not None]
    longest = max(known, default=0.0)
    left, room = MARGIN + PAD, WIDTH - 2 * (MARGIN + PAD)
    each = max(1, min(150, room // len(found)))
    every = max(1, -(-44 // each))
    for step in found:
        x = left + step["step"] * each
        share = step["seconds"] / longest if step["seconds"] is not None and longest else 0.0
        box = (x, round(low - 6 - 92 * share), x + max(1, each - 3), low)
        if step["sparse"]:
            canvas.draw.rectangle(box, fill=ACCENT)
        else:
            canvas.hatch(box)
        if step["step"] % every == 0:
            middle = (box[0] + box[2]) / 2
            canvas.text((middle, low + 8), str(step["step"] + 1), 15, MUTED, "ma")
            if step["seconds"] is not None:
                said = words.seconds(step["seconds"])
                if font(14).getlength(said) < each * every - 4:
                    canvas.text((middle, box[1] - 5), said, 14, TEXT, "ms")
    x = WIDTH - MARGIN - PAD
    for name, kind in (("dense", None), ("sparse", ACCENT)):
        x -= round(font(16).getlength(name))
        canvas.text((x, y + 18), name, 16, MUTED)
        box = (x - 24, y + 19, x - 8, y + 35)
        canvas.hatch(box) if kind is None else canvas.draw.rectangle(box, fill=kind)
        x -= 44
    return y + height + GAP


def ranges(canvas: Canvas, y: int, run: dict[str, Any]) -> int:
    """A bar for each range of the preset's, as long as its steps were dense."""
    found = run["ranges"]
    if not found:
        return y
    height = 62 + 34 * len(found)
    canvas.card((MARGIN, y, WIDTH - MARGIN, y + height), "Ranges of steps: density of each")
    left, right = MARGIN + PAD + 330, MARGIN + PAD + 730
    for i, part in enumerate(found):
        top = y + 50 + 34 * i
        name = words.range_name(part)
        canvas.text((MARGIN + PAD, top + 12), fitted(name, 17, 310), 17, TEXT, "lm")
        if part["density"] is None:
            canvas.hatch((left, top, right, top + 24))
        else:
            canvas.draw.rectangle((left, top, right, top + 24), fill=BACK)
            end = left + max(2, round((right - left) * part["density"]))
            canvas.draw.rectangle((left, top, end, top + 24), fill=ACCENT)
        said = fitted(words.range_line(part), 17, WIDTH - MARGIN - PAD - right - 20)
        canvas.text((right + 20, top + 12), said, 17, MUTED, "lm")
    return y + height + GAP


def heat_maps(canvas: Canvas, y: int, found: Maps) -> int:
    """Density by block and step, and by head and block."""
    top = nice_top(float(np.nanmax(np.concatenate((found.by_step.ravel(), found.by_head.ravel())))))
    width = (WIDTH - 2 * MARGIN - GAP) // 2
    names = [str(block) for block in found.blocks]
    numbers = [str(i + 1) for i in range(found.by_step.shape[1])]
    heads = [str(i) for i in range(found.by_head.shape[0])]
    room = (width - 2 * PAD - 50, 380)
    cells = [_cell(values, room) for values in (found.by_step, found.by_head)]
    height = 150 + max(
        cell[1] * values.shape[0]
        for cell, values in zip(cells, (found.by_step, found.by_head), strict=True)
    )
    for i, (title, values, rows, columns, cell) in enumerate((
        ("Density: block (down) by step", found.by_step, names, numbers, cells[0]),
        ("Density: head (down) by block", found.by_head, heads, names, cells[1]),
    )):  # fmt: skip
        x = MARGIN + i * (width + GAP)
        canvas.card((x, y, x + width, y + height), title)
        at = (x + PAD + 50, y + 60)
        canvas.heat(at, values, cell, top)
        _axes(canvas, at, cell, rows, columns)
        scale = (x + PAD + 90, y + height - 42, x + PAD + 330, y + height - 28)
        canvas.scale(scale, top, f"{top:.0%}")
        canvas.hatch((x + PAD + 420, y + height - 42, x + PAD + 444, y + height - 28))
        canvas.text((x + PAD + 452, y + height - 35), "dense", 15, MUTED, "lm")
    return y + height + GAP


def level_maps(canvas: Canvas, y: int, run: dict[str, Any], found: Maps) -> int:
    """The share of block pairs on each level, where it is not everywhere the same."""
    for what, maps_of_levels in (
        ("block by step", found.step_levels), ("head by block", found.head_levels),
    ):  # fmt: skip
        used = [
            (level, values)
            for level, values in zip(LEVELS, maps_of_levels, strict=True)
            if np.nansum(values) > 0
        ]
        if any(np.nanmax(values) - np.nanmin(values) > 0.005 for _, values in used):
            y = _row_of_maps(canvas, y, run, what, used)
    return y


def _row_of_maps(
    canvas: Canvas, y: int, run: dict[str, Any], what: str, used: list[tuple[str, np.ndarray]]
) -> int:
    width = (WIDTH - 2 * MARGIN - (len(used) - 1) * GAP) // len(used)
    cell = _cell(used[0][1], (width - 2 * PAD, 200))
    height = 108 + cell[1] * used[0][1].shape[0]
    for i, (level, values) in enumerate(used):
        x = MARGIN + i * (width + GAP)
        canvas.card((x, y, x + width, y + height))
        title = f"Pairs {words.level_name(run, level)}: {what}"
        canvas.text((x + PAD, y + 16), fitted(title, 17, width - 2 * PAD), 17, MUTED)
        top = nice_top(float(np.nanmax(values)))
        canvas.heat((x + PAD, y + 52), values, cell, top)
        scale = (x + PAD + 34, y + height - 34, x + min(width - 80, 300), y + height - 22)
        canvas.scale(scale, top, f"{top:.0%}")
    return y + height + GAP


def budget(canvas: Canvas, y: int, run: dict[str, Any]) -> int:
    """Two bars: which levels the pairs are on, and which the estimated mass."""
    height = 158
    title = "Where the block pairs went, and where the estimated attention mass was"
    canvas.card((MARGIN, y, WIDTH - MARGIN, y + height), title)
    left, right = MARGIN + PAD + 120, WIDTH - MARGIN - PAD
    colors = LEVELS if run["tail"] == "none" else {**LEVELS, "0": TAIL}
    for row, (name, shares) in enumerate((("pairs", run["per_level"]), ("mass", run["mass"]))):
        top = y + 50 + row * 34
        canvas.text((MARGIN + PAD, top + 13), name, 17, TEXT, "lm")
        canvas.stack((left, top, right, top + 26), [(shares[x] or 0.0, colors[x]) for x in colors])
    x = left
    for level, share in run["per_level"].items():
        if not share:
            continue
        said = (
            f"{words.level_name(run, level)}: {words.percent(share)} of pairs, "
            f"{words.percent(run['mass'][level])} of mass"
        )
        canvas.draw.rectangle((x, y + 126, x + 14, y + 140), fill=colors[level])
        canvas.text((x + 22, y + 133), said, 15, MUTED, "lm")
        x += 22 + font(15).getlength(said) + 26
    return y + height + GAP


def calls(canvas: Canvas, y: int, run: dict[str, Any]) -> int:
    """A table of what the attention calls were."""
    width = (WIDTH - 2 * MARGIN - GAP) // 2
    rows = [("sparse", run["calls"]["sparse"], ACCENT)] if run["calls"]["sparse"] else []
    dense = sorted(run["calls"]["dense"].items(), key=lambda item: -item[1])
    rows += [(reason, count, DENSE) for reason, count in dense]
    height = 62 + 30 * max(1, len(rows)) + 12
    canvas.card((MARGIN, y, MARGIN + width, y + height), "Attention calls")
    most = max((count for _, count, _ in rows), default=1)
    for i, (name, count, color) in enumerate(rows):
        top = y + 54 + 30 * i
        said = name if color == ACCENT else f"dense: {name}"
        canvas.text((MARGIN + PAD, top + 11), fitted(said, 17, 330), 17, TEXT, "lm")
        canvas.text((MARGIN + PAD + 420, top + 11), f"{count:,}", 17, TEXT, "rm")
        end = MARGIN + PAD + 440 + (width - 2 * PAD - 440) * count / most
        canvas.draw.rectangle((MARGIN + PAD + 440, top + 3, end, top + 19), fill=color)
    return y + height + GAP


def time_parts(canvas: Canvas, y: int, run: dict[str, Any]) -> int:
    """What the run's time was spent on, and the sentences that follow from it."""
    width = (WIDTH - 2 * MARGIN - GAP) // 2
    left = MARGIN + width + GAP
    lines = [part for line in words.timing(run) for part in wrap(line, 16, width - 2 * PAD)]
    parts = run["parts"]
    legend = [(key, s) for key, s in (parts or {}).items() if s]
    height = 56 + (34 + 26 * -(-len(legend) // 2) + 14 if parts else 0) + 24 * len(lines) + 12
    timer = run["times"]["timer"]
    canvas.card((left, y, left + width, y + height), f"Time, by {timer}" if timer else "Time")
    top = y + 54
    if parts:
        bar = (left + PAD, top, left + width - PAD, top + 24)
        canvas.stack(bar, [(s, PARTS[key][1]) for key, s in legend])
        top += 38
        for i, (key, s) in enumerate(legend):
            name, color = PARTS[key]
            x = left + PAD + (i % 2) * (width - 2 * PAD) // 2
            line = top + 26 * (i // 2)
            canvas.draw.rectangle((x, line + 2, x + 14, line + 16), fill=color)
            said = f"{name} {words.seconds(s)} ({words.percent(s / sum(parts.values()))})"
            canvas.text((x + 22, line + 9), said, 16, TEXT, "lm")
        top += 26 * -(-len(legend) // 2) + 10
    for line in lines:
        canvas.text((left + PAD, top), line, 16, MUTED)
        top += 24
    return y + height + GAP


def _cell(values: np.ndarray, room: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of a cell, so that all fit."""
    rows, columns = (max(1, n) for n in values.shape)
    return max(2, min(64, room[0] // columns)), max(2, min(34, room[1] // rows))


def _axes(
    canvas: Canvas, at: tuple[int, int], cell: tuple[int, int], rows: list[str], columns: list[str]
) -> None:
    left, top = at
    every = max(1, -(-18 // cell[1]))
    for i, name in enumerate(rows):
        if i % every == 0:
            canvas.text((left - 8, top + (i + 0.5) * cell[1]), name, 14, MUTED, "rm")
    every = max(1, -(-28 // cell[0]))
    for i, name in enumerate(columns):
        if i % every == 0:
            x = left + (i + 0.5) * cell[0]
            canvas.text((x, top + len(rows) * cell[1] + 6), name, 14, MUTED, "ma")
