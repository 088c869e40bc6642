"""What torch.compile saves of a sampler step, without PSA and with it.

    python -m benchmarks.steps.compiled                            1.3B at 480p and 14B at 720p
    python -m benchmarks.steps.compiled --shapes 1.3b:480p --compile model

ComfyUI samples Wan 2.1 of full size with random weights four ways: dense and with the patch of
Apply PSA, each as it is and compiled. `--compile blocks` compiles one transformer block after the
other, as KJNodes does: they share one graph, which is made in seconds. `--compile model` is
ComfyUI's own node TorchCompileModel: one graph of the whole model, which takes minutes.

Ways take turns; of every run the first step, which compiles, is not counted. A way whose output is
off, or that left calls of PSA dense, gets no time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from .. import progress, report
from ..one_budget import of_middle
from ..quality import ROOT
from . import wan
from .measure import EXACT, GARBAGE, rel_l2, sample

SHAPES = ("1.3b:480p", "14b:720p")
# A small model that a CPU samples in a second: it tries the program out, and no time means anything
TRIAL = "trial"
TRIAL_SIZE, TRIAL_VIDEO = wan.Size(dim=256, heads=2, layers=2, ffn=512), (3, 16, 16)
WANTED = 0.9  # of what compiling saves a dense step, at least


@dataclass
class Row:
    """Of one way, all its turns.

    uncompiled  the way that this one is when it is compiled, None for that one
    steps       seconds of the steps after the first of each turn
    first       seconds of the very first step
    error       rel-L2 of the model's output in the first step, against dense
    apart       the same against `uncompiled`
    graphs, breaks  that torch.compile made of it
    """

    way: str
    uncompiled: str | None
    patched: Any = field(repr=False)
    reports: list[dict] = field(default_factory=list, repr=False)
    steps: list[float] = field(default_factory=list)
    first: float | None = None
    error: float | None = None
    apart: float | None = None
    graphs: int = 0
    breaks: int = 0
    left_out: str | None = None

    @property
    def milliseconds(self) -> float | None:
        counted = self.steps and not self.left_out
        return 1000 * statistics.median(self.steps) if counted else None

    def told(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        del own["patched"], own["reports"]
        return {**own, "milliseconds": self.milliseconds}


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    if args.shapes != [TRIAL] and not torch.cuda.is_available():
        print("error: models of this size need a GPU; --shapes trial does not", file=sys.stderr)
        return 2
    from psa_pack.tools.comfy_inprocess import ComfyInProcess

    with tempfile.TemporaryDirectory(prefix="psa-compiled-") as base:
        return run(args, ComfyInProcess(args.comfyui, Path(base)), argv)


def run(args: argparse.Namespace, comfy: Any, argv: list[str]) -> int:
    """The whole program but for loading ComfyUI; 0 where every way got a time."""
    from .__main__ import comfyui_version

    begin = time.monotonic()
    say = progress.since(begin)
    results = {"environment": report.environment(argv), "runs": []}
    results["environment"]["comfyui"] = comfyui_version()
    good = True
    for shape in args.shapes:
        if time.monotonic() - begin > args.time_limit:
            say(f"left out for want of time: {shape}")
            good = False
            continue
        found = measure(args, comfy, shape, begin + args.time_limit, say)
        results["runs"].append(found)
        print(table(found), flush=True)
        print(f"wrote {report.write(args.out / 'compiled.json', results)}", flush=True)
        good = good and is_good(found)
    return int(not good)


def measure(
    args: argparse.Namespace, comfy: Any, shape: str, until: float, say: Callable[[str], None]
) -> dict[str, Any]:
    """Turns begin until `args.seconds` are over or, by `time.monotonic()`, it is `until`."""
    import comfy.model_management as memory
    import torch._dynamo

    name, _, video = shape.partition(":")
    size, latent = (
        (TRIAL_SIZE, TRIAL_VIDEO) if shape == TRIAL else (wan.SIZES[name], wan.VIDEOS[video])
    )
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model = wan.load(size, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = str(model.model.get_dtype()).removeprefix("torch.")
    say(f"{shape}: Wan of {sum(p.numel() for p in model.model.parameters()) / 1e9:.1f} B")
    rows = ways(args, model, "1.3b" if shape == TRIAL else name)
    begun, turns = time.monotonic(), 0
    first: dict[str, torch.Tensor] = {}
    while not turns or (turns < args.most and time.monotonic() < min(begun + args.seconds, until)):
        for row in rows:
            if row.left_out is None:
                turn(args, comfy, row, size.layers, latent, first)
            if not turns:
                say(f"{shape}: {row.way}: {row.left_out or f'{row.milliseconds:.0f} ms a step'}")
        turns += 1
    found = {
        "shape": shape, "tokens": wan.tokens(latent), "dtype": dtype, "compile": args.compile,
        "backend": args.backend, "preset": args.preset, "turns": turns, "steps": args.steps,
        "rows": [row.told() for row in rows],
    }  # fmt: skip
    del model, rows
    memory.unload_all_models()
    torch._dynamo.reset()
    return {**found, "saved": saved(found)}


def ways(args: argparse.Namespace, model: Any, family: str) -> list[Row]:
    from psa_pack.nodes.patching.apply import apply_psa
    from psa_pack.nodes.patching.run import PatchOptions
    from psa_pack.nodes.preset_value import PresetValue
    from psa_pack.presets.store import PresetStore

    store = PresetStore(ROOT / "presets", ROOT / ".dev" / "no-user-presets")
    config = store.get_family(f"Wan2.1_{family}").attention_configs[args.preset]
    name, config = of_middle(args.preset, config)
    preset = PresetValue(config.replace(warmup_steps=0), name=name)
    rows = []
    for way in ("dense", f"PSA, {name}"):
        for suffix in ("", ", compiled"):
            reports: list[dict] = []
            patched = model.clone()
            if way != "dense":
                patched = apply_psa(model, preset, PatchOptions(), reports.append)
            if suffix:
                patched = COMPILED[args.compile](patched, args.backend)
            rows.append(Row(way + suffix, way if suffix else None, patched, reports))
    return rows


def compiled_blocks(model: Any, backend: str) -> Any:
    """As KJNodes' TorchCompileModelWanVideoV2 does it."""
    import torch._dynamo
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    torch._dynamo.config.recompile_limit = 64
    model = model.clone()
    number = len(model.get_model_object("diffusion_model").blocks)
    keys = [f"diffusion_model.blocks.{i}" for i in range(number)]
    set_torch_compile_wrapper(model=model, backend=backend, keys=keys)
    return model


