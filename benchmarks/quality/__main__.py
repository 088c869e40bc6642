"""Quality of PSA on the small trained Wan, against its own dense clips.

    python -m benchmarks.quality                         everything; needs a GPU to end in minutes
    python -m benchmarks.quality --part sweep --clips 0:8     a share of it, for one of several GPUs
    python -m benchmarks.quality --merge DIR DIR --out DIR    one report of several shares

Results are written as they come: a run that is cut off goes on with the same command. No figures
are shown unless dense sampling repeats itself and PSA that keeps every block gives the dense clip.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from pathlib import Path

from .. import progress
from . import ROOT

EXAMPLE = ROOT / "examples" / "small_wan"
DEFAULT_OUT = Path(".dev/quality")
# the model's own presets, and those of the model it is shaped after that it has not
FAMILIES = ("Small_Wan", "Wan2.1_1.3b")

TIME_GRID = (21, 45, 80)  # tokens of 81 frames at 720p


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    from .capture import NothingCaptured
    from .results import Mismatch, Results, merge
    from .sanity import CheckFailed

    try:
        if args.merge:
            lines = merge(args.merge)
        else:
            check_packages()
            results = Results(args.out, run_of(args, argv))
            measure(args, results)
            lines = results.lines
        from .report import write_report

        for path in write_report(lines, args.out):
            print(f"wrote {path}")
    except CheckFailed as reason:
        print(f"no figures: {reason}", file=sys.stderr)
        return 1
    except (Mismatch, NothingCaptured, UsageError, FileNotFoundError) as reason:
        print(f"error: {reason}", file=sys.stderr)
        return 2
    return 0


class UsageError(Exception):
    """What is asked for is not possible here; shown without a traceback."""


def check_packages() -> None:
    """Before minutes of sampling, not after."""
    lacking = [name for name in ("piq", "scipy") if importlib.util.find_spec(name) is None]
    if lacking:
        raise UsageError(
            f"{' and '.join(lacking)} cannot be imported; `python3 dev.py quality` has what is "
            f"needed, or: pip install --no-deps {' '.join(lacking)}"
        )


def run_of(args: argparse.Namespace, argv: list[str]) -> dict:
    """What results must agree in to stand in one table, and what else a reader wants to know."""
    import hashlib

    import torch

    from .. import report

    for file in (args.model, args.codec):
        if not file.is_file():
            raise FileNotFoundError(f"{file} is not there; give --model and --codec")
    environment = report.environment(argv)
    return {
        "subject": hashlib.sha256(args.model.read_bytes()).hexdigest(),
        "sampling": {"grid": args.grid, "steps": args.steps, "cfg": args.cfg,
                     "sampler": "euler", "scheduler": "simple"},
        "gpu": environment["gpu"],
        "versions": {"torch": torch.__version__, "triton": environment.get("triton")},
        "model": args.model.name,
        "environment": environment,
    }  # fmt: skip


def measure(args: argparse.Namespace, results) -> None:
    import torch

    begin = time.monotonic()
    say = progress.since(begin)
    if not torch.cuda.is_available():
        say("no GPU: the torch reference runs, which is slow; only small --grid and few clips end")
    from psa_pack.presets.store import PresetStore
    from psa_pack.tools.comfy_inprocess import ComfyInProcess

    from .capture import Capture
    from .parts import STRUCTURE, Job, run
    from .sanity import check_dense, check_subject
    from .subject import Clip, Sampling, Subject

    with tempfile.TemporaryDirectory(prefix="psa-quality-") as base:
        store = PresetStore(ROOT / "presets", Path(base) / "none")
        comfy = ComfyInProcess(args.comfyui, Path(base))
        subject = Subject(comfy, args.model, args.codec)
        job = Job(
            subject=subject,
            sampling=Sampling(tuple(args.grid), args.steps, args.cfg),
            results=results,
            clips=[Clip.number(i) for i in range(*args.clips)],
            families=[store.get_family(name) for name in args.families],
            densities=tuple(args.densities),
            deadline=begin + (args.time_limit or float("inf")),
            say=say,
            only=tuple(args.only),
            time_grid=time_grid(args),
        )
        say("checks")
        if args.part == [STRUCTURE]:
            check_dense(subject, Clip.number(0), job.sampling, results)
        else:
            check_subject(subject, Clip.number(0), job.sampling, results)
        if args.capture:
            layers = args.capture_layers or range(subject.layers)
            steps = args.capture_steps or [args.steps // 2]
            capture = Capture(job.sampling.grid, set(steps), set(layers), args.capture_mib * 2**20)
            job.watch(job.clips[0], capture.visit)
            note = {"subject": subject.digest, "clip": job.clips[0].index}
            capture.save(args.capture, note)
            say(f"wrote {args.capture}: {len(capture.heads)} heads, {capture.left_out} left out")
        run(job, args.part)


def time_grid(args: argparse.Namespace) -> tuple[int, int, int]:
    import torch

    if args.time_grid:
        return tuple(args.time_grid)
    return TIME_GRID if torch.cuda.is_available() else tuple(args.grid)


def parse(argv: list[str]) -> argparse.Namespace:
    from psa_pack.tools.comfyui_option import add_comfyui, comfyui_of

    from .settings import SWEEP_DENSITIES

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add_comfyui(parser)
    add("--model", type=Path, default=EXAMPLE / "small_wan.safetensors")
    add("--codec", type=Path, default=EXAMPLE / "codec.safetensors")
    add("--families", nargs="+", default=FAMILIES, metavar="NAME",
        help=f"whose presets are measured; default {' '.join(FAMILIES)}")  # fmt: skip
    parts = ("sweep", "orders", "calibrated", "decide", "structure", "peers")
    add("--part", nargs="*", choices=parts,
        help=f"of {', '.join(parts)}; default all; none: checks and --capture alone")  # fmt: skip
    add("--clips", type=clip_range, default=(0, 16), metavar="FROM:TO", help="default 0:16")
    add("--grid", type=int, nargs=3, default=(8, 32, 32), metavar="N",
        help="frames, height, width in tokens; default 8 32 32")  # fmt: skip
    add("--steps", type=int, default=20)
    add("--cfg", type=float, default=4.0)
    add("--densities", type=float, nargs="+", default=SWEEP_DENSITIES,
        help="of the sweep")  # fmt: skip
    add("--time-grid", type=int, nargs=3, metavar="N",
        help="of the calls that peers times; default 720p, on a CPU the clips' own")  # fmt: skip
    add("--only", nargs="+", default=(), metavar="TEXT",
        help="settings whose key, \"table: row\", contains one of these texts")  # fmt: skip
    add("--time-limit", type=float, metavar="SECONDS", help="after which nothing new starts")
    add("--capture", type=Path, metavar="FILE",
        help="q, k, v of the first clip, for `python -m benchmarks --inputs`")  # fmt: skip
    add("--capture-layers", type=int, nargs="+", help="from 0; default all")
    add("--capture-steps", type=int, nargs="+", help="from 0; default the middle one")
    add("--capture-mib", type=int, default=256, help="size of the file at most; default 256")
    add("--merge", type=Path, nargs="+", metavar="DIR", help="results to report on; runs nothing")
    add("--out", type=Path, default=DEFAULT_OUT, help=f"result folder; default {DEFAULT_OUT}")
    args = parser.parse_args(argv)
    args.part = list(parts) if args.part is None else args.part
    if not args.merge:
        args.comfyui = comfyui_of(args, parser.error)
        args.grid = list(args.grid)
    return args


def clip_range(text: str) -> tuple[int, int]:
    first, _, last = text.partition(":")
    if not (first.isdigit() and last.isdigit() and int(first) < int(last)):
        raise argparse.ArgumentTypeError(f"{text!r} is no range of clips; give one like 0:8")
    return int(first), int(last)


if __name__ == "__main__":
    sys.exit(main())
