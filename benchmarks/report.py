"""Results as tables and as JSON."""

from __future__ import annotations

import datetime
import json
import platform
import subprocess
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import torch

from .measure import Row

PEERS = (
    "fa3-fwd", "comfy-kitchen", "sageattention", "h3-sparse-attn", "spas_sage_attn", "triton",
    "triton-windows",
)  # fmt: skip


def environment(arguments: list[str]) -> dict:
    """The machine, versions and arguments, without which a figure means nothing."""
    found = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "arguments": arguments,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "gpu": None,
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found["gpu"] = properties.name
        found["multiprocessors"] = properties.multi_processor_count
        found["memory GiB"] = round(properties.total_memory / 2**30, 1)
        found["cudnn"] = torch.backends.cudnn.version()
    for name in PEERS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def write(path: Path, results: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return path


def as_data(rows: list[Row]) -> list[dict]:
    return [asdict(row) for row in rows]


def table(rows: list[Row]) -> str:
    """One line a row, fastest first; what has no time comes last, with its reason."""
    shown = [row for row in rows if not row.left_out]
    shown.sort(key=lambda row: (row.ms is None, row.ms or 0))
    lines = [
        f"{'ms':>9} {'spread':>7} {'x dense':>8} {'density':>8} {'rel-L2':>8} {'worst':>8} "
        f"{'MiB':>7}  method"
    ]
    for row in shown:
        spread = (row.high - row.low) / 2 / row.ms if row.ms else None
        memory = None if row.extra_bytes is None else row.extra_bytes / 2**20
        order = ", tokens along the curve" if row.order == "curve" else ""
        note = f" [{row.note}]" if row.note else ""
        lines.append(
            f"{_cell(row.ms, 9, '.3f')} {_cell(spread, 7, '.1%')} {_cell(row.ratio, 8, '.2f')} "
            f"{_cell(row.density, 8, '.3f')} {_cell(row.error, 8, '.4f')} "
            f"{_cell(row.worst_head, 8, '.4f')} {_cell(memory, 7, '.0f')}  "
            f"{row.method}{order}{note}"
        )
    return "\n".join(lines)


def stage_table(stages: list[dict]) -> str:
    names = ("reorder", "pyramid", "importance", "levels", "attend")
    lines = ["  ".join(f"{name:>10}" for name in names) + "    TFLOP/s  of dense  method"]
    for stage in stages:
        share = _cell(stage.get("of dense rate"), 8, ".2f")
        lines.append(
            "  ".join(f"{stage[name]:10.3f}" for name in names)
            + f"  {stage['attend TFLOP/s']:9.1f}  {share}  {stage['method']}"
        )
    return "\n".join(lines)


def _cell(value: float | None, width: int, form: str) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}{form}}"
