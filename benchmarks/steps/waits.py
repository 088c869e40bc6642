"""What it costs that PSA waits for the GPU once a model call, in whole runs of a sampler.

    python -m benchmarks.steps.waits

A dense step reads its noise level from the GPU, a sparse one also whether its output holds NaN. A
run is timed from its first call to its last result, with nothing between the steps that waits for
the GPU by itself. The last column is a run's time beside that of the row it names.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import torch

from .. import report
from ..one_budget import of_middle
from ..quality import ROOT
from . import wan

# latent (frames, height, width): where steps are short a wait weighs most
VIDEOS = {"480p": wan.VIDEOS["480p"], "8k tokens": (8, 64, 64)}
ROWS = (  # name, preset, whether NaN is looked for, the row to compare with
    ("no PSA", None, True, None),
    ("PSA, dense preset", "baseline", True, "no PSA"),
    # the middle one of its budgets
    ("PSA, balanced, NaN not looked for", "balanced", False, None),
    ("PSA, balanced", "balanced", True, "PSA, balanced, NaN not looked for"),
)


def main(argv: list[str] | None = None) -> int:
    from psa_pack.tools.comfyui_option import add_comfyui, comfyui_of

    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps.waits")
    add_comfyui(parser)
    parser.add_argument("--model", choices=wan.SIZES, default="1.3b")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(".dev/steps"))
    args = parser.parse_args(argv)
    from psa_pack.tools.comfy_inprocess import ComfyInProcess

    results = {"environment": report.environment(argv), "runs": []}
    with tempfile.TemporaryDirectory(prefix="psa-waits-") as base:
        comfy = ComfyInProcess(comfyui_of(args, parser.error), Path(base))
        model = wan.load(wan.SIZES[args.model], torch.device("cuda"))
        for video, latent in VIDEOS.items():
            rows = measure(comfy, model, args, latent)
            results["runs"].append(
                {
                    "model": args.model,
                    "video": video,
                    "rows": rows,
                    "tokens": wan.tokens(latent),
                    "steps": args.steps,
                }
            )
            print(table(args, video, latent, rows), flush=True)
    print(f"wrote {report.write(args.out / 'waits.json', results)}")
    return 0


def measure(comfy, model, args, latent) -> list[dict]:
    """Rows take turns, round by round; the first round compiles and is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name, *_ in ROWS}
    for turn in range(args.rounds + 1):
        for name, preset, watched, _ in ROWS:
            took = _run(comfy, _patched(model, args.model, preset), args.steps, latent, watched)
            if turn:
                seconds[name].append(took)
    return [{"row": name, "seconds": seconds[name], "against": other} for name, _, _, other in ROWS]


def _patched(model, size: str, preset: str | None):
    from psa_pack.nodes.patching.apply import apply_psa
    from psa_pack.nodes.patching.run import PatchOptions
    from psa_pack.nodes.preset_value import PresetValue
    from psa_pack.presets.store import PresetStore

    if preset is None:
        return model
    store = PresetStore(ROOT / "presets", ROOT / ".dev" / "no-user-presets")
    config = store.get_family(f"Wan2.1_{size}").attention_configs[preset]
    if config.type != "dense":
        preset, config = of_middle(preset, config)
        config = config.replace(warmup_steps=0)
    return apply_psa(model, PresetValue(config, name=preset), PatchOptions(), _check)


def _check(found: dict) -> None:
    if found["failure"]:
        raise RuntimeError(found["failure"])


def _run(comfy, model, steps: int, latent, watched: bool) -> float:
    from psa_pack.nodes.patching.override import AttentionOverride

    def not_looked_for(override) -> bool:
        override.sums.clear()
        return False

    spoiled = AttentionOverride.spoiled if watched else not_looked_for
    torch.cuda.synchronize()
    begin = time.perf_counter()
    with mock.patch.object(AttentionOverride, "spoiled", spoiled):
        comfy.ksampler(
            model,
            positive=wan.text(1),
            negative=wan.text(2),
            latent=torch.zeros(1, 16, *latent),
            seed=1,
            steps=steps,
            cfg=1.0,
        )
    torch.cuda.synchronize()
    return time.perf_counter() - begin


def table(args, video: str, latent, rows: list[dict]) -> str:
    medians = {row["row"]: statistics.median(row["seconds"]) for row in rows}
    lines = [
        f"Wan {args.model}, {video}, {wan.tokens(latent):,} tokens, {args.steps} steps, "
        f"median of {args.rounds} runs",
        f"{'ms a step':>9} {'least to most':>17} {'more':>7}",
    ]
    for row in rows:
        per_step = [1000 * s / args.steps for s in row["seconds"]]
        low, high = min(per_step), max(per_step)
        other = row["against"]
        more = f"{medians[row['row']] / medians[other] - 1:+.2%}" if other else ""
        lines.append(
            f"{statistics.median(per_step):9.2f} {low:8.2f} {high:8.2f} {more:>7}  {row['row']}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
