"""int8 products of queries and keys (section 6d): what they cost in accuracy."""

import math

import pytest
import torch

from psa_kernels import PSAConfig, psa_attention
from psa_pack.benchmarks import inputs

GRID = (6, 24, 32)
DENSE = {"block_n": 128, "use_rearrange": False, "mask_ratios": {1: (0, 1)}}
SPARSE = {
    "block_n": 128, "tail": 64, "second_moment": True, "use_rearrange": False,
    "mask_ratios": {1: (0, 0.11), 8: (0.11, 0.44), 0: (0.44, 1)},
}  # fmt: skip
QK = ("half", "int8")


@pytest.fixture(scope="module")
def made():
    """q, k and v of one head of 128 channels; float32: nothing else is rounded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(inputs.SHAPES, "small", (1, 128, GRID, 0))
        return inputs.make("small", device="cpu", dtype=torch.float32)


@pytest.mark.parametrize("profile", inputs.PROFILES)
def test_what_int8_adds_is_below_the_stated_bound_on_every_profile(made, profile):
    """In quadrature: the root of the difference of the squared errors against float32 dense.

    Where the error of the levels is thirty times as large, that figure is their correlation as
    much as int8's own error; so with every pair on level 1, and as a distance between the two.
    """
    q, k, v = made
    q = q * inputs.gain_for(q, k, profile)
    dense = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    for settings in (DENSE, SPARSE):
        half, int8 = (psa_attention(q, k, v, config=PSAConfig(**settings, qk=x)) for x in QK)
        before, after = (inputs.relative(x, dense) for x in (half, int8))
        assert math.sqrt(max(0.0, after**2 - before**2)) <= 0.008
        # int8 is there, and its own error is what rounding alone makes of these logits
        assert 0.0005 <= inputs.relative(int8, half) <= 0.004


@pytest.mark.parametrize("settings", [DENSE, SPARSE], ids=["dense", "sparse"])
def test_what_all_keys_have_in_common_costs_nothing_and_values_may_be_large(settings):
    rng = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, 700, 32, generator=rng, dtype=torch.float64)
    common = 50 * torch.randn(1, 2, 1, 32, generator=rng, dtype=torch.float64)
    config = PSAConfig(**settings, qk="int8")
    found, moved = (psa_attention(q, x, 1e4 * v, config=config) for x in (k, k + common))
    assert inputs.relative(moved, found) < 1e-6
    exact = psa_attention(q, k, 1e4 * v, config=config.replace(qk="half"))
    assert 1e-4 < inputs.relative(found, exact) < 0.02


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dim", [64, 128, 256])
def test_queries_whose_channels_lie_apart_become_the_same_bytes(dim, dtype):
    """A thread then holds one channel of a query, and stores byte by byte."""
    q, k, v = torch.randn(3, 1, 2, 600, dim, device="cuda", dtype=dtype)
    apart = q.transpose(2, 3).contiguous().transpose(2, 3)
    config = PSAConfig(qk="int8", block_n=128, tail="none", mask_ratios={1: (0, 0.5), 2: (0.5, 1)})
    found, wanted = (psa_attention(x, k, v, config=config, return_stats=True) for x in (apart, q))
    assert not found[1].reason, found[1].reason
    assert torch.equal(found[0], wanted[0])
    half = psa_attention(q, k, v, config=config.replace(qk="half"))
    assert inputs.relative(found[0], half) < 0.03
