"""Pictures of a run's JSON: error against time, or time against tokens. Needs matplotlib.

python -m benchmarks.plots FILE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

MARKS = {"dense": "s", "low precision": "D", "sparse": "^", "psa": "o"}
COLOURS = {
    "dense": "tab:gray",
    "low precision": "tab:olive",
    "sparse": "tab:blue",
    "psa": "tab:red",
}


def draw(file: Path) -> list[Path]:
    """Writes the pictures beside the JSON file; [] where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        return []
    matplotlib.use("Agg")
    results = json.loads(file.read_text(encoding="utf-8"))
    where = results["environment"]["gpu"] or "CPU, a test of the harness"
    timed = [row for row in results["rows"] if row["ms"]]
    if results["sweep"]:
        path = file.with_name("time-against-tokens.png")
        return [_time_against_tokens(timed, where, path)] if timed else []
    pictures = []
    for shape, profile in dict.fromkeys((row["shape"], row["profile"]) for row in timed):
        rows = [row for row in timed if (row["shape"], row["profile"]) == (shape, profile)]
        path = file.with_name(f"error-{shape}-{profile}.png")
        pictures.append(_error_against_time(rows, f"{shape}, {profile}; {where}", path))
    return pictures


def _error_against_time(rows: list[dict], title: str, path: Path) -> Path:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(13, 7), layout="constrained")
    # numbers at the points, names at the side: points lie too close for names
    for number, row in enumerate(sorted(rows, key=lambda row: row["ms"]), 1):
        name = row["method"] + (", tokens along the curve" if row["order"] == "curve" else "")
        at = (row["ms"], row["error"])
        axes.scatter(*at, marker=MARKS[row["kind"]], color=COLOURS[row["kind"]], s=45,
                     label=f"{number}  {name}")  # fmt: skip
        axes.annotate(str(number), at, fontsize=8, xytext=(5, 4), textcoords="offset points")
    axes.set(xscale="log", yscale="log", xlabel="ms, whole call", title=title,
             ylabel="rel-L2 from float32 dense attention")  # fmt: skip
    _plain_numbers(axes.xaxis, axes.yaxis)
    axes.grid(True, which="both", alpha=0.2)
    figure.legend(loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def _time_against_tokens(rows: list[dict], where: str, path: Path) -> Path:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 6), layout="constrained")
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        tokens = [int(row["shape"].split()[0]) for row in own]
        mark = MARKS[own[0]["kind"]]
        axes.plot(tokens, [row["ms"] for row in own], marker=mark, label=method)
    axes.set(xscale="log", yscale="log", xlabel="tokens", ylabel="ms, whole call",
             title=f"12 heads of 128; {where}")  # fmt: skip
    _plain_numbers(axes.xaxis, axes.yaxis)
    axes.grid(True, which="both", alpha=0.2)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def _plain_numbers(*axes) -> None:
    """Numbers as one reads them, at 1, 2 and 5 of each power of ten."""
    from matplotlib import ticker

    for axis in axes:
        axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(ticker.FuncFormatter(_plain))
        axis.set_minor_formatter(ticker.NullFormatter())


def _plain(value: float, place: int) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


if __name__ == "__main__":
    drawn = draw(Path(sys.argv[1]))
    print("\n".join(map(str, drawn)) or "nothing drawn: matplotlib is missing, or no times")
