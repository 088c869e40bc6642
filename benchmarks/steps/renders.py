"""Seconds of whole renders with the shipped presets, of full-size Wan models with random weights.

    python -m benchmarks.steps.renders --comfyui PATH            14B and 1.3B, 720p and 480p
    python -m benchmarks.steps.renders --comfyui PATH --small    a rehearsal on the CPU

A render is what KSampler does, without text encoder and VAE: all steps of the preset as it ships,
dense ones too. Steps of dense attention are alike, so that a few stand for all. A step with each of
a preset's budgets goes before its render, in which nothing compiles then.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from .. import progress
from ..one_budget import of_ranges
from .measure import sample
from .models import Subject, measured, parsed, parser_of

PRESETS = ("faithful", "balanced", "fast")
DENSE_STEPS = 4  # of which the first is not counted


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
    say = progress.since(time.monotonic())

    def measure(subject: Subject) -> dict:
        rows = []
        for preset in (None, *args.presets):
            if preset is None:
                row = dense(subject, args.steps)
            else:
                config = subject.family.attention_configs[preset]
                row = render(subject, preset, config, args.steps)
            rows.append(asdict(row))
            said = row.left_out or f"{row.seconds:.1f} s"
            say(f"{subject.name} {subject.video}: {preset or 'dense'}: {said}")
        return {"rows": rows}

    runs = measured(args, argv, "renders.json", measure, table)
    return int(any(row["left_out"] for run in runs for row in run["rows"]))


def dense(subject: Subject, steps: int) -> Render:
    """With ComfyUI's own attention."""
    seconds = timed(subject, subject.model.clone(), DENSE_STEPS)[1:]
    return Render(None, statistics.median(seconds) * steps, tuple(seconds), density=1.0)


def render(subject: Subject, preset: str, config: Any, steps: int) -> Render:
    """With the patch of Apply PSA."""
    from psa_pack.nodes.patching.apply import apply_psa
    from psa_pack.nodes.patching.run import PatchOptions
    from psa_pack.nodes.preset_value import PresetValue

    def patched(settings: Any) -> Any:
        value = PresetValue(settings, name=preset)
        return apply_psa(subject.model, value, PatchOptions(), reports.append)

    reports: list[dict[str, Any]] = []
    for _, budget in of_ranges(preset, config):
        timed(subject, patched(budget.replace(warmup_steps=0)), 1)
    reports.clear()
    seconds = timed(subject, patched(config), steps)
    (said,) = reports
    sparse, calls = said["plan"].count("sparse"), said["calls"]["sparse"]
    found = Render(preset, None, tuple(seconds), sparse)
    if said["failure"] or not sparse or calls != sparse * subject.size.layers:
        found.left_out = f"{calls} calls sparse in {sparse} steps; {said['failure']}"
    else:
        found.seconds = sum(seconds)
        found.density = (said["density"] * sparse + steps - sparse) / steps
    return found


def timed(subject: Subject, model: Any, steps: int) -> list[float]:
    """Seconds of each step."""
    return sample(subject.comfy, model, subject.latent, steps)[0]


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
    parser = parser_of("benchmarks.steps.renders", __doc__, ".dev/renders")
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--steps", type=int, default=20)
    return parsed(parser, argv)


if __name__ == "__main__":
    sys.exit(main())