def compiled_model(model: Any, backend: str) -> Any:
    from comfy_extras.nodes_torch_compile import TorchCompileModel

    return TorchCompileModel.execute(model, backend)[0]


COMPILED = {"blocks": compiled_blocks, "model": compiled_model}


def turn(
    args: argparse.Namespace, comfy: Any, row: Row, layers: int, video: tuple[int, int, int],
    first: dict[str, torch.Tensor],
) -> None:  # fmt: skip
    """One run of a way; `first` holds each way's first output, dense's before all others."""
    before = _graphs()
    try:
        marks, output = sample(comfy, row.patched, video, args.steps)
    except RuntimeError as error:  # out of memory, or torch.compile's own
        row.left_out = f"{type(error).__name__}: {error}".splitlines()[0][-160:]
        return
    row.graphs, row.breaks = (
        had + now - then
        for had, now, then in zip((row.graphs, row.breaks), _graphs(), before, strict=True)
    )
    begin, *steps = (b - a for a, b in pairwise(marks))
    row.steps += steps
    if row.first is None:
        row.first = begin
        first[row.way] = output
        row.error = rel_l2(output, first.get("dense", output))
        row.apart = rel_l2(output, first.get(row.uncompiled or row.way, output))
    row.left_out = fault(row, layers * args.steps)


def _graphs() -> tuple[int, int]:
    counters = torch._dynamo.utils.counters
    return counters["stats"]["unique_graphs"], sum(counters["graph_break"].values())


def fault(row: Row, calls: int) -> str | None:
    """Why no time may be shown, or None. `calls`: of self-attention in a run."""
    psa = row.way.startswith("PSA")
    if not row.error < (GARBAGE if psa else EXACT):  # NaN too
        return f"the first step's output is {row.error:.3f} off"
    # what rounds otherwise may choose another block, which costs no more than choosing at all
    if not row.apart < (GARBAGE / 2 if psa else EXACT):
        return f"the first step's output is {row.apart:.3f} off the one without compiling"
    if psa:
        if not row.reports:
            return "it made no report"
        last = row.reports[-1]
        if last["failure"] or last["calls"]["sparse"] != calls:
            return f"{last['calls']['sparse']} of {calls} calls sparse; {last['failure']}"
    if row.uncompiled and not row.graphs:
        return "nothing was compiled"
    return None


