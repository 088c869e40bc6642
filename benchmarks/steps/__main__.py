"""Seconds per sampler step of full-size Wan models with random weights, in ComfyUI.

    python -m benchmarks.steps                                  14B and 1.3B, 720p and 480p
    python -m benchmarks.steps --models 14b --videos 720p       one of them
    python -m benchmarks.steps --small                          a rehearsal on the CPU

A preset whose budget changes over the run is measured with each of its budgets, sparse from the
first step on: "PSA, balanced (15-45%)".

Needs a GPU that holds the model (14B in bfloat16: 28 GB, and 20 GB beside it at 720p). A way whose
result fails its check gets no time.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from statistics import fmean

import torch

from .. import progress
from ..one_budget import of_ranges
from ..psa_methods import CONFIGS, with_like_keys
from ..sparse_peers import find_peers
from . import ways
from .measure import Bench
from .models import Subject, measured, parsed, parser_of

# the same in all families
PRESETS = ("fast", "balanced")
# figures of PSA's report, and what they are called when measured from outside
OWN = (("step", "seconds"), ("attention", "attention"))


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    begin = time.monotonic()
    say = progress.since(begin)
    find_peers()
    runs = measured(
        args, argv, "steps.json", lambda subject: measure(args, subject, begin, say), table,
        torch.bfloat16 if args.bf16 else None,
    )  # fmt: skip
    rows = (row for run in runs for row in run["rows"])
    return int(any(row["left_out"] and row["way"].startswith("PSA") for row in rows))


def measure(args: argparse.Namespace, subject: Subject, begin: float, say) -> dict:
    bench = Bench(subject.comfy, subject.model, subject.size.layers, subject.latent, args.steps)
    presets = subject.family.attention_configs
    chosen = [
        ways.psa(*part)
        for preset in args.presets for part in of_ranges(preset, presets[preset])
    ]  # fmt: skip
    for setting, config in (CONFIGS | with_like_keys()).items():
        if any(text in setting for text in args.settings):
            chosen.append(ways.psa(setting, config))
    dense = ways.dense_ways()
    # dense again at the end shows how much the GPU's clock has changed
    order = [dense[0], *chosen, *dense[1:], *ways.sparse_peers(), dense[0]]
    rows = []
    for way in order:
        if args.only and not any(text in way.name for text in args.only):
            continue
        if args.time_limit and time.monotonic() - begin > args.time_limit:
            say(f"left out for want of time: {way.name}")
            continue
        row = bench.measure(way)
        took = row.left_out or f"{row.seconds:.3f} s a step"
        say(f"{subject.name} {subject.video}: {row.way}: {took}")
        rows.append(asdict(row))
    dtype = str(bench.model.model.get_dtype()).removeprefix("torch.")
    return {"dtype": dtype, "rows": rows}


def table(run: dict) -> str:
    exact = [row["seconds"] for row in run["rows"] if row["exact"] and row["seconds"]]
    lines = [
        f"Wan {run['model']}, {run['video']}, {run['tokens']:,} tokens, {run['dtype']}, "
        "seconds a step",
        f"{'s':>8} {'mean':>8} {'attention':>9} {'first':>8} {'x own':>7} {'x best':>7} "
        f"{'density':>8} {'error':>7} "
        f"{'peak GiB':>9}  attention",
    ]
    own = run["rows"][0]["seconds"]
    for row in run["rows"]:
        if row["left_out"]:
            lines.append(f"{'-':>8} {row['way']}: {row['left_out']}")
            continue
        density = (row["report"] or {}).get("density")
        lines.append(
            f"{row['seconds']:8.3f} {fmean(row['steps']):8.3f} {row['attention']:9.3f} "
            f"{row['first']:8.3f} "
            f"{'-' if own is None else format(own / row['seconds'], '.2f'):>7} "
            f"{format(min(exact) / row['seconds'], '.2f') if exact else '-':>7} "
            f"{'-' if density is None else format(density, '.3f'):>8} {row['error']:7.4f} "
            f"{row['peak_gib'] or 0:9.1f}  {row['way']}"
        )
        if row["own"]:
            off = [row["own"][a] / row[b] - 1 for a, b in OWN]
            lines.append(f"{'':10}its report: step {off[0]:+.1%}, attention {off[1]:+.1%}")
    return "\n".join(lines)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = parser_of("benchmarks.steps", __doc__, ".dev/steps")
    add = parser.add_argument
    add("--presets", nargs="*", default=PRESETS)
    add("--settings", nargs="+", metavar="TEXT", default=(),
        help="settings of psa_methods.py too, by a part of their name")  # fmt: skip
    add("--bf16", action="store_true",
        help="run the model in bfloat16; ComfyUI's own choice for Wan is float16")  # fmt: skip
    add("--only", nargs="+", metavar="TEXT", help="ways by a part of their name")
    add("--steps", type=int, default=4, help="of which the first is not counted")
    add("--time-limit", type=float, metavar="SECONDS", help="after which nothing new starts")
    return parsed(parser, argv)


if __name__ == "__main__":
    sys.exit(main())
