"""The tables as Markdown, the figures as JSON, the plots."""

from __future__ import annotations

import json
import math
from pathlib import Path

from .. import likeness_table
from . import pictures
from .metrics import METRICS
from .sanity import passed
from .settings import DECIDE, PEERS, Setting
from .spread import Spread
from .summary import Row, Summary, summarise

BESIDE = tuple(name for name in METRICS if name != "psnr")  # columns after PSNR and its differences


def write_report(lines: list[dict], folder: Path) -> list[Path]:
    """Writes report.json, report.md and the plots. Raises `CheckFailed`, then writes nothing."""
    passed(lines)
    summary = summarise(lines)
    runs = [line for line in lines if line["kind"] == "run"]
    checks = [line for line in lines if line["kind"] == "check"]
    folder.mkdir(parents=True, exist_ok=True)
    data = {"runs": runs, "checks": checks, **summary.to_data()}
    json_file, text_file = folder / "report.json", folder / "report.md"
    json_file.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    plots = pictures.draw(summary, title(runs[0]), folder)
    text_file.write_text(text(summary, runs, checks), encoding="utf-8")
    files = [json_file, text_file, *plots]
    measured = {line["clip"]: line["calls"] for line in lines if line["kind"] == "structure"}
    if measured:
        calls = [{"clip": clip, **call} for clip, found in measured.items() for call in found]
        files.append(folder / "structure.json")
        files[-1].write_text(_structure_data(runs[0], calls), encoding="utf-8")
        with text_file.open("a", encoding="utf-8") as file:
            tables = likeness_table.of_models({runs[0]["model"]: {"calls": calls}})
            file.write("\n## Attention beside published figures\n\n" + "\n".join(tables) + "\n")
    return files


def _structure_data(run: dict, calls: list[dict]) -> str:
    """What likeness_table.py reads: what was run, then a line for each call."""
    about = {name: run[name] for name in ("model", "subject", "sampling", "gpu", "versions")}
    lines = ",\n".join(json.dumps(call) for call in calls)
    return f'{{"run": {json.dumps(about)}, "calls": [\n{lines}\n]}}\n'


def title(run: dict) -> str:
    frames, height, width = run["sampling"]["grid"]
    where = run["gpu"] or "CPU, a test of the harness"
    return f"{frames} x {height} x {width} tokens, {run['sampling']['steps']} steps; {where}"


def text(summary: Summary, runs: list[dict], checks: list[dict]) -> str:
    run = runs[0]
    environment = run["environment"]
    parts = [
        "# Quality of PSA on the small Wan",
        f"{title(run)}. cfg {run['sampling']['cfg']:g}, {run['sampling']['sampler']}, "
        f"{run['sampling']['scheduler']}. Torch {run['versions']['torch']}, Triton "
        f"{run['versions']['triton']}, {environment['date'][:10]}, commit {environment['commit']}. "
        f"Checkpoint {run['model']}, SHA-256 {run['subject'][:16]}. "
        f"Clips {_numbers(summary.clips)}, each against the dense clip of the same noise and "
        "prompt.",
        "± is the standard deviation over clips, [ ] the 95% confidence interval of the mean of "
        'paired differences. Density: query-key products of the sparse calls / dense ones; "all '
        'steps": with the dense warm-up. Temporal: difference of frame-to-frame change, in '
        "proportion to it.",
        "## Checks",
        *_table(
            ("check", "found", ""),
            [
                (c["name"], f"{c['found']:.4g}", "ok" if c["ok"] else "FAILED")
                for c in _once(checks)
            ],
        ),
    ]
    for name, rows in summary.tables.items():
        parts += [f"## {name[0].upper()}{name[1:]}", *_settings_table(_ranked(rows))]
        parts += [
            f"Left out: {label}: {why}." for table, label, why in summary.left_out if table == name
        ]
    parts += _budgets(summary)
    return "\n\n".join(_joined(parts)) + "\n"


