"""The tables of benchmarks/deciding.md, from the runs' data.

python -m benchmarks.quality.decide_tables                               prints them
python -m benchmarks.quality.decide_tables --gather FILE NAME=DIR ...    writes the data of runs
                                                                         of one NAME into FILE
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from .results import merge
from .settings import CALIBRATED, DECIDE, PEERS
from .spread import Spread, paired

RESULTS = Path(__file__).resolve().parents[1] / "results"
CHOOSING, CONFIRMING, BESIDE = "deciding", "deciding-confirmed", "deciding-beside"
IN_INT8 = "deciding-int8"
SHOWN = {  # file of results -> which of its tables
    CHOOSING: (DECIDE,),
    CONFIRMING: ("presets",),
    BESIDE: (PEERS, CALIBRATED, "order of the tokens"),
    IN_INT8: (DECIDE,),
}
# the shipped model first; what they are: benchmarks/likeness.md
MODELS = ("small-wan", "small-wan-seed-2", "small-wan-4-layers")
FIGURES = ("psnr", "ssim", "haarpsi", "temporal", "sharpness", "density", "overall_density")


def gather(runs: Iterable[tuple[str, list[Path]]]) -> dict:
    """name -> what its folders' results say of each setting, clip by clip."""
    return {"runs": [_gathered(name, merge(folders)) for name, folders in runs]}


def _gathered(name: str, lines: list[dict]) -> dict:
    run = next(line for line in lines if line["kind"] == "run")
    settings = {row["key"]: row for line in lines if line["kind"] == "settings"
                for row in line["rows"]}  # fmt: skip
    times = {line["key"]: {x: round(line[x], 2) for x in ("run", "sparse", "dense")}
             for line in lines if line["kind"] == "time"}  # fmt: skip
    rows = []
    for key, setting in settings.items():
        found = {line["clip"]: line for line in lines
                 if line["kind"] == "clip" and line["key"] == key and "psnr" in line}  # fmt: skip
        if found:
            known = [x for x in FIGURES if all(line[x] is not None for line in found.values())]
            figures = {figure: {str(clip): round(line[figure], 4) for clip, line in found.items()}
                       for figure in known}  # fmt: skip
            rows.append({
                **{x: setting[x] for x in ("table", "label", "against", "config")}, **figures,
                **({"ms": times[key]} if key in times else {}),
            })  # fmt: skip
    about = {x: run[x] for x in ("gpu", "versions", "sampling")}
    return {"name": name, "model": name.split(",")[0], **about, "rows": rows}


def load(name: str) -> list[dict]:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["runs"]


def runs_of(runs: list[dict], grid: tuple[int, ...], steps: int) -> list[dict]:
    """Those of a size and a number of steps, in the order of `MODELS`."""
    wanted = {"grid": list(grid), "steps": steps}
    found = [run for run in runs if {x: run["sampling"][x] for x in wanted} == wanted]
    return sorted(found, key=lambda run: MODELS.index(run["model"]))


def tables() -> Iterator[str]:
    """Lines of every table, each with a line before it that says of which run it is."""
    for name, parts in SHOWN.items():
        runs = load(name)
        sizes = {(tuple(run["sampling"]["grid"]), run["sampling"]["steps"]): None for run in runs}
        for grid, steps in sizes:
            same = runs_of(runs, grid, steps)
            for table in dict.fromkeys(row["table"] for row in same[0]["rows"]):
                if table.startswith(parts):
                    yield f"{table}, {' x '.join(map(str, grid))} tokens, {steps} steps:"
                    yield from _table(same, table)


def _table(runs: list[dict], table: str) -> Iterator[str]:
    first, *others = runs
    rows = [row for row in first["rows"] if row["table"] == table]
    timed = ["ms of a call"] if any("ms" in row for row in rows) else []
    further = timed + [run["model"].removeprefix("small-wan-") for run in others]
    yield (
        f"| {len(rows[0]['psnr'])} clips | sparse steps | run | PSNR, dB | worst clip | SSIM | "
        "HaarPSI | motion | sharpness |" + "".join(f" {name} |" for name in further)
    )
    yield "|---" * (9 + len(further)) + "|"
    for row in sorted(rows, key=lambda row: -mean(row, "psnr")):
        cells = [
            *(f"{mean(row, x):.3f}" if x in row else "" for x in ("density", "overall_density")),
            f"{mean(row, 'psnr'):.2f}", f"{min(row['psnr'].values()):.2f}",
            f"{mean(row, 'ssim'):.3f}", f"{mean(row, 'haarpsi'):.3f}",
            f"{mean(row, 'temporal'):.2f}", f"{mean(row, 'sharpness'):.2f}",
            *(f"{row['ms']['run']:.1f}" for _ in timed),
            *(_psnr(run, table, row["label"]) for run in others),
        ]  # fmt: skip
        yield f"| {row['label']} | {' | '.join(cells)} |"


def _psnr(run: dict, table: str, label: str) -> str:
    row = row_of(run, table, label)
    return f"{mean(row, 'psnr'):.2f}" if row else ""


def row_of(run: dict, table: str, label: str) -> dict | None:
    same = (r for r in run["rows"] if (r["table"], r["label"]) == (table, label))
    return next(same, None)


def mean(row: dict, figure: str) -> float:
    return statistics.fmean(row[figure].values())


def gains(run: dict, table: str, label: str, over: str) -> Spread:
    """dB of one row over another, over the clips that both have."""
    return paired(row_of(run, table, label)["psnr"], row_of(run, table, over)["psnr"])


def gain(run: dict, table: str, label: str, over: str) -> float:
    """Their mean."""
    return gains(run, table, label, over).mean


def main(arguments: list[str]) -> None:
    if arguments[:1] != ["--gather"]:
        print("\n".join(tables()))
        return
    runs: dict[str, list[Path]] = {}
    for argument in arguments[2:]:
        name, _, folder = argument.partition("=")
        runs.setdefault(name, []).append(Path(folder))
    Path(arguments[1]).write_text(json.dumps(gather(runs.items())) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
