"""Measures this GPU; exit code 0 if that worked, 1 if not, 130 where it was interrupted."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

START = time.monotonic()  # torch and Triton are still to be imported


def main(argv: list[str] | None = None) -> int:
    import torch

    from ..measured import HEAD_DIMS, file_in_use
    from ..measured.place import VARIABLE
    from .run import DTYPES, SECONDS, tune
    from .search import Budget, TuneError

    parser = argparse.ArgumentParser(
        prog="python -m psa_kernels.tune",
        description="Measures which settings of PSA's kernels are fastest on this GPU, and how "
        "long attention takes, for estimates. PSA reads both from a file from then on.",
    )
    parser.add_argument("--head-dim", type=int, default=HEAD_DIMS[0],
                        help="channels of a head (default: %(default)s)")  # fmt: skip
    parser.add_argument("--dtype", choices=DTYPES, default=DTYPES[0],
                        help="serves the other one too (default: %(default)s)")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=SECONDS,
                        help="time limit, with start and compilation (default: 90)")  # fmt: skip
    parser.add_argument("--file", type=Path, default=None,
                        help=f"where to keep it (default: {file_in_use()})")  # fmt: skip
    parser.add_argument("--verbose", action="store_true", help="list everything that was left out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result to FILE")
    args = parser.parse_args(argv)
    if not args.seconds > 0:
        parser.error(f"--seconds: found {args.seconds:g}, give more than 0")
    budget = Budget(args.seconds, START)
    if args.file:
        os.environ[VARIABLE] = str(args.file)  # calls take its settings too

    def say(text: str) -> None:
        print(f"[{min(budget.spent, 1):4.0%}] {text}", flush=True)

    if not torch.cuda.is_available():
        return _failed(args.json, "there is no GPU here that torch can use; nothing to measure")
    try:
        result = tune(args.head_dim, getattr(torch, args.dtype), budget=budget, file=args.file,
                      say=say)  # fmt: skip
    except TuneError as error:
        return _failed(args.json, str(error))
    except OSError as error:
        return _failed(args.json, f"the file cannot be written: {error}")
    if args.json:
        args.json.write_text(json.dumps({"text": result.text, "lines": result.lines}), "utf-8")
    for line in result.lines if args.verbose else ():
        print(f"  left out: {line}")
    print(result.text)
    return 0


def _failed(report: Path | None, text: str) -> int:
    if report:
        report.write_text(json.dumps({"failed": text}), "utf-8")
    print(f"Nothing was measured: {text}")
    return 1


def end(program: Callable[[], int]) -> None:
    """Runs `program` and ends this process without waiting for threads that still compile."""
    try:
        code = program()
    except KeyboardInterrupt:
        print("Interrupted; what was measured to its end is kept.", flush=True)
        code = 130
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    # a console that cannot show a character must not turn the report into a traceback
    sys.stdout.reconfigure(errors="replace")
    end(main)
