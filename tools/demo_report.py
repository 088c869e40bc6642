"""What the demo measured: report.json for programs, one table for people."""

import platform
import re
import textwrap
from pathlib import Path

import torch

from .clip_metrics import compare_frames

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = 100  # of a terminal


def build(
    *,
    dense: torch.Tensor,
    sparse: torch.Tensor,
    model: dict,
    psa: dict,
    seconds: dict[str, float | None],
    start_seconds: float,
    system: dict,
    graph: dict,
) -> dict:
    """dense, sparse: the decoded frames [F, 3, H, W] in 0..1; model: its training record."""
    versions = system["system"]
    return {
        "psa": psa,
        "compared": compare_frames(dense, sparse),
        "compared_of": "the decoded frames; lpips is missing: no package ships its weights",
        "seconds": {"comfyui_start": start_seconds, **seconds},
        "frames_shape": list(dense.shape),
        "model": {name: model[name] for name in ("steps", "seconds", "device", "parameters")},
        "settings": {
            node["_meta"]["title"]: {
                name: value for name, value in node["inputs"].items() if not isinstance(value, list)
            }
            for node in graph.values()
        },
        "versions": {
            "comfyui_psa": pack_version(),
            "comfyui": versions.get("comfyui_version"),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "triton": _triton_version(),
            "platform": platform.platform(),
            "device": [device["name"] for device in system.get("devices", [])],
        },
    }


def pack_version() -> str:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return re.search(r'^version = "(.+)"', text, re.MULTILINE).group(1)


def _triton_version() -> str | None:
    try:
        import triton
    except ImportError:
        return None
    return triton.__version__


def table(report: dict) -> str:
    psa, seconds, versions = report["psa"], report["seconds"], report["versions"]
    dense_calls = psa["calls"]["dense"]
    total = psa["calls"]["sparse"] + sum(dense_calls.values())
    reasons = ", ".join(f"{count} {reason}" for reason, count in dense_calls.items())
    levels = ", ".join(
        f"level {name}: {_percent(share)}" for name, share in psa["per_level"].items() if share
    )
    rows = [
        ("", "dense", "with PSA"),
        ("sampling time", _seconds(seconds["dense"]), _seconds(seconds["psa"])),
        ("attention calls, sparse", "0", f"{psa['calls']['sparse']} of {total}"),
        ("query-key products computed", "100%", f"{_percent(psa['density'])} in sparse calls"),
    ]
    below = [
        ("step plan", psa["plan_text"]),
        ("dense calls, by reason", reasons or "none"),
        ("key blocks by level", levels),
        ("PSA against dense", _compared(report["compared"])),
        ("ran on", f"{', '.join(versions['device'])}; {psa['implementation']} implementation"),
        ("versions", f"ComfyUI {versions['comfyui']}, torch {versions['torch']}"),
    ]
    if psa.get("failure"):
        below.append(("PSA STEPPED ASIDE", psa["failure"]))
    width = max(len(row[0]) for row in rows + below) + 2
    lines = [f"  {a:<{width}}{b:<14}{c}" for a, b, c in rows]
    lines.append("  " + "-" * (width + 40))
    for a, b in below:
        first, *rest = textwrap.wrap(b, COLUMNS - 2 - width)
        lines += [f"  {a:<{width}}{first}", *(" " * (2 + width) + line for line in rest)]
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def _compared(found: dict[str, float]) -> str:
    return (
        f"PSNR {found['psnr']:.1f} dB, SSIM {found['ssim']:.3f}, HaarPSI {found['haarpsi']:.3f}"
        " (means over frames)"
    )
