"""How much of the true attention mass the cheap importance estimator's top blocks retain.

    python -m benchmarks.importance_recall [--grid 8 32 32] [--heads 4] [--dim 64] [--n 64]

Each cell: mass in the estimator's top 5 / 10 / 20% of the blocks of a row, as a share of the mass
in the truly best ones; mean over rows and heads. Both are measured by the exact importance. Besides
the estimator of the package it ranks by one log-sum-exp over all scores of a block pair (no
normalisation of each sub-block), and by the mean query of the whole block. q and k are those of
`inputs.py` in float32, on the CPU.
"""

from __future__ import annotations

import argparse

import torch

from psa_kernels import PSAConfig
from psa_kernels.layout import Layout
from psa_kernels.reference import build_pyramid, importance, reorder
from psa_kernels.reference.pyramid import group_counts, group_spread, pool
from psa_kernels.reference.tokens import caller_positions, permuted

from . import inputs

SHARES = (0.05, 0.10, 0.20)


class Call:
    """q and k with the stages up to the importance."""

    def __init__(self, q: torch.Tensor, k: torch.Tensor, grid, order: str | None, n: int):
        self.q, self.k = q, k
        self.config = PSAConfig(rearrange_method=order, block_n=n, tile_n=32)
        self.layout = Layout.of(q, k, k, self.config, grid=grid)
        self.orders = reorder(q, k, self.layout, self.config)
        self.pyramid = build_pyramid(k, k, self.orders, self.layout, self.config)
        self.scale = q.shape[-1] ** -0.5

    def mass(self, **settings) -> torch.Tensor:
        config = self.config.replace(**settings)
        return importance(self.q, self.pyramid, self.orders, self.layout, config, self.scale)

    def one_log_sum_exp(self, second_moment: bool, queries: int = 16) -> torch.Tensor:
        """Log of the summed exponentials of all scores of a block pair, `[B, H, rows, blocks]`.

        `queries` is how many of them a score's mean query stands for.
        """
        layout = self.layout
        rows = []
        for head in range(layout.heads):
            order = caller_positions(self.orders.q, 0, head, layout.q_len, layout, self.q.device)
            means = pool(permuted(self.q[0, head], order), queries)
            keys = self.pyramid.keys(0, layout.kv_head(head))
            pooled, log_count = pool(keys, 8), group_counts(len(keys), 8, keys).log()
            scores = means @ pooled.T * self.scale + log_count
            if second_moment:
                norms = means.square().sum(1, keepdim=True)
                term = 0.5 * self.scale**2 * norms * group_spread(keys, pooled, 8)
                scores += torch.minimum(term, log_count)
            by_key_block = [x.logsumexp(1) for x in scores.split(layout.n // 8, 1)]
            by_sub_block = torch.stack(by_key_block, 1)
            by_block = [x.logsumexp(0) for x in by_sub_block.split(layout.m // queries)]
            rows.append(torch.stack(by_block))
        return torch.stack(rows)[None]


def recall(estimate: torch.Tensor, exact: torch.Tensor, share: float) -> float:
    """True mass of the estimate's top `share` of the blocks / that of the truly best ones."""
    count = max(1, round(share * exact.shape[-1]))
    chosen = exact.gather(-1, estimate.topk(count).indices).sum(-1)
    return (chosen / exact.topk(count).values.sum(-1)).mean().item()


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
