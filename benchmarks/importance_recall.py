"""How much of the true attention mass the cheap importance estimator's top blocks retain.

    python -m benchmarks.importance_recall [--grid 8 32 32] [--heads 4] [--dim 64] [--n 64]

Each cell: recall (`recall.py`) at 5 / 10 / 20% of the blocks. Besides the estimator of the package
it ranks by one log-sum-exp over all scores of a block pair (no normalisation of each sub-block),
and by the mean query of the whole block. q and k are those of `inputs.py` in float32, on the CPU;
on a trained model's own, `quality` measures it.
"""

from __future__ import annotations

import argparse

import torch

from . import inputs
from .recall import SHARES, Call, recall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grid", type=int, nargs=3, default=(8, 32, 32))
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--n", type=int, default=64, choices=(32, 64, 128))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    grid, n = tuple(options.grid), options.n
    shape = (options.heads, options.dim, grid, 0)
    q, k, _ = inputs.make(shape, "cpu", torch.float32, seed=options.seed)
    estimators = {
        "sub_block": lambda call: call.mass(),
        "sub_block + second moment": lambda call: call.mass(second_moment=True),
        "one log-sum-exp": lambda call: call.one_log_sum_exp(False),
        "one log-sum-exp + second moment": lambda call: call.one_log_sum_exp(True),
        "mean query of the block": lambda call: call.one_log_sum_exp(False, queries=128),
    }
    print(f"grid {grid}, {options.heads} heads of {options.dim}, key blocks of {n}; top 5/10/20%")
    for profile in inputs.PROFILES:
        gain = inputs.gain_for(q, k, profile)
        for order in (None, "Gilbert"):
            call = Call(q * gain, k, grid, order, n)
            exact = call.mass(importance="exact")
            best = [exact.topk(round(x * exact.shape[-1])).values.sum(-1).mean() for x in SHARES]
            title = f"{profile} (gain {gain:.2f}), {order or 'raster'} order"
            print(f"{title:42}exact mass  " + "  ".join(f"{x:.3f}" for x in best))
            for name, estimate in estimators.items():
                scores = estimate(call)
                cells = "  ".join(f"{recall(scores, exact, x):.3f}" for x in SHARES)
                print(f"    {name:50}{cells}")


if __name__ == "__main__":
    main()
