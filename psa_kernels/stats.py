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

    Nothing is computed until it is read. Only `density` and `per_level` wait for the GPU.

    plan            the levels, as the implementation keeps them
    layout          sizes of the call
    tail            "none", or the pooling level of the pairs on level 0
    implementation  which implementation served the call
    reason          why a faster implementation or precision did not serve it; empty if none is
    """

    plan: Plan
    layout: Layout
    tail: int | str
    implementation: str = "reference"
    reason: str = ""

    @cached_property
    def levels(self) -> torch.Tensor:
        """int8 `[B, H, query blocks, key blocks]`, in permuted order: video blocks, then extra.

        1, 2, 4, 8; 0 for a pair that is skipped or read as the tail; -1 for a key block in the
        future of a causal query block. Rows and columns of extra blocks are 1.
        """
        return self.plan.levels()

    @cached_property
    def tally(self) -> torch.Tensor:
        """int64 `[6]`: video block pairs on levels 1, 2, 4, 8, 0; then query-key products computed.

        It is small and on the call's own device, so that many can be kept and read together later.
        """
        return self.head_tally.sum(0)

    @cached_property
    def head_tally(self) -> torch.Tensor:
        """int64 `[H, 6]`: `tally` of each head, summed over the batch."""
        return self.plan.sums[:, :6] if self.plan.counted else self._from_levels()

    @cached_property
    def sums(self) -> torch.Tensor:
        """int64 `[H, 12]`: `head_tally`, and the sums from which `mass_shares` makes `head_mass`.

        The sums of several calls can be added.
        """
        if self.plan.counted:
            return self.plan.sums
        return torch.cat((self.head_tally, self.plan.sums[:, 6:]), 1)

    @cached_property
    def head_mass(self) -> torch.Tensor:
        """float32 `[H, 5]`: the share of the estimated mass in blocks on levels 1, 2, 4, 8, 0.

        The mass is that of video queries in video keys, as S estimates it; the mean over the
        queries and the batch. Blocks that S does not choose among (those that a causal mask cuts)
        are left out. All zero if S is empty, NaN if S is not finite.
        """
        return mass_shares(self.plan.sums)

    def _from_levels(self) -> torch.Tensor:
        levels, layout = self.levels, self.layout
        # made on the call's device: a copy from CPU memory would wait for the GPU
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
        """Query-key products of dense attention; with a causal mask, those that it leaves."""
        layout = self.layout
        pairs = int(_unmasked(layout).sum()) if layout.causal else layout.q_len * layout.k_len
        return layout.batch * layout.heads * pairs

    @cached_property
    def density(self) -> float:
        """Query-key products computed, as a share of dense attention's.

        A pair on level x counts its queries times ceil(keys / x). With a causal mask, pairs on
        level 1 count what the mask leaves, and so does dense attention.
        """
        return int(self.tally[-1]) / self.dense_products

    @cached_property
    def per_level(self) -> dict[int, float]:
        """Share of the video block pairs on each of the levels 1, 2, 4, 8, 0.

        Pairs on level 0 count as such with or without a tail; pairs that are never read (-1) are
        left out. All shares are 0 in a call without video tokens.
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
