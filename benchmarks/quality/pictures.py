"""Plots of a summary. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path

from .against_time import DPI, quality_against_time
from .settings import METHODS
from .summary import Row, Summary

COLOURS = ("tab:gray", "tab:blue", "tab:orange", "tab:red")


def draw(summary: Summary, title: str, folder: Path) -> list[Path]:
    """Writes the plots there are figures for; [] where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        return []
    matplotlib.use("Agg")
    drawn = []
    sweep = [
        r for name, rows in summary.tables.items() if name.startswith("density ") for r in rows
    ]
    if any(row.metrics for row in sweep):
        drawn.append(_quality_against_density(sweep, title, folder / "psnr-density.png"))
    compared = [
        row for rows in summary.tables.values() for row in rows if row.call_ms and row.metrics
    ]
    if compared:
        points = [(r.setting.label, r.call_ms["run"], r.metrics["psnr"].mean) for r in compared]
        dense = compared[0].call_ms["dense"]
        drawn.append(quality_against_time(points, dense, title, folder / "psnr-time.png"))
    return drawn


def _quality_against_density(rows: list[Row], title: str, path: Path) -> Path:
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(15, 5), layout="constrained")
    shown = (
        ("psnr", "PSNR from the dense clip, dB"),
        ("ssim", "SSIM"),
        ("temporal", "temporal difference"),
    )
    for axes, (metric, label) in zip(panels, shown, strict=True):
        for name, colour in zip(METHODS, COLOURS, strict=True):
            own = [r for r in rows if r.setting.label == name and r.metrics]
            own.sort(key=lambda row: row.density)
            spreads = [row.metrics[metric] for row in own]
            axes.errorbar(
                [row.density for row in own], [s.mean for s in spreads],
                yerr=[s.half or 0 for s in spreads], marker="o", ms=4, capsize=3, color=colour,
                label=name,
            )  # fmt: skip
        axes.set(xscale="log", xlabel="density of the sparse calls", ylabel=label)
        ticks = sorted({round(row.setting.target, 3) for row in rows})
        axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks], minor=False)
        axes.minorticks_off()
        axes.grid(True, alpha=0.25)
    panels[0].legend(fontsize=9)
    figure.suptitle(f"{title}; bars: 95% confidence of the mean over clips", fontsize=10)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
    return path
