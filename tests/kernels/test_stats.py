"""Density and per-level shares, worked by hand."""

from types import SimpleNamespace

import pytest
import torch

from psa_kernels import PSAConfig, Stats, psa_attention
from psa_kernels.layout import Layout
from psa_kernels.reference import assign_levels, build_pyramid
from psa_kernels.stages import Orders


def test_density_counts_short_blocks_and_groups():
    # 130 tokens: query blocks of 64, 64, 2 and key blocks of 64, 64, 2
    x = torch.zeros(1, 1, 130, 8)
    layout = Layout.of(x, x, x, PSAConfig(block_m=64, block_n=64))
    levels = torch.tensor([[[[1, 2, 4], [8, 0, 1], [0, 0, 8]]]], dtype=torch.int8)
    got = Stats(SimpleNamespace(counted=False, levels=lambda: levels), layout, "none")
    products = (
        64 * (64 + 32 + 1)  # 2 keys pooled by 4 are one key
        + 64 * (8 + 0 + 2)
        + 2 * (0 + 0 + 1)
    )
    assert got.density == products / 130**2
    shares = {1: 2 / 9, 2: 1 / 9, 4: 1 / 9, 8: 2 / 9, 0: 3 / 9}
    assert got.per_level == pytest.approx(shares)


def test_stats_of_a_call():
    q = torch.randn(2, 4, 300, 16)
    k = torch.randn(2, 2, 300, 16)
    config = PSAConfig(block_m=64, block_n=32, tail=16)
    _, got = psa_attention(q, k, k, config=config, extra_tokens=(10, 40), return_stats=True)
    # 250 video tokens and 50 extra ones, in blocks of 64 queries and of 32 keys
    assert got.levels.shape == (2, 4, 4 + 1, 8 + 2) and got.levels.dtype == torch.int8
    assert (got.levels[..., 4:, :] == 1).all() and (got.levels[..., :, 8:] == 1).all()
    # topk of 8 blocks: 1 on level 1 (never none), ranks below floor(.15 * 8) = 1 on level 2: none,
    # ranks 1 on level 8, from floor(.35 * 8) = 2 on level 0
    assert got.per_level == {1: 1 / 8, 2: 0.0, 4: 0.0, 8: 1 / 8, 0: 6 / 8}
    assert got.implementation == "reference" and got.reason


def test_heads_are_counted_apart():
    generator = torch.Generator().manual_seed(1)
    q, k = (4 * torch.randn(2, heads, 300, 16, generator=generator) for heads in (4, 2))
    ratios = {1: (0, 0.3), 2: (0.3, 0.6), 8: (0.6, 0.8), 0: (0.8, 1)}
    config = PSAConfig(
        block_m=64, block_n=32, tail=16, mask_mode="thresholdbound", mask_ratios=ratios
    )
    _, whole = psa_attention(q, k, k, config=config, extra_tokens=(10, 40), return_stats=True)
    assert torch.equal(whole.head_tally.sum(0), whole.tally)
    for head in range(4):
        of_one = q[:, head : head + 1], k[:, head // 2 : head // 2 + 1]
        _, got = psa_attention(
            of_one[0], of_one[1], of_one[1], config=config, extra_tokens=(10, 40),
            return_stats=True,
        )  # fmt: skip
        assert torch.equal(whole.head_tally[head], got.tally)
        torch.testing.assert_close(whole.head_mass[head], got.head_mass[0])
    # the heads differ, or this compared nothing
    assert len({tuple(x) for x in whole.head_tally.tolist()}) > 1


def test_mass_is_the_importances_share_on_each_level():
    """Two query blocks of 64 and 2 queries; the mean goes by queries."""
    config = PSAConfig(
        block_m=64, block_n=32, mask_mode="topk",
        mask_ratios={1: (0, 0.34), 8: (0.34, 0.67), 0: (0.67, 1)},
    )  # fmt: skip
    x = torch.zeros(1, 1, 66, 8)
    layout = Layout.of(x, x, x, config)
    shares = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.9, 0.0]])[None, None]
    plan = assign_levels(shares, build_pyramid(x, x, Orders(), layout, config), layout, config)
    assert plan.levels()[0, 0].tolist() == [[1, 0, 8], [8, 1, 0]]
    wanted = [(0.5 * 64 + 0.9 * 2) / 66, 0, 0, (0.3 * 64 + 0.1 * 2) / 66, 0.2 * 64 / 66]
    assert Stats(plan, layout, "none").head_mass[0].tolist() == pytest.approx(wanted)
    no_video = Layout.of(x, x, x, config, extra_tokens=(30, 36))
    empty = assign_levels(shares[..., :0, :0], None, no_video, config)
    assert Stats(empty, no_video, "none").head_mass.tolist() == [[0.0] * 5]
