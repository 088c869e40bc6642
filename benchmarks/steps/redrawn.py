"""docs/report.png: the report of a published run, drawn by PSA Report as it is now.

    python -m benchmarks.steps.redrawn --comfyui PATH

The run is one of `benchmarks.steps.told`: results/run-14b-720p.json. The time of a dense step and
attention's share of it are computed again as reports do now: without the run's first step, which
also loads what the model needs. Its estimates are left out: estimates now rest on a measurement of
the GPU, and there was none.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ..quality import ROOT

RUN = ROOT / "benchmarks" / "results" / "run-14b-720p.json"
OUT = ROOT / "docs" / "report.png"


def main(argv: list[str] | None = None) -> None:
    from psa_pack.tools.comfy_inprocess import ComfyInProcess
    from psa_pack.tools.comfyui_option import add_comfyui, comfyui_of

    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps.redrawn")
    add_comfyui(parser)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="psa-redrawn-") as base:
        ComfyInProcess(comfyui_of(args, parser.error), Path(base))
        draw(json.loads(RUN.read_text("utf-8")), OUT)


def draw(published: dict[str, Any], out: Path) -> None:
    from PIL import Image

    from psa_pack.nodes.reporting.maps import Maps
    from psa_pack.nodes.reporting.picture.page import picture_of
    from psa_pack.nodes.reporting.report import Report, RunReport
    from psa_pack.psa_kernels.config import LEVELS

    (figures,) = published["models"][0]["runs"]
    offer = str(figures["shapes"][0]["head_dim"])
    figures |= {"saving": saving(figures), "estimate": {"offer": offer}, "ranges": []}
    by_step, by_head = figures["block_steps"], figures["head_blocks"]

    def array(part: dict[str, Any]) -> np.ndarray:
        return np.array(part["density"], float)

    def levels(part: dict[str, Any]) -> np.ndarray:
        nothing = np.zeros_like(array(part))
        return np.array([np.array(part["levels"].get(str(x), nothing), float) for x in LEVELS])

    maps = Maps(tuple(by_step["blocks"]), array(by_step), levels(by_step), array(by_head),
                levels(by_head))  # fmt: skip
    picture = picture_of([Report([RunReport(figures, maps)])])
    picture.quantize(256, dither=Image.Dither.NONE).save(out, optimize=True)


def saving(figures: dict[str, Any]) -> dict[str, Any]:
    """That of the run, with the figures of a step counted anew."""
    found, (shape,) = dict(figures["saving"]), [x for x in figures["shapes"] if x["psa_calls"]]
    dense = statistics.median(x["seconds"] for x in figures["steps"][1:] if not x["sparse"])
    calls = max(x["sparse"] for x in figures["steps"])
    share = calls * shape["dense_ms"] / 1000 / dense
    return found | {"dense_step_s": dense, "step": dense / found["sparse_step_s"], "share": share,
                    "limit": 1 / (1 - share)}  # fmt: skip


if __name__ == "__main__":
    main()
