"""Prints the report; exit code 0 if PSA runs here as it should, 1 if not."""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from pathlib import Path

from .run import run_selftest


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m psa_kernels.selftest",
        description="Checks that pyramid sparse attention runs on this machine, and that its "
        "numbers are right.",
    )
    parser.add_argument("--verbose", action="store_true", help="every case, and tracebacks")
    parser.add_argument(
        "--every", action="store_true",
        help="the kernels' every feature and dtype, not only what presets use: minutes",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the report to FILE")
    args = parser.parse_args(argv)
    try:
        report = run_selftest(args.every)
    except Exception as error:
        if args.verbose:
            traceback.print_exc()
        print(f"The self-test itself failed: {type(error).__name__}: {error}")
        print("Run it with --verbose and report what it prints.")
        return 1
    if args.json:
        args.json.write_text(json.dumps(report.json(), indent=1), encoding="utf-8")
    print(report.text(verbose=args.verbose))
    return 0 if report.ok else 1


if __name__ == "__main__":
    # a console that cannot show a character must not turn the report into a traceback
    sys.stdout.reconfigure(errors="replace")
    sys.exit(main())