def saved(found: dict[str, Any]) -> dict[str, float | None]:
    """Milliseconds a step that compiling saves: of dense, of PSA, and what share the latter is."""
    by_way = {row["way"]: row["milliseconds"] for row in found["rows"]}
    gains = []
    for row in found["rows"]:
        if row["uncompiled"]:
            plain, compiled = by_way[row["uncompiled"]], row["milliseconds"]
            gains.append(None if None in (plain, compiled) else plain - compiled)
    dense, psa = gains
    share = None if dense is None or psa is None or dense <= 0 else psa / dense
    return {"dense": dense, "psa": psa, "share": share}


def is_good(found: dict[str, Any]) -> bool:
    """Every way got a time, and PSA cost no graph and no break."""
    dense, psa = (row for row in found["rows"] if row["uncompiled"])
    as_many = all(psa[count] == dense[count] for count in ("graphs", "breaks"))
    return as_many and not any(row["left_out"] for row in found["rows"])


def table(found: dict[str, Any]) -> str:
    what = {
        "blocks": "block by block, as KJNodes compiles",
        "model": "as a whole, by ComfyUI's TorchCompileModel",
    }
    lines = [
        f"Wan {found['shape']}, {found['tokens']:,} tokens, {found['dtype']}, "
        f"compiled {what[found['compile']]}, backend {found['backend']}; "
        f"{found['turns']} turns of {found['steps']} steps, the first of each not counted",
        f"{'ms a step':>10} {'least to most':>21} {'first s':>8} {'error':>7} {'apart':>7} "
        f"{'graphs':>6} {'breaks':>6}  way",
    ]
    for row in found["rows"]:
        if row["left_out"]:
            lines.append(f"{'-':>10} {row['way']}: {row['left_out']}")
            continue
        low, high = 1000 * min(row["steps"]), 1000 * max(row["steps"])
        lines.append(
            f"{row['milliseconds']:10.1f} {low:10.1f} {high:10.1f} {row['first']:8.1f} "
            f"{row['error']:7.4f} {row['apart']:7.4f} {row['graphs']:6} {row['breaks']:6}  "
            f"{row['way']}"
        )
    gains = found["saved"]
    if None in (gains["dense"], gains["psa"]):
        lines.append("compiling saves: not known, as a way got no time")
    else:
        share = "-" if gains["share"] is None else f"{gains['share']:.0%}"
        lines.append(
            f"compiling saves {gains['dense']:.1f} ms of a dense step and {gains['psa']:.1f} ms of "
            f"PSA's: {share} (at least {WANTED:.0%} is wanted)"
        )
    return "\n".join(lines)


def parse(argv: list[str]) -> argparse.Namespace:
    from psa_pack.tools.comfyui_option import add_comfyui, comfyui_of

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.steps.compiled", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add_comfyui(parser)
    every = [f"{model}:{video}" for model in wan.SIZES for video in wan.VIDEOS]
    add("--shapes", nargs="+", choices=[*every, TRIAL], default=list(SHAPES), metavar="SHAPE",
        help=f"of {', '.join(every)}; or {TRIAL}, a small model that needs no GPU")  # fmt: skip
    add("--compile", choices=COMPILED, default="blocks")
    add("--backend", default="inductor")
    add("--preset", default="balanced", help="of several budgets the middle one is measured")
    add("--steps", type=int, default=3, help="of a run, of which the first is not counted")
    add("--seconds", type=float, default=30, help="of a shape; after them no new turn begins")
    add("--most", type=int, default=20, metavar="TURNS")
    add("--time-limit", type=float, default=180, metavar="SECONDS",
        help="of all shapes; after them nothing new begins")  # fmt: skip
    add("--out", type=Path, default=Path(".dev/steps"))
    args = parser.parse_args(argv)
    if args.steps < 2:
        parser.error("--steps: two at least, since the first is not counted")
    args.comfyui = comfyui_of(args, parser.error)
    return args


if __name__ == "__main__":
    sys.exit(main())
