"""A stack of Wan 14B's blocks on one GPU and on several, by diffusers' Ulysses: dense and with PSA.

    python -m benchmarks.several_gpus                        1 and 2 GPUs, 8 blocks, 720p
    python -m benchmarks.several_gpus --gpus 1 2 4 8 --blocks 40
    python -m benchmarks.several_gpus --small                a rehearsal on the CPU

Weights and inputs are random. A row has the median seconds of the calls of the model after the
first, which compiles; how many times one GPU's speed that is; and rel-L2 of the first call's output
against that of one GPU. Needs diffusers.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.multiprocessing

from .. import progress, report
from .stack import rows_of, run_rank


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    say = progress.since(time.monotonic())
    if not args.small and torch.cuda.device_count() < max(args.gpus):
        print(f"error: found {torch.cuda.device_count()} GPUs; --gpus asks for {max(args.gpus)}",
              file=sys.stderr)  # fmt: skip
        return 2
    results = {"environment": report.environment(argv), "blocks": args.blocks, "rows": []}
    with tempfile.TemporaryDirectory(prefix="psa-gpus-") as folder:
        for gpus in args.gpus:
            torch.multiprocessing.spawn(
                run_rank, (gpus, args.small, args.blocks, args.calls, Path(folder)), nprocs=gpus
            )
            say(f"{gpus} GPUs")
            results["rows"] += rows_of(gpus, Path(folder), min(args.gpus))
            report.write(args.out, results)
    print("\n".join(table(results["rows"])))
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.several_gpus", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--calls", type=int, default=4, help="calls of the model, the first apart")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("several-gpus.json"))
    return parser.parse_args(argv)


def table(rows: list[dict]) -> list[str]:
    head = "| GPUs | way | s a call | x the fewest GPUs | error | density |"
    lines = [head, "|---|---|---|---|---|---|"]
    for row in rows:
        density = "1" if row["density"] is None else f"{row['density']:.3f}"
        lines.append(
            f"| {row['gpus']} | {row['way']} | {row['seconds']:.3f} | {row['times']:.2f} | "
            f"{row['error']:.1e} | {density} |"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
