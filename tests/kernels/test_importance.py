"""The importance matrix S, exact and estimated (section 5)."""

import importlib

import pytest
import torch

from psa_kernels import PSAConfig
from psa_kernels.layout import Layout
from psa_kernels.reference import build_pyramid, importance, reorder
from psa_pack.benchmarks import inputs

GRID = (4, 16, 16)


def mass(q, k, *, scale=0.25, grid=None, extra=(0, 0), causal=False, **settings):
    config = PSAConfig(**settings)
    layout = Layout.of(q, k, k, config, grid=grid, extra_tokens=extra, causal=causal)
    orders = reorder(q, k, layout, config)
    pyramid = build_pyramid(k, k, orders, layout, config)
    return importance(q, pyramid, orders, layout, config, scale)


def random_qk(length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(2, 4, length, 16, generator=generator)
    return q, torch.randn(2, 2, length, 16, generator=generator)


def test_the_estimate_is_exact_where_its_means_are():
    """Equal queries in every 16, equal keys in every 8: the means are the tokens."""
    generator = torch.Generator().manual_seed(1)
    q = torch.randn(1, 1, 16, 8, generator=generator).repeat_interleave(16, 2)
    k = torch.randn(1, 1, 32, 8, generator=generator).repeat_interleave(8, 2)
    for second_moment in (False, True):
        estimate = mass(q, k, second_moment=second_moment)
        assert estimate.dtype == torch.float32
        torch.testing.assert_close(estimate, mass(q, k, importance="exact"), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_slices_of_query_blocks_change_nothing(monkeypatch, causal):
    """Only videos of 24 thousand tokens and more need several."""
    q, k = random_qk(700)
    settings = {"causal": causal, "attn_impl": "old_mask_type", "block_n": 128}
    whole = mass(q, k, **settings)
    stage = importlib.import_module("psa_kernels.reference.estimate")
    for blocks in (1, 4):
        monkeypatch.setattr(stage, "SLICE_SCORES", blocks * 8 * 88)
        torch.testing.assert_close(mass(q, k, **settings), whole)


def test_where_extra_keys_take_all_mass_the_blocks_share_evenly():
    q, k = torch.ones(1, 1, 260, 4), torch.ones(1, 1, 260, 4)
    k[:, :, :4] = 1000.0
    got = mass(q, k, extra=(4, 0), importance="exact", block_n=128)
    assert torch.equal(got, torch.full((1, 1, 2, 2), 0.5))


@pytest.mark.parametrize("order", [None, "Gilbert"])
@pytest.mark.parametrize("second_moment", [False, True])
def test_the_estimators_top_blocks_retain_the_true_mass(order, second_moment):
    q, k, _ = inputs.make((2, 48, GRID, 0), "cpu", torch.float32)
    q = q * 2
    settings = {"scale": 48**-0.5, "grid": GRID, "rearrange_method": order, "block_n": 32}
    exact = mass(q, k, importance="exact", **settings)
    estimate = mass(q, k, second_moment=second_moment, **settings)
    count = exact.shape[-1] // 5
    retained = exact.gather(-1, estimate.topk(count).indices).sum(-1)
    assert (retained / exact.topk(count).values.sum(-1)).mean() > 0.98
