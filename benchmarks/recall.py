"""The importance estimator's yardstick: the true attention mass that its top blocks retain.

"Recall" of an estimate at a share of the blocks: for each row, the mass in the estimate's top
blocks as a share of the mass in the truly best ones; mean over rows and heads. Both masses are
measured by the exact importance.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from psa_kernels import PSAConfig
from psa_kernels.layout import Layout
from psa_kernels.reference import build_pyramid, group_keys, importance, reorder
from psa_kernels.reference.pyramid import group_counts, group_spread, pool
from psa_kernels.reference.tokens import caller_positions, permuted

SHARES = (0.05, 0.10, 0.20)


class Call:
    """q and k `[1, H, L, D]` with the stages up to the importance, in the torch reference.

    values  `[1, H, L, D]`, to put like keys together before they are pooled
    """

    def __init__(
        self, q: torch.Tensor, k: torch.Tensor, grid, order: str | None, n: int,
        values: torch.Tensor | None = None,
    ):  # fmt: skip
        self.q, self.k = q, k
        self.config = PSAConfig(rearrange_method=order, block_n=n, tile_n=32)
        self.layout = Layout.of(q, k, k, self.config, grid=grid)
        self.orders = reorder(q, k, self.layout, self.config)
        groups = None
        if values is not None:
            groups = group_keys(q, k, values, self.orders, self.layout, self.config)
        self.pyramid = build_pyramid(k, k, self.orders, self.layout, self.config, groups)
        self.scale = q.shape[-1] ** -0.5

    def mass(self, **settings) -> torch.Tensor:
        """S `[1, H, query blocks, key blocks]` with some of the configuration's fields changed."""
        config = self.config.replace(**settings)
        return importance(self.q, self.pyramid, self.orders, self.layout, config, self.scale)

    def per_query(self, keys: int) -> torch.Tensor:
        """S by a softmax of every single query over means of `keys` keys, at most a block."""
        layout = self.layout
        heads = []
        for head in range(layout.heads):
            order = caller_positions(self.orders.q, 0, head, layout.q_len, layout, self.q.device)
            queries = permuted(self.q[0, head], order)
            own = self.pyramid.keys(0, layout.kv_head(head))
            means, counts = pool(own, keys), group_counts(len(own), keys, own)
            rows = []
            for part in queries.split(layout.m):
                share = (part @ means.T * self.scale + counts.log()).softmax(1).mean(0)
                rows.append(by_block(share, layout.n // keys))
            heads.append(torch.stack(rows))
        return torch.stack(heads)[None]

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


def by_block(mass: torch.Tensor, size: int) -> torch.Tensor:
    """`[..., blocks]`: the sums of `size` consecutive entries of `mass` `[..., L]`."""
    padded = functional.pad(mass, (0, -mass.shape[-1] % size))
    return padded.unflatten(-1, (-1, size)).sum(-1)


def recall_of_heads(estimate: torch.Tensor, exact: torch.Tensor, share: float) -> torch.Tensor:
    """`[H]`: `recall` of each head."""
    count = max(1, round(share * exact.shape[-1]))
    chosen = exact.gather(-1, estimate.topk(count).indices).sum(-1)
    return (chosen / exact.topk(count).values.sum(-1)).mean(-1)[0]


def recall(estimate: torch.Tensor, exact: torch.Tensor, share: float) -> float:
    """True mass of the estimate's top `share` of the blocks / that of the truly best ones."""
    return recall_of_heads(estimate, exact, share).mean().item()


def needed(mass: torch.Tensor, held: float) -> torch.Tensor:
    """`[...]`: how much of the blocks of `mass` `[..., blocks]`, largest first, hold `held`, in
    shares of their number."""
    ranked = mass.sort(dim=-1, descending=True).values
    return (ranked.cumsum(-1) - ranked < held).float().mean(-1)


def share_holding(mass: torch.Tensor, held: float = 0.9) -> torch.Tensor:
    """`[H]`: share of the key blocks that a row of S needs to hold `held` of its mass, mean."""
    return needed(mass, held).mean(-1)[0]
