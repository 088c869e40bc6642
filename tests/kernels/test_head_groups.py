"""Heads that go through the stages in groups, to bound memory, give what they give together."""

import pytest
import torch

from psa_kernels import PSAConfig, psa_attention, reference

GRID = (3, 6, 8)
LEVELS = {1: (0, 0.2), 2: (0.2, 0.4), 8: (0.4, 0.7), 0: (0.7, 1)}
CONFIGS = {
    "raster": PSAConfig(mask_ratios=LEVELS),
    "Gilbert": PSAConfig(rearrange_method="Gilbert", tail=16, mask_ratios=LEVELS),
    "an order per head": PSAConfig(rearrange_method="SemanticAware", mask_ratios=LEVELS),
    "similarity": PSAConfig(
        attn_impl="old_mask_type", block_n=128, use_sim_mask=True, mask_ratios=LEVELS
    ),
}


@pytest.mark.usefixtures("every_head_clustered")
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_groups_of_heads_change_nothing(config, monkeypatch):
    rng = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, heads, 150, 16, generator=rng) for heads in (6, 3, 3))
    together, stats = psa_attention(
        q, k, v, config=config, grid=GRID, extra_tokens=(4, 2), return_stats=True
    )
    monkeypatch.setattr(reference, "head_groups", lambda *_: [slice(0, 1), slice(1, 3)])
    apart, parts = psa_attention(
        q, k, v, config=config, grid=GRID, extra_tokens=(4, 2), return_stats=True
    )
    assert len(parts.plan.parts) == 2
    assert torch.equal(apart, together)
    assert torch.equal(parts.levels, stats.levels)
    assert parts.density == stats.density


def test_only_calls_whose_buffers_are_large_beside_k_and_v_are_split():
    pytest.importorskip("triton", reason="Triton is not installed")
    from psa_kernels.layout import Layout
    from psa_kernels.triton.memory import MOST_SHARE, head_groups

    def groups(config, tokens=75_600, heads=40, kv_heads=40, dim=128):
        q = torch.empty(1, heads, tokens, dim, device="meta", dtype=torch.bfloat16)
        k = torch.empty(1, kv_heads, tokens, dim, device="meta", dtype=torch.bfloat16)
        return head_groups(Layout.of(q, k, k, config), config, 2)

    full_and_tail = PSAConfig(block_n=128, tail=64, mask_ratios={1: (0, 0.1), 0: (0.1, 1)})
    assert groups(full_and_tail) == [slice(0, 40)]
    every_level = PSAConfig(mask_ratios={1: (0, 0.1), 2: (0.1, 0.2), 4: (0.2, 0.4), 8: (0.4, 1)})
    assert groups(every_level) == [slice(0, 20), slice(20, 40)]
    for count in (3, 5, 7, 40):
        # heads seldom divide evenly: the largest group counts
        sizes = [
            len(range(count)[g]) for g in groups(every_level, heads=count, kv_heads=count, dim=72)
        ]
        assert sum(sizes) == count
        stored = 128 / 72 * (1 + 1 / 2 + 1 / 4 + 1 / 8)
        assert max(sizes) == 1 or max(sizes) / count * stored <= MOST_SHARE
        assert len(sizes) <= 2 * stored / MOST_SHARE
    assert groups(every_level, heads=40, kv_heads=1) == [slice(0, 1)]
    assert groups(every_level, tokens=2_000) == [slice(0, 40)]
