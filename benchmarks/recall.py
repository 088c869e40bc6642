"""The importance estimator's yardstick: the true attention mass that its top blocks retain.

"Recall" of an estimate at a share of the blocks: for each row, the mass in the estimate's top
blocks as a share of the mass in the truly best ones; mean over rows and heads. Both masses are
measured by the exact importance.
"""

from __future__ import annotations

import torch

from psa_kernels import PSAConfig
from psa_kernels.layout import Layout
from psa_kernels.reference import build_pyramid, importance, reorder
from psa_kernels.reference.pyramid import group_counts, group_spread, pool
from psa_kernels.reference.tokens import caller_positions, permuted

SHARES = (0.05, 0.10, 0.20)


class Call:
    """q and k `[1, H, L, D]` with the stages up to the importance, in the torch reference."""

    def __init__(self, q: torch.Tensor, k: torch.Tensor, grid, order: str | None, n: int):
        self.q, self.k = q, k
        self.config = PSAConfig(rearrange_method=order, block_n=n, tile_n=32)
        self.layout = Layout.of(q, k, k, self.config, grid=grid)
        self.orders = reorder(q, k, self.layout, self.config)
        self.pyramid = build_pyramid(k, k, self.orders, self.layout, self.config)
        self.scale = q.shape[-1] ** -0.5

    def mass(self, **settings) -> torch.Tensor:
        """S `[1, H, query blocks, key blocks]` with some of the configuration's fields changed."""
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


def share_holding(mass: torch.Tensor, held: float = 0.9) -> torch.Tensor:
    """`[H]`: share of the key blocks that a row of S needs to hold `held` of its mass, mean."""
    before = mass.sort(dim=-1, descending=True).values.cumsum(-1)
    needed = (before < held).sum(-1) + 1
    return needed.clamp(max=mass.shape[-1]).float().mean(-1)[0] / mass.shape[-1]
