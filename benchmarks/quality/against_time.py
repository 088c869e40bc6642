"""The picture of quality against time: PSA and other projects' attention on the same clips.

    python -m benchmarks.quality.against_time FILE      from benchmarks/results/deciding-beside.json

Needs matplotlib.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

DPI = 120
BLOCKS = "block-sparse"
CURVE = ", along the curve"
# start of a label -> name of its line, colour
PROJECTS = {
    "PSA at the cost of": ("", ""),  # candidates, not presets
    "PSA": ("PSA", "tab:red"),
    BLOCKS: ("keep or drop whole blocks", "tab:gray"),
    "comfy-kitchen sol_attn": ("sol_attn", "tab:blue"),
    "comfy-kitchen int8": ("comfy-kitchen int8", "tab:cyan"),
    "h3-sparse-attn": ("h3-sparse-attn", "tab:green"),
    "FlashAttention-3 fp8": ("FlashAttention-3 fp8", "tab:purple"),
    "SpargeAttn": ("SpargeAttn", "tab:olive"),
    "SageAttention": ("SageAttention", "tab:brown"),
}
LEFT = ("PSA", "h3-sparse-attn")  # lines whose settings are written on the left
OTHER_ORDERS = {CURVE: ", along PSA's curve", ", token order": ", without like keys"}


def quality_against_time(
    points: Iterable[tuple[str, float, float]], dense: float, title: str, path: Path
) -> Path:
    """Writes the picture; points: (label of the row, ms of a call, PSNR in dB), dense: ms."""
    import matplotlib.pyplot as plt

    lines: dict[tuple[str, str], list[tuple[float, float, str]]] = {}
    for label, ms, psnr in points:
        found = _line(label)
        if found:
            name, setting, colour = found
            lines.setdefault((name, colour), []).append((ms, psnr, setting))
    figure, axes = plt.subplots(figsize=(11, 6.5), layout="constrained")
    for (name, colour), own in lines.items():
        own.sort()
        other = name.endswith(tuple(OTHER_ORDERS.values()))
        first = name == "PSA"
        axes.plot(
            [x for x, _, _ in own], [y for _, y, _ in own], marker="o" if not other else "^",
            ms=8 if first else 6, lw=2.5 if first else 1.2, ls="--" if other else "-",
            color=colour, label=name, zorder=3 if first else 2,
        )  # fmt: skip
        for ms, psnr, setting in own if not other else ():
            crowded = any(0 < x - ms < 5 for x, _, _ in own)  # the next one stands on its right
            left = crowded or name in LEFT
            place, side = ((-7, 4), "right") if left else ((7, -9), "left")
            axes.annotate(setting, (ms, psnr), xytext=place, textcoords="offset points", ha=side,
                          fontsize=8, color=colour)  # fmt: skip
    axes.axvline(dense, color="black", lw=0.8, ls=":", label="fastest exact attention")
    axes.set(xlabel="ms of a self-attention call, mean over all steps of the run",
             ylabel="PSNR from the dense clip, dB", title=title)  # fmt: skip
    axes.title.set_fontsize(10)
    axes.grid(True, alpha=0.25)
    axes.legend(fontsize=9, loc="upper left")
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
    return path


def _line(label: str) -> tuple[str, str, str] | None:
    """Line that a row is on, its setting there and the line's colour; None: not shown."""
    start = next((x for x in PROJECTS if label.startswith(x)), None)
    name, colour = PROJECTS[start] if start else (label, "black")
    if not name:
        return None
    setting = label.removeprefix(start).strip() if start else ""
    for end, words in OTHER_ORDERS.items():
        if setting.endswith(end):
            name, setting = name + words, setting.removesuffix(end)
    if start == BLOCKS:  # their points lie between the others'
        setting = ""
    return name, setting.replace(", token_aug ", " + "), colour


def main(path: str) -> None:
    import matplotlib

    from .decide_tables import BESIDE, load, mean
    from .settings import PEERS

    matplotlib.use("Agg")
    (run,) = load(BESIDE)
    rows = [row for row in run["rows"] if row["table"].startswith(PEERS)]
    points = [(row["label"], row["ms"]["run"], mean(row, "psnr")) for row in rows]
    clips, steps = len(rows[0]["psnr"]), run["sampling"]["steps"]
    title = (
        f"Small trained Wan, mean of {clips} clips, {steps} steps; time of a call at 720p, 81 "
        f"frames, on an {run['gpu']}"
    )
    quality_against_time(points, rows[0]["ms"]["dense"], title, Path(path))


if __name__ == "__main__":
    main(*sys.argv[1:])
