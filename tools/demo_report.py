"""What the demo measured: report.json for programs, one table for people."""

import math
import platform
import re
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent


def psnr(reference: torch.Tensor, other: torch.Tensor) -> float | None:
    """In dB, peak = the reference's range; None where both are equal."""
    error = (reference.double() - other.double()).square().mean().sqrt().item()
    peak = (reference.max() - reference.min()).item()
    return None if error == 0 else 20 * math.log10(peak / error)


def build(
    *,
    dense: torch.Tensor,
    sparse: torch.Tensor,
    psa: dict,
    seconds: dict[str, float | None],
    start_seconds: float,
    system: dict,
    graph: dict,
) -> dict:
    versions = system["system"]
    return {
        "psa": psa,
        "psnr_db": psnr(dense, sparse),
        "psnr_of": "the two saved latents; peak = range of the dense one",
        "seconds": {"comfyui_start": start_seconds, **seconds},
        "latent_shape": list(dense.shape),
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
        ("PSA against dense", _decibel(report["psnr_db"])),
        ("ran on", f"{', '.join(versions['device'])}; {psa['implementation']} implementation"),
        ("versions", f"ComfyUI {versions['comfyui']}, torch {versions['torch']}"),
    ]
    if psa.get("failure"):
        below.append(("PSA STEPPED ASIDE", psa["failure"]))
    width = max(len(row[0]) for row in rows + below) + 2
    lines = [f"  {a:<{width}}{b:<14}{c}" for a, b, c in rows]
    lines.append("  " + "-" * (width + 40))
    lines += [f"  {a:<{width}}{b}" for a, b in below]
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def _decibel(value: float | None) -> str:
    return "identical" if value is None else f"{value:.1f} dB PSNR of the latents"
