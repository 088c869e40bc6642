"""Time of each stage and of the whole line on a GPU, checked before it is timed.

    python -m benchmarks.stages --shape wan14b-720p --profile medium
    python -m benchmarks.stages --shape wan14b-720p --variants     # tilings of the attention

Medians of CUDA events with the L2 flushed before each call; unlike in `breakdown.py` each call runs
by itself, back to back. `check` compares all rows of two heads with the torch reference on the same
plan; no time is printed where it fails.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import time

import torch

from psa_kernels import PSAConfig, reference
from psa_kernels.stages import Orders
from psa_kernels.stats import Stats

from . import inputs
from .checks import Truth, extra_memory
from .dense_peers import dense_methods
from .method import Problem
from .psa_methods import layout_of, shares

CONFIGS = {
    "5f tail64 sm": {"tail": 64, "second_moment": True, "mask_ratios": shares(0.05)},
    "5f 15@8 tail32 sm": {
        "tail": 32,
        "second_moment": True,
        "mask_ratios": shares(0.05, eight=0.15),
    },
    "5f 15@8 tail32": {"tail": 32, "mask_ratios": shares(0.05, eight=0.15)},
    "7f 15@8 tail64 sm": {
        "tail": 64,
        "second_moment": True,
        "mask_ratios": shares(0.07, eight=0.15),
    },
    "12f 15@8 tail64 sm": {
        "tail": 64,
        "second_moment": True,
        "mask_ratios": shares(0.12, eight=0.15),
    },
    "15f none": {"mask_ratios": shares(0.15)},
}
DENSE = ("FlashAttention-3", "SDPA cuDNN", "SDPA flash")
TOLERANCE = 6e-3  # of the kernels against the float32 reference: bf16 products of bf16 weights


def median_ms(run, rep=300) -> float:
    from triton.testing import do_bench

    return do_bench(run, warmup=50, rep=rep, return_mode="median")


def inside(whole, flush, calls=15) -> list[float]:
    """Median time from mark to mark of whole calls that follow one another."""
    rows = []
    cache = torch.empty(2**28, dtype=torch.int8, device="cuda")
    for _ in range(calls):
        events = []

        def mark(events=events):
            events.append(torch.cuda.Event(enable_timing=True))
            events[-1].record()

        if flush:
            cache.zero_()
        whole(mark)
        rows.append(events)
    torch.cuda.synchronize()
    times = torch.tensor([[a.elapsed_time(b) for a, b in itertools.pairwise(r)] for r in rows])
    return [round(x, 2) for x in times.median(0).values.tolist()]


def check(line, q, k, v, config, layout, orders, plan, out, scale) -> float:
    """The worst relative difference of two heads from the torch reference on the same plan."""
    worst = 0.0
    for head in {0, q.shape[1] - 1}:
        one = slice(head, head + 1)
        small = dataclasses.replace(layout, heads=1, kv_heads=1)
        single = Orders(
            *(x if x is None or x.shape[1] == 1 else x[:, one] for x in (orders.q, orders.k))
        )
        keys = reference.build_pyramid(k[:, one].float(), v[:, one].float(), single, small, config)
        part = dataclasses.replace(plan, matrix=plan.matrix[:, one], layout=small)
        wanted = reference.attend(q[:, one].float(), keys, part, single, small, config, scale)
        worst = max(worst, inputs.relative(out[:, one], wanted))
    return worst


def measure(problem, config, truth, variants):
    import psa_kernels.triton as line
    from psa_kernels.triton import tuning

    q, k, v = problem.q, problem.k, problem.v
    layout = layout_of(problem, config)
    scale = q.shape[3] ** -0.5
    run = {}
    orders = line.reorder(q, k, layout, config)
    run["reorder"] = lambda: line.reorder(q, k, layout, config)
    pyramid = line.build_pyramid(k, v, orders, layout, config)
    run["pyramid"] = lambda: line.build_pyramid(k, v, orders, layout, config)
    mass = line.importance(q, pyramid, orders, layout, config, scale)
    run["importance"] = lambda: line.importance(q, pyramid, orders, layout, config, scale)
    plan = line.assign_levels(mass, pyramid, layout, config)
    run["levels"] = lambda: line.assign_levels(mass, pyramid, layout, config)
    out = line.attend(q, pyramid, plan, orders, layout, config, scale)
    run["attend"] = lambda: line.attend(q, pyramid, plan, orders, layout, config, scale)

    def whole(mark=lambda: None):
        mark()
        o = line.reorder(q, k, layout, config)
        p = line.build_pyramid(k, v, o, layout, config)
        mark()
        s = line.importance(q, p, o, layout, config, scale)
        mark()
        chosen = line.assign_levels(s, p, layout, config)
        mark()
        result = line.attend(q, p, chosen, o, layout, config, scale)
        mark()
        return result

    run["whole"] = whole
    density = Stats(plan, layout, config.tail).density
    flop = problem.dense_flop * density
    result = {"density": density, "rel": truth.errors(out, problem)[0]}
    result["check"] = check(line, q, k, v, config, layout, orders, plan, out, scale)
    if not result["check"] < TOLERANCE:
        return result | {"FAILED": True}
    extra = extra_memory(whole, q.device)
    result["extra memory / (k + v)"] = extra / (2 * k.numel() * k.element_size())
    result |= {name: median_ms(f) for name, f in run.items()}
    result["inside the whole"] = inside(whole, False)
    result["inside, L2 flushed"] = inside(whole, True)
    result["TFLOP/s"] = flop / result["attend"] / 1e9
    if variants:
        base = tuning.attend(q.device, q.dtype, layout.head_dim)
        for stages in variants:
            tune = dataclasses.replace(base, **stages)
            try:
                ms = median_ms(
                    lambda t=tune: line.attend(q, pyramid, plan, orders, layout, config, scale, t)
                )
                result[str(stages)] = f"{ms:.2f} ms {flop / ms / 1e9:.0f} TFLOP/s"
            except Exception as error:
                result[str(stages)] = f"{type(error).__name__} {str(error)[:80]}"
        base = tuning.estimate(q.device, q.dtype, layout.head_dim)
        for change in ESTIMATES:
            tune = dataclasses.replace(base, **change)
            try:
                ms = median_ms(
                    lambda t=tune: line.importance(q, pyramid, orders, layout, config, scale, t)
                )
                result[f"estimate {change}"] = f"{ms:.2f} ms"
            except Exception as error:
                result[f"estimate {change}"] = f"{type(error).__name__} {str(error)[:80]}"
    return result


VARIANTS = [
    {"full_stages": 4},
    {"full_stages": 4, "list_stages": 3},
    {"full_stages": 2},
]
ESTIMATES = [
    {"stages": 2},
    {"stages": 4},
    {"means": 64, "groups": 32, "stages": 3},
    {"means": 128, "groups": 64, "warps": 8, "stages": 3},
]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", default="wan14b-720p", choices=inputs.SHAPES)
    parser.add_argument("--profile", default="medium", choices=inputs.PROFILES)
    parser.add_argument("--configs", default=",".join(CONFIGS))
    parser.add_argument("--variants", action="store_true")
    parser.add_argument("--order", default="Gilbert")
    parser.add_argument("--no-dense", action="store_true")
    given = parser.parse_args()
    import triton

    print(torch.cuda.get_device_name(), "torch", torch.__version__, "triton", triton.__version__,
          time.strftime("%Y-%m-%d"), flush=True)  # fmt: skip
    _, _, grid, text = inputs.SHAPES[given.shape]
    q, k, v = inputs.make(given.shape)
    gain = inputs.gain_for(q, k, given.profile)
    q *= gain
    problem = Problem(q, k, v, grid, text)
    truth = Truth.of(problem)
    print(f"{given.shape} {given.profile}: q, k, v {list(q.shape)}, gain {gain:.2f}", flush=True)
    best = None
    peers = {method.name: method for method in dense_methods()}
    for name in () if given.no_dense else DENSE:
        peer = peers[name]
        try:
            run = peer.prepare(problem)
            ms = median_ms(run)
        except Exception as error:
            print(name, type(error).__name__, str(error)[:100])
            continue
        best = min(best or ms, ms)
        error = truth.errors(run(), problem)[0]
        print(f"dense {name}: {ms:.2f} ms, rel-L2 {error:.4f}", flush=True)
    for name in given.configs.split(","):
        config = PSAConfig(block_n=128, rearrange_method=given.order, **CONFIGS[name])
        start = time.time()
        found = measure(problem, config, truth, VARIANTS if given.variants else [])
        if best and "whole" in found:
            found["x dense"] = best / found["whole"]
        shown = {key: round(x, 4) if isinstance(x, float) else x for key, x in found.items()}
        print(name, json.dumps(shown), f"({time.time() - start:.0f} s)", flush=True)
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
