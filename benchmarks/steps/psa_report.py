"""PSA Report of one run of a full-size Wan model with random weights.

    python -m benchmarks.steps.psa_report --comfyui PATH             needs a GPU
    python -m benchmarks.steps.psa_report --comfyui PATH --small     a rehearsal on the CPU

Writes report.png, report.txt and report.json, and prints the seconds of each step by a clock
outside ComfyUI beside the report's own.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from . import wan
from .measure import sample
from .models import family_of


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    if not args.small and not torch.cuda.is_available():
        print("error: models of this size need a GPU; --small does not", file=sys.stderr)
        return 2
    from psa_pack.tools.comfy_inprocess import ComfyInProcess

    with tempfile.TemporaryDirectory(prefix="psa-report-") as base:
        comfy = ComfyInProcess(args.comfyui, Path(base))
        size = wan.SMALL if args.small else wan.SIZES[args.model]
        video = wan.SMALL_VIDEO if args.small else wan.VIDEOS[args.video]
        model = wan.load(size, wan.device(), torch.bfloat16)
        seconds, report = run(comfy, model, video, preset_of(args), args.steps)
        write(report, args.out)
        _, text, data = report
        print(text)
        (figures,) = json.loads(data)["models"][0]["runs"]
        for step, outside in zip(figures["steps"], seconds, strict=True):
            own = step["seconds"]
            print(f"step {step['step'] + 1}: outside {outside:.3f} s, report {own:.3f} s, "
                  f"{own / outside - 1:+.1%}")  # fmt: skip
    return 0


def run(
    comfy: Any, model: Any, video: tuple[int, int, int], preset: Any, steps: int
) -> tuple[list[float], tuple[torch.Tensor, str, str]]:
    """(seconds of each step, (picture, text, JSON))"""
    from psa_pack.nodes.patching.apply import apply_psa
    from psa_pack.nodes.patching.run import PatchOptions
    from psa_pack.nodes.report import PSAReport

    patched = apply_psa(model, preset, PatchOptions())
    seconds, output = sample(comfy, patched, video, steps)
    return seconds, PSAReport.execute(patched, output).result[1:]


def preset_of(args: argparse.Namespace) -> Any:
    from psa_pack.nodes.preset_value import PresetValue

    family = family_of(args.model)
    config = family.attention_configs[args.preset]
    if args.warmup is not None:
        config = config.replace(warmup_steps=args.warmup)
    return PresetValue(config, family=family.name, name=args.preset)


def write(report: tuple[torch.Tensor, str, str], folder: Path) -> None:
    from PIL import Image

    picture, text, data = report
    folder.mkdir(parents=True, exist_ok=True)
    pixels = (picture[0] * 255).round().byte().numpy()
    image = Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE)
    image.save(folder / "report.png", optimize=True)
    (folder / "report.txt").write_text(text, encoding="utf-8")
    (folder / "report.json").write_text(data, encoding="utf-8")


def parse(argv: list[str] | None) -> argparse.Namespace:
    from psa_pack.tools.comfyui_option import add_comfyui, comfyui_of

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.steps.psa_report", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add_comfyui(parser)
    parser.add_argument("--model", choices=wan.SIZES, default="14b")
    parser.add_argument("--video", choices=wan.VIDEOS, default="720p")
    parser.add_argument("--small", action="store_true", help="a small model; needs no GPU")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--warmup", type=int, default=2, help="dense steps; the preset's own: -1")
    parser.add_argument("--out", type=Path, default=Path(".dev/psa-report"))
    args = parser.parse_args(argv)
    args.comfyui = comfyui_of(args, parser.error)
    args.warmup = None if args.warmup < 0 else args.warmup
    return args


if __name__ == "__main__":
    sys.exit(main())
