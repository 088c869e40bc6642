"""Plots of a summary. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path

from .against_time import DPI, quality_against_time
from .settings import ABLATIONS, METHODS
from .structure import ESTIMATORS, ORDERS
from .summary import CAPTURED, Row, Summary

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
    targets = dict.fromkeys(
        row.setting.table.rpartition(", density ")[2]
        for rows in summary.tables.values() for row in rows if row.setting.part == ABLATIONS
    )  # fmt: skip
    for target in targets:
        tables = {
            name.rpartition(", density ")[0]: rows for name, rows in summary.tables.items()
            if name.endswith(f", density {target}")
        }  # fmt: skip
        at = f"density {target}; {title}"
        if any(row.differences for rows in tables.values() for row in rows):
            drawn.append(_differences(tables, "psnr", at, folder / f"ablations-{target}.png"))
        if any(row.calls for rows in tables.values() for row in rows):
            drawn.append(_call_errors(tables, at, folder / f"calls-{target}.png"))
    compared = [
        row for rows in summary.tables.values() for row in rows if row.call_ms and row.metrics
    ]
    if compared:
        points = [(r.setting.label, r.call_ms["run"], r.metrics["psnr"].mean) for r in compared]
        dense = compared[0].call_ms["dense"]
        drawn.append(quality_against_time(points, dense, title, folder / "psnr-time.png"))
    if summary.holds_90:
        drawn.append(_heat_maps(summary, title, folder / "attention.png"))
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


def _differences(tables: dict[str, list[Row]], metric: str, title: str, path: Path) -> Path:
    import matplotlib.pyplot as plt

    entries: list[tuple[str, Row | None]] = []
    for name, rows in tables.items():
        compared = [row for row in rows if metric in row.differences]
        if compared:
            entries += [(name, None), *((_named(row), row) for row in compared)]
    figure, axes = plt.subplots(figsize=(11, 0.24 * len(entries) + 1.2), layout="constrained")
    for place, (_, row) in enumerate(entries):
        if row is None:
            axes.axhspan(place - 0.5, place + 0.5, color="0.93", zorder=0)
            continue
        found = row.differences[metric]
        colour = "0.6" if not found.clear else "tab:green" if found.mean > 0 else "tab:red"
        axes.barh(place, found.mean, xerr=found.half, color=colour, height=0.7, capsize=2)
    axes.set_yticks(range(len(entries)), [name for name, _ in entries], fontsize=8)
    for tick, (_, row) in zip(axes.get_yticklabels(), entries, strict=True):
        tick.set_fontweight("bold" if row is None else "normal")
    axes.axvline(0, color="black", lw=0.8)
    axes.set(
        xlabel="difference in PSNR, dB, paired over clips; 95% confidence; gray: not clear of 0",
        ylim=(len(entries) - 0.5, -0.5),
    )
    axes.set_title(title, fontsize=10)
    axes.grid(True, axis="x", alpha=0.25)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
    return path


def _named(row: Row) -> str:
    other = row.setting.against.removeprefix(f"{row.setting.table}: ")
    return f"{row.setting.label}  (to: {other})"


def _call_errors(tables: dict[str, list[Row]], title: str, path: Path) -> Path:
    import matplotlib.pyplot as plt

    entries = [
        (f"{name}: {row.setting.label}", row)
        for name, rows in tables.items() if not name.startswith("warm-up")
        for row in rows if CAPTURED in row.calls
    ]  # fmt: skip
    figure, axes = plt.subplots(figsize=(11, 0.2 * len(entries) + 1.5), layout="constrained")
    marks = {CAPTURED: ("o", "tab:red"), "peaked": ("^", "tab:blue"), "medium": ("s", "tab:cyan"),
             "flat": ("D", "tab:gray")}  # fmt: skip
    for source, (mark, colour) in marks.items():
        found = [
            (row.calls[source], i) for i, (_, row) in enumerate(entries) if source in row.calls
        ]
        label = (
            "captured, mean and 95% over calls" if source == CAPTURED else f"synthetic, {source}"
        )
        axes.errorbar(
            [s.mean for s, _ in found], [i for _, i in found],
            xerr=[s.half or 0 for s, _ in found], fmt=mark, color=colour, ms=4, label=label,
        )  # fmt: skip
    axes.set_yticks(range(len(entries)), [name for name, _ in entries], fontsize=7)
    axes.set(xscale="log", xlabel="rel-L2 of single attention calls from float32 dense",
             ylim=(len(entries) - 0.5, -0.5))  # fmt: skip
    low, high = axes.get_xlim()
    ticks = [x for x in (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1) if low < x < high]
    axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
    axes.minorticks_off()
    axes.set_title(title, fontsize=10)
    axes.grid(True, axis="x", alpha=0.25)
    figure.legend(fontsize=8, loc="outside lower center", ncols=len(marks))
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
    return path


def _heat_maps(summary: Summary, title: str, path: Path) -> Path:
    """Recall at 10% of the blocks above, structure below; layer against step."""
    import matplotlib.pyplot as plt

    name = next(iter(ESTIMATORS))
    top = {
        order: [[step[1] for step in layer] for layer in summary.recall[order, name]]
        for order in ORDERS
    }
    rows = (
        (f"recall of {name}, top 10% of the blocks", top, ".3f", "viridis"),
        ("share of the blocks that holds 90% of the mass", summary.holds_90, ".0%", "magma"),
    )
    layers, steps = len(top["raster"]), len(top["raster"][0])
    size = (max(9.0, 1.0 * steps), 0.8 * layers + 3)
    figure, panels = plt.subplots(2, len(ORDERS), figsize=size, layout="constrained", squeeze=False)
    for line, (label, by_order, form, colours) in zip(panels, rows, strict=True):
        values = [x for order in ORDERS for layer in by_order[order] for x in layer]
        low, high = min(values), max(values)
        for axes, order in zip(line, ORDERS, strict=True):
            image = axes.imshow(by_order[order], vmin=low, vmax=high, cmap=colours, aspect="auto")
            for y, layer in enumerate(by_order[order]):
                for x, value in enumerate(layer):
                    dark = value < (low + high) / 2
                    axes.text(x, y, f"{value:{form}}", ha="center", va="center", fontsize=6,
                              color="white" if dark else "black")  # fmt: skip
            axes.set_title(f"{label}; {order} order", fontsize=9)
            axes.set(xlabel="step", ylabel="layer")
            axes.set_xticks(range(steps), range(1, steps + 1), fontsize=7)
            axes.set_yticks(range(layers), range(1, layers + 1), fontsize=7)
        figure.colorbar(image, ax=line, shrink=0.9)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
    return path
