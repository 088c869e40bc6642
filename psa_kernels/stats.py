"""What one attention call computed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from .config import LEVELS
from .layout import Layout
from .stages import Plan


@dataclass(frozen=True)
class Stats:
    """Levels of one call, and what follows from them.

    Nothing is computed before it is asked for, and only `density` and `per_level` wait for a GPU.

    plan            the levels, as the implementation keeps them
    layout          sizes of the call
    tail            "none", or the pooling level of the pairs on level 0
    implementation  which package served the call
    reason          why no faster one did, or what of it did not; empty if none could be faster
    """

    plan: Plan
    layout: Layout
    tail: int | str
    implementation: str = "reference"
    reason: str = ""

    @cached_property
    def levels(self) -> torch.Tensor:
        """int8 `[B, H, query blocks, key blocks]`, in permuted order: video blocks, then extra.

        1, 2, 4, 8; 0 for a pair that is skipped (or on the tail's level); -1 for one in the future
        of a causal query block. Rows and columns of extra blocks are 1.
        """
        return self.plan.levels()

    @cached_property
    def tally(self) -> torch.Tensor:
        """int64 `[6]`: video block pairs on levels 1, 2, 4, 8, 0; then query-key products computed.

        On the call's own device and small, so that many calls can be kept and read later at once.
        """
        return self.head_tally.sum(0)

    @cached_property
    def head_tally(self) -> torch.Tensor:
        """int64 `[H, 6]`: `tally` of each head, summed over the batch."""
        return self.plan.sums[:, :6] if self.plan.counted else self._from_levels()

    @cached_property
    def sums(self) -> torch.Tensor:
        """int64 `[H, 12]`: `head_tally`, and what `mass_shares` makes `head_mass` of.

        Those of several calls add up.
        """
        if self.plan.counted:
            return self.plan.sums
        return torch.cat((self.head_tally, self.plan.sums[:, 6:]), 1)

    @cached_property
    def head_mass(self) -> torch.Tensor:
        """float32 `[H, 5]`: the share of the estimated mass in blocks on levels 1, 2, 4, 8, 0.

        Of the mass that queries of the video have in keys of the video, as S estimates it; the mean
        over the queries and the batch. What S does not choose among (blocks that a causal mask
        cuts) has no part in it. All zero where S is empty, NaN where S is not finite.
        """
        return mass_shares(self.plan.sums)

    def _from_levels(self) -> torch.Tensor:
        levels, layout = self.levels, self.layout
        # Made on the call's device: a copy from ordinary memory would wait for the GPU.
        queries = _block_sizes(layout.q_video, layout.extra, layout.m, levels.device)[:, None]
        keys = _block_sizes(layout.k_video, layout.extra, layout.n, levels.device)
        sizes = {1: 1, 2: 2, 4: 4, 8: 8, 0: None if self.tail == "none" else self.tail}
        counts, products = [], levels.new_zeros(layout.heads, dtype=torch.int64)
        for level in LEVELS:
            pairs = (levels == level).sum(0)
            counts.append(pairs[:, : layout.q_blocks, : layout.k_blocks].sum((1, 2)))
            if sizes[level] is not None:
                masked = level == 1 and layout.causal
                cost = _unmasked(layout) if masked else queries * -(-keys // sizes[level])
                products = products + (pairs * cost.to(levels.device)).sum((1, 2))
        return torch.stack([*counts, products], 1)

    @cached_property
    def dense_products(self) -> int:
        """Query-key products of dense attention; with a causal mask, those that the mask leaves."""
        layout = self.layout
        pairs = int(_unmasked(layout).sum()) if layout.causal else layout.q_len * layout.k_len
        return layout.batch * layout.heads * pairs

    @cached_property
    def density(self) -> float:
        """Query-key products computed, as a share of dense attention's.

        A pair on level x counts its queries times ceil(keys / x); with a causal mask, pairs on
        level 1 count what the mask leaves, and so does dense attention.
        """
        return int(self.tally[-1]) / self.dense_products

    @cached_property
    def per_level(self) -> dict[int, float]:
        """Share of the video block pairs on each of the levels 1, 2, 4, 8, 0.

        Pairs on level 0 count there whether or not there is a tail; pairs that are never read (-1)
        are left out. All shares are 0 in a call without video tokens.
        """
        counts = self.tally[:-1].tolist()
        total = max(1, sum(counts))
        return {level: count / total for level, count in zip(LEVELS, counts, strict=True)}


def mass_shares(sums: torch.Tensor) -> torch.Tensor:
    """float32 `[H, 5]`, as `Stats.head_mass`, of one call's `sums` `[H, 12]` or of several."""
    mass = sums[:, 6:11].float()
    shares = mass / mass.sum(1, keepdim=True).clamp(min=1)
    return shares.masked_fill(sums[:, 11:] > 0, torch.nan)


def _block_sizes(
    video: int, extra: int, size: int, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """int64 `[blocks]`: tokens in each block, video blocks first."""
    whole, rest = (torch.arange(0, total, size, device=device) for total in (video, extra))
    return torch.cat(((video - whole).clamp(max=size), (extra - rest).clamp(max=size)))


def _unmasked(layout: Layout) -> torch.Tensor:
    """int64 `[query blocks, key blocks]`: the query-key products a causal mask leaves."""
    video = torch.arange(layout.before, layout.before + layout.q_video)
    prefix = torch.arange(layout.before)
    suffix = torch.arange(layout.q_len - layout.after, layout.q_len)
    positions = torch.cat((video, prefix, suffix))
    queries = positions.split(_block_sizes(layout.q_video, layout.extra, layout.m).tolist())
    keys = _block_sizes(layout.k_video, layout.extra, layout.n)
    ends = keys.cumsum(0)
    rows = []
    for block in queries:
        # positions ascend in a block, so the queries from a key's position on are at its end
        seen = len(block) - torch.searchsorted(block, positions)
        sums = torch.cat((seen.new_zeros(1), seen.cumsum(0)))
        rows.append(sums[ends] - sums[ends - keys])
    return torch.stack(rows)
