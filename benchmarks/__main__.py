"""Speed and accuracy of PSA beside other attention, on one GPU.

    python -m benchmarks --quick     the main shapes in at most 4 minutes
    python -m benchmarks             every configuration, timed on every profile
    python -m benchmarks --sweep     time against tokens, 4 thousand to a million

A time is printed only for a result that passed its checks. benchmarks/README.md says how to read
the tables and how to get the peers; without a GPU a tiny case tests the harness itself.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from pathlib import Path

import torch

from psa_kernels.tune.timing import Clock

from . import inputs, plots, profiles, progress, report
from .dense_peers import dense_methods
from .measure import Settings, measure_shape
from .method import Method
from .psa_methods import psa_methods
from .sparse_peers import find_peers, sparse_methods
from .sweep import FRAMES, sweep

SHAPES = ("wan14b-720p", "wan1.3b-480p", "cogvideox")
PROFILES = ("medium", "peaked", "flat", "objects")  # measured where none are named
QUICK_SECONDS = 225  # after which nothing new starts
QUICK_FRAMES = (3, 11, 42)
SMOKE = "smoke"
ALL_SHAPES = {**inputs.SHAPES, SMOKE: (2, 64, (4, 8, 10), 16)}


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    begin = time.monotonic()
    say = progress.since(begin)
    find_peers()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    results = {
        "environment": report.environment(argv), "sweep": args.sweep, "rows": [], "stages": []
    }  # fmt: skip
    for name, value in results["environment"].items():
        print(f"{name}: {value}")
    if device.type == "cpu":
        say("no GPU: a tiny case on the CPU, to test the harness; its times mean nothing")
    settings = Settings(
        args.implementation, device, seconds_each=args.seconds, clock=Clock(device),
        deadline=begin + (args.time_limit or float("inf")),
    )  # fmt: skip
    path = args.out / ("sweep.json" if args.sweep else "shapes.json")
    broken = False
    try:
        for rows, stages in (run_sweep if args.sweep else run_shapes)(args, settings, say):
            results["rows"] += report.as_data(rows)
            results["stages"] += stages
            # each time: a run that is cut off keeps what it has
            report.write(path, results)
    except Exception:
        # most often a GPU that a kernel has left unusable
        traceback.print_exc()
        broken = True
    report.write(path, results)
    pictures = plots.draw(path)
    say(f"wrote {path}" + "".join(f", {picture.name}" for picture in pictures))
    if not pictures:
        say("no pictures: no matplotlib, or no times")
    failed = [row for row in results["rows"] if "FAILED" in row["left_out"]]
    for row in failed:
        say(f"{row['method']}, {row['shape']}, {row['profile']}: {row['left_out']}")
    # a peer that fails is the peer's business; ours must not
    return int(broken or any(row["kind"] == "psa" for row in failed))


def run_shapes(args: argparse.Namespace, settings: Settings, say):
    """Yields (rows, stage tables) of each shape, printing them."""
    methods = chosen(args)
    timed = args.profiles[:1] if args.quick else args.profiles
    shapes = args.shapes or ((SMOKE,) if settings.device.type == "cpu" else SHAPES)
    known = ALL_SHAPES
    if args.inputs:
        shapes, known = (inputs.CAPTURED,), {inputs.CAPTURED: args.inputs}
    for shape in shapes:
        if settings.late:
            say(f"{shape}: left out, the time limit is reached")
            continue
        rows, stages = measure_shape(
            shape, known[shape], methods, args.profiles, timed, settings, say
        )
        for profile in args.profiles:
            own = [row for row in rows if row.profile == profile]
            if own:
                print(f"\n{shape}, {profile}\n{report.table(own)}")
        if stages:
            print(f"\n{shape}, {timed[0]}, ms of each stage\n{report.stage_table(stages)}\n")
        yield rows, stages


def run_sweep(args: argparse.Namespace, settings: Settings, say):
    """Yields (rows, []) of each length, printing them."""
    ours = psa_methods(args.implementation, quick=True)[:2]
    methods = [method for method in dense_methods() if method.kind == "dense"] + ours
    if settings.device.type == "cpu":
        lengths = sweep(methods, settings, say, frames=(2, 4), picture=(8, 10), heads=1, dim=64)
    else:
        lengths = sweep(methods, settings, say, frames=QUICK_FRAMES if args.quick else FRAMES)
    for rows in lengths:
        print(report.table(rows), flush=True)
        yield rows, []


def chosen(args: argparse.Namespace) -> list[Method]:
    methods = psa_methods(args.implementation, args.quick) + sparse_methods()
    if args.quick:
        # compiling it takes half a minute
        methods = [method for method in methods if not method.name.startswith("FlexAttention")]
    if args.only:
        methods = [
            method for method in methods
            if any(x.lower() in f"{method.kind} {method.name}".lower() for x in args.only)
        ]  # fmt: skip
    return dense_methods() + methods


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--quick", action="store_true", help="the main methods, timed on the first profile only")
    add("--sweep", action="store_true", help="time against tokens instead of the shapes")
    add("--shapes", nargs="+", choices=list(ALL_SHAPES), metavar="SHAPE",
        help=f"of {', '.join(ALL_SHAPES)}; default {', '.join(SHAPES)}")  # fmt: skip
    add("--profiles", nargs="+", choices=profiles.ALL, metavar="PROFILE",
        help=f"of {', '.join(profiles.ALL)}; default {', '.join(PROFILES)}")  # fmt: skip
    add(
        "--inputs",
        type=captured,
        metavar="captured:FILE",
        help="q, k, v of a trained model (quality --capture) instead of shapes and profiles",
    )
    add("--only", nargs="+", metavar="TEXT",
        help="methods with one of these in their name or kind; dense ones stay")  # fmt: skip
    add("--implementation", default="auto", metavar="NAME",
        help="package of psa_kernels, such as triton; default: what a call would get")  # fmt: skip
    add("--seconds", type=float, help="timing one method, about")
    add("--time-limit", type=float, help="seconds after which nothing new starts")
    add("--out", type=Path, default=Path(".dev/bench"), help="result folder")
    args = parser.parse_args(argv)
    on_gpu = torch.cuda.is_available()
    if args.inputs and (args.sweep or args.shapes or args.profiles):
        parser.error("--inputs has its own shape and profile; give it without others or --sweep")
    if args.inputs:
        args.profiles = [inputs.CAPTURED]
    args.profiles = args.profiles or list(PROFILES if on_gpu else PROFILES[:1])
    if args.seconds is None:
        args.seconds = (0.5 if args.quick else 2.0) if on_gpu else 0.05
    if args.quick and args.time_limit is None:
        args.time_limit = QUICK_SECONDS
    return args


def captured(text: str) -> inputs.Captured:
    kind, _, file = text.partition(":")
    if kind != inputs.CAPTURED or not file:
        raise argparse.ArgumentTypeError(f"found {text!r}; give captured:FILE")
    try:
        return inputs.Captured.of(Path(file))
    except (ValueError, FileNotFoundError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
