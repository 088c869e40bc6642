"""What PSA's record of a run costs: sparse calls with and without it, in alternation.

    python -m benchmarks.recording --comfyui PATH                 a GPU, Wan 14B at 720p
    python -m benchmarks.recording --comfyui PATH --tokens 2000   a CPU

A call is what the override of a patched model does, the look for NaN included. "host" is the time
until the call returns, "call" the whole of it, both medians over --rounds of --calls each.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from .one_budget import of_middle
from .quality import ROOT


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    from psa_pack.tools.comfy_inprocess import ComfyInProcess

    with tempfile.TemporaryDirectory(prefix="psa-recording-") as base:
        ComfyInProcess(args.comfyui, Path(base))
        found = measure(args)
    for name in ("call", "host"):
        with_it, without = (statistics.median(found[x][name]) for x in ("recorded", "silent"))
        print(f"{name}: {with_it:.3f} ms recorded, {without:.3f} ms not: "
              f"{with_it - without:+.3f} ms, {with_it / without - 1:+.2%}")  # fmt: skip
    return 0


def measure(args: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    q, k, v = (
        torch.randn(1, args.tokens, args.heads * 128, device=device, dtype=dtype(device))
        for _ in range(3)
    )
    ways = {"recorded": override(args, silent=False), "silent": override(args, silent=True)}
    found: dict[str, dict[str, list[float]]] = {x: {"call": [], "host": []} for x in ways}
    for number in range(args.rounds + 1):
        for name, served in ways.items():
            wait(device)
            began = time.perf_counter()
            for _ in range(args.calls):
                served(no_dense, q, k, v, heads=args.heads, transformer_options={})
            host = time.perf_counter()
            served.spoiled()
            wait(device)
            end = time.perf_counter()
            if number:  # the first compiles
                found[name]["call"].append(1000 * (end - began) / args.calls)
                found[name]["host"].append(1000 * (host - began) / args.calls)
    return found


def override(args: argparse.Namespace, silent: bool):
    from psa_engines.core.recording.recorder import Recorder
    from psa_engines.core.token_grid import TokenGrid
    from psa_pack.nodes.patching.override import AttentionOverride
    from psa_pack.nodes.patching.run import PatchOptions, Run
    from psa_pack.nodes.preset_value import PresetValue
    from psa_pack.presets.store import PresetStore
    from psa_pack.psa_engines.core.schedule import Schedule, Step

    class Silent(Recorder):
        def begin(self, device):
            return None

        def sparse(self, *call):
            pass

    store = PresetStore(ROOT / "presets", ROOT / ".dev" / "no-user-presets")
    config = store.get_family("Wan2.1_14b").attention_configs[args.preset]
    _, config = of_middle(args.preset, config)
    preset = PresetValue(config.replace(warmup_steps=0))
    run = Run(preset, PatchOptions(), Schedule((Step(1.0, None),)))
    if silent:
        run.recorder = Silent(1)
    grid = TokenGrid((1, 1, args.tokens), (1, 2, 2))
    if args.tokens == 75_600:
        grid = TokenGrid((21, 45, 80), (1, 2, 2))
    return AttentionOverride(run, grid, 0, key="k", previous=None)


def no_dense(*args, **kwargs):
    raise AssertionError("a call was not sparse")


def dtype(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "cpu" else torch.bfloat16


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def parse(argv: list[str] | None) -> argparse.Namespace:
    from psa_pack.tools.comfyui_option import add_comfyui, comfyui_of

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.recording", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add_comfyui(parser)
    parser.add_argument("--tokens", type=int, default=75_600)
    parser.add_argument("--heads", type=int, default=40)
    parser.add_argument("--preset", default="fast", help="of several budgets the middle one")
    parser.add_argument("--calls", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args(argv)
    args.comfyui = comfyui_of(args, parser.error)
    return args


if __name__ == "__main__":
    sys.exit(main())
