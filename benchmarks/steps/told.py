"""One run of a full-size Wan model with random weights, as PSA Report tells it.

    python -m benchmarks.steps.told --comfyui PATH --out .dev/told

Writes report.png, report.txt and report.json, and prints each step's seconds as a clock outside
saw them beside the report's own.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from ..quality import ROOT
from . import wan


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    from psa_pack.tools.comfy_inprocess import ComfyInProcess

    with tempfile.TemporaryDirectory(prefix="psa-told-") as base:
        comfy = ComfyInProcess(args.comfyui, Path(base))
        model = wan.load(wan.SIZES[args.model], torch.device("cuda"), torch.bfloat16)
        seconds, told = run(comfy, model, wan.VIDEOS[args.video], preset_of(args), args)
        write(told, args.out)
        _, text, data = told
        print(text)
        (figures,) = json.loads(data)["models"][0]["runs"]
        for step, outside in zip(figures["steps"], seconds, strict=True):
            own = step["seconds"]
            print(f"step {step['step'] + 1}: outside {outside:.3f} s, report {own:.3f} s, "
                  f"{own / outside - 1:+.1%}")  # fmt: skip
    return 0


def run(
    comfy: Any, model: Any, video: tuple[int, int, int], preset: Any, args: argparse.Namespace
) -> tuple[list[float], tuple[torch.Tensor, str, str]]:
    """(seconds of each step, (picture, text, JSON))"""
    from psa_pack.nodes.patching.apply import apply_psa
    from psa_pack.nodes.patching.run import PatchOptions
    from psa_pack.nodes.report import PSAReport

    def mark() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    patched = apply_psa(model, preset, PatchOptions())
    marks = [mark()]
    latent = comfy.ksampler(
        patched, positive=wan.text(1), negative=wan.text(2), latent=torch.zeros(1, 16, *video),
        seed=1, steps=args.steps, cfg=1.0, callback=lambda *_: marks.append(mark()),
    )  # fmt: skip
    told = PSAReport.execute(patched, latent).result[1:]
    return [after - before for before, after in pairwise(marks)], told


def preset_of(args: argparse.Namespace) -> Any:
    from psa_pack.nodes.preset_value import PresetValue
    from psa_pack.presets.store import PresetStore

    family = f"Wan2.1_{args.model}"
    store = PresetStore(ROOT / "presets", ROOT / ".dev" / "no-user-presets")
    config = store.get_family(family).attention_configs[args.preset]
    if args.warmup is not None:
        config = config.replace(warmup_steps=args.warmup)
    return PresetValue(config, family=family, name=args.preset)


def write(told: tuple[torch.Tensor, str, str], folder: Path) -> None:
    from PIL import Image

    picture, text, data = told
    folder.mkdir(parents=True, exist_ok=True)
    pixels = (picture[0] * 255).round().byte().numpy()
    image = Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE)
    image.save(folder / "report.png", optimize=True)
    (folder / "report.txt").write_text(text, encoding="utf-8")
    (folder / "report.json").write_text(data, encoding="utf-8")


def parse(argv: list[str] | None) -> argparse.Namespace:
    from psa_pack.tools.comfyui_option import add_comfyui, comfyui_of

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.steps.told", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add_comfyui(parser)
    parser.add_argument("--model", choices=wan.SIZES, default="14b")
    parser.add_argument("--video", choices=wan.VIDEOS, default="720p")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--warmup", type=int, default=2, help="dense steps; the preset's own: -1")
    parser.add_argument("--out", type=Path, default=Path(".dev/told"))
    args = parser.parse_args(argv)
    args.comfyui = comfyui_of(args, parser.error)
    args.warmup = None if args.warmup < 0 else args.warmup
    return args


if __name__ == "__main__":
    sys.exit(main())
