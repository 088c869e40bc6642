"""Seconds of whole renders with the shipped presets, of full-size Wan models with random weights.

    python -m benchmarks.steps.renders --comfyui PATH            14B and 1.3B, 720p and 480p
    python -m benchmarks.steps.renders --comfyui PATH --small    a rehearsal on the CPU

A render is what KSampler does, without text encoder and VAE: all steps of the preset as it ships,
dense ones too. Steps of dense attention are alike, so that a few stand for all. A short video with
the same preset goes before each, so that nothing compiles in the render.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from .. import progress, report
from ..quality import ROOT
from . import wan
from .measure import environment, sample

PRESETS = ("faithful", "balanced", "fast")
DENSE_STEPS = 4  # of which the first is not counted
SHORT_FRAMES = 3  # latent ones
SHORT_STEPS = 10  # so many have one in each range of a shipped preset


@dataclass
class Render:
    """preset    None: dense
    seconds   of all steps; a dense one's from the median of a few
    steps     seconds of each that was run
    sparse    how many of them were sparse
    density   of the self-attention over the render, dense steps included
    left_out  why there is no time
    """

    preset: str | None
    seconds: float | None = None
    steps: tuple[float, ...] = ()
    sparse: int = 0
    density: float | None = None
    left_out: str | None = None


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    if not args.small and not torch.cuda.is_available():
        print("error: models of this size need a GPU; --small does not", file=sys.stderr)
        return 2
    from psa_pack.presets.store import PresetStore
    from psa_pack.tools.comfy_inprocess import ComfyInProcess

    say = progress.since(time.monotonic())
    store = PresetStore(ROOT / "presets", ROOT / ".dev" / "no-user-presets")
    results = {"runs": []}
    with tempfile.TemporaryDirectory(prefix="psa-renders-") as base:
        comfy = ComfyInProcess(args.comfyui, Path(base))
        results["environment"] = environment(argv)
        for name in args.models:
            model = wan.load(wan.SMALL if args.small else wan.SIZES[name], wan.device())
            family = store.get_family("Wan2.1_1.3b" if args.small else f"Wan2.1_{name}")
            presets = {preset: family.attention_configs[preset] for preset in args.presets}
            for video in args.videos:
                latent = wan.SMALL_VIDEO if args.small else wan.VIDEOS[video]
                rows = [dense(comfy, model, latent, args.steps)]
                for preset, config in presets.items():
                    rows.append(render(comfy, model, latent, preset, config, args.steps))
                    said = rows[-1].left_out or f"{rows[-1].seconds:.1f} s"
                    say(f"{name} {video}: {preset}: {said}")
                run = {
                    "model": name, "video": video, "tokens": wan.tokens(latent),
                    "steps": args.steps, "rows": [asdict(row) for row in rows],
                }  # fmt: skip
                results["runs"].append(run)
                print(table(run), flush=True)
                print(f"wrote {report.write(args.out / 'renders.json', results)}", flush=True)
            del model
            import comfy.model_management

            comfy.model_management.unload_all_models()
    return int(any(row["left_out"] for run in results["runs"] for row in run["rows"]))


def dense(comfy: Any, model: Any, video: tuple[int, int, int], steps: int) -> Render:
    """With ComfyUI's own attention."""
    seconds = timed(comfy, model.clone(), video, DENSE_STEPS)[1:]
    return Render(None, statistics.median(seconds) * steps, tuple(seconds), density=1.0)


def render(
    comfy: Any, model: Any, video: tuple[int, int, int], preset: str, config: Any, steps: int
) -> Render:
    """With the patch of Apply PSA."""
    from psa_pack.nodes.patching.apply import apply_psa
    from psa_pack.nodes.patching.run import PatchOptions
    from psa_pack.nodes.preset_value import PresetValue

    reports: list[dict[str, Any]] = []
    patched = apply_psa(model, PresetValue(config, name=preset), PatchOptions(), reports.append)
    timed(comfy, patched, (min(SHORT_FRAMES, video[0]), *video[1:]), SHORT_STEPS)
    reports.clear()
    seconds = timed(comfy, patched, video, steps)
    (said,) = reports
    sparse = said["plan"].count("sparse")
    found = Render(preset, sum(seconds), tuple(seconds), sparse)
    found.left_out = said["failure"] or (None if sparse else "no step was sparse")
    if found.left_out:
        found.seconds = None
    else:
        found.density = (said["density"] * sparse + steps - sparse) / steps
    return found


def timed(comfy: Any, model: Any, video: tuple[int, int, int], steps: int) -> list[float]:
    """Seconds of each step, by a clock that waits for the GPU."""
    marks, _ = sample(comfy, model, video, steps)
    return [after - before for before, after in pairwise(marks)]


def table(run: dict) -> str:
    lines = [
        f"Wan {run['model']}, {run['video']}, {run['tokens']:,} tokens, {run['steps']} steps",
        f"{'s':>8} {'x dense':>8} {'sparse':>7} {'density':>8}  preset",
    ]
    whole = run["rows"][0]["seconds"]
    for row in run["rows"]:
        name = row["preset"] or "dense"
        if row["left_out"]:
            lines.append(f"{'-':>8} {name}: {row['left_out']}")
            continue
        lines.append(
            f"{row['seconds']:8.2f} {whole / row['seconds']:8.2f} {row['sparse']:7} "
            f"{row['density']:8.3f}  {name}"
        )
    return "\n".join(lines)


def parse(argv: list[str]) -> argparse.Namespace:
    from psa_pack.tools.comfyui_option import add_comfyui, comfyui_of

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.steps.renders", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add_comfyui(parser)
    add("--models", nargs="+", choices=wan.SIZES, default=list(wan.SIZES))
    add("--videos", nargs="+", choices=wan.VIDEOS, default=list(wan.VIDEOS))
    add("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    add("--steps", type=int, default=20)
    add("--small", action="store_true", help="a rehearsal with a small model; needs no GPU")
    add("--out", type=Path, default=Path(".dev/renders"))
    args = parser.parse_args(argv)
    args.comfyui = comfyui_of(args, parser.error)
    if args.small:
        args.models, args.videos = ["small"], ["small"]
    return args


if __name__ == "__main__":
    sys.exit(main())