def _joined(parts: list[str]) -> list[str]:
    """Table lines stay together; everything else is a paragraph."""
    found: list[str] = []
    for part in parts:
        if found and part.startswith("|") and found[-1].splitlines()[-1].startswith("|"):
            found[-1] += "\n" + part
        else:
            found.append(part)
    return found


def _once(checks: list[dict]) -> list[dict]:
    """Each check's worst finding."""
    worst: dict[str, dict] = {}
    for check in checks:
        known = worst.get(check["name"])
        least = check["name"].startswith("another")
        if known is None or (check["found"] < known["found"]) == least:
            worst[check["name"]] = check
    return list(worst.values())


def _numbers(clips: list[int]) -> str:
    if clips and clips == list(range(clips[0], clips[-1] + 1)):
        return f"{clips[0]} to {clips[-1]}"
    return ", ".join(map(str, clips)) or "none"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [head, ("---",) * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _ranked(rows: list[Row]) -> list[Row]:
    """Rows of equal cost by PSNR, best first; those of other tables as they are."""
    if rows[0].setting.part not in (DECIDE, PEERS):
        return rows
    return sorted(rows, key=lambda row: -row.metrics["psnr"].mean if row.metrics else math.inf)


def _settings_table(rows: list[Row]) -> list[str]:
    with_clips = any(row.metrics for row in rows)
    compared = any(row.differences for row in rows)
    head = ["", "density"]
    if with_clips:
        head += ["all steps", "clips", "PSNR, dB", "worst clip"] + ["Δ PSNR"] * compared
        head += [*(METRICS[name] for name in BESIDE), "time / dense"]
    timed = any(row.call_ms for row in rows)
    if timed:
        head += ["ms a call", "ms, mean of all steps"]
    if compared:
        head.append("Δ to")
    body = []
    for row in rows:
        cells = [row.setting.label, _number(row.density, ".3f")]
        if with_clips:
            cells += _clip_cells(row, compared)
        if timed:
            cells += [_number(row.call_ms.get(x), ".2f") for x in ("sparse", "run")]
        if compared:
            cells.append(_against(row.setting))
        body.append(tuple(cells))
    return _table(tuple(head), body)


def _clip_cells(row: Row, compared: bool) -> list[str]:
    if not row.metrics:
        return ["-", "0", row.left_out or "-"] + ["-"] * (len(BESIDE) + 2 + compared)
    psnr = row.metrics["psnr"]
    cells = [_number(row.overall_density, ".3f"), str(psnr.count), _mean_std(psnr, ".2f")]
    cells.append(_number(row.worst_psnr, ".2f"))
    if compared:
        cells.append(_difference(row.differences.get("psnr"), "+.2f"))
    cells += [
        _mean_std(row.metrics[name], ".3f") if name in row.metrics else "-" for name in BESIDE
    ]
    return [*cells, _number(row.time, ".2f")]


def _against(setting: Setting) -> str:
    return setting.against.removeprefix(f"{setting.table}: ")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def _mean_std(found: Spread, form: str) -> str:
    return f"{found.mean:{form}}" + ("" if found.std is None else f" ± {found.std:{form}}")


def _difference(found: Spread | None, form: str) -> str:
    if found is None:
        return "-"
    if found.half is None:
        return f"{found.mean:{form}}"
    low, high = found.mean - found.half, found.mean + found.half
    return f"{found.mean:{form}} [{low:{form}}, {high:{form}}]"


def _budgets(summary: Summary) -> list[str]:
    """What calibration gave each block."""
    if not summary.fits:
        return []
    blocks = list(summary.fits[0]["blocks"])
    rows = [
        (f"{fit['table'].rsplit(' ', 1)[-1]}: {fit['label']}", f"{fit['density']:.3f}",
         f"{fit['error']:.4f}", *(f"{fit['blocks'][block]:.3f}" for block in blocks))
        for fit in summary.fits
    ]  # fmt: skip
    head = ("", "mean density", "predicted error", *(f"block {block}" for block in blocks))
    return [
        "## Calibrated budgets",
        "Density of each block; the error as its own predictor counts it.",
        *_table(head, rows),
    ]
