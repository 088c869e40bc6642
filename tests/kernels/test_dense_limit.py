"""Every block on level 1 is dense attention, whatever the shape, the strides and the settings."""

import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given, settings
from hypothesis import strategies as st

from psa_kernels import PSAConfig, psa_attention

from .strategies import MILD, calls

DENSE = {1: (0.0, 1.0)}


def dense(q, k, v, causal=False, scale=None):
    groups = q.shape[1] // k.shape[1]
    k, v = (x.float().repeat_interleave(groups, 1) for x in (k, v))
    return functional.scaled_dot_product_attention(q.float(), k, v, is_causal=causal, scale=scale)


@pytest.mark.parametrize("only", [None, "causal", "lengths"])
@settings(max_examples=40)
@given(data=st.data())
def test_all_level_1_is_dense(only, data):
    """Whatever else the configuration says."""
    call = data.draw(calls(torch.float32, MILD, only))
    config = call.config.replace(mask_ratios=DENSE, qk="half")
    before = [x.clone() for x in (call.q, call.k, call.v)]
    out, stats = psa_attention(
        call.q, call.k, call.v, config=config, scale=call.scale, return_stats=True, **call.keywords
    )
    assert out.is_contiguous() and out.shape == call.q.shape
    wanted = dense(call.q, call.k, call.v, call.causal, call.scale)
    torch.testing.assert_close(out, wanted, atol=1e-5, rtol=1e-5)
    assert (stats.levels.abs() == 1).all() and stats.density == 1
    assert all(map(torch.equal, before, (call.q, call.k, call.v)))


@pytest.mark.parametrize("extra", [(5, 0), (100, 200), (0, 1)], ids=str)
def test_no_video_tokens_at_all(extra):
    q, k, v = (torch.randn(1, 2, sum(extra), 16) for _ in range(3))
    out, stats = psa_attention(q, k, v, extra_tokens=extra, return_stats=True)
    torch.testing.assert_close(out, dense(q, k, v), atol=1e-5, rtol=1e-5)
    assert stats.density == 1 and set(stats.per_level.values()) == {0.0}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_output_has_the_inputs_dtype_and_the_precision_of_float32(dtype):
    generator = torch.Generator().manual_seed(5)
    q, k, v = (torch.randn(1, 2, 200, 32, generator=generator).to(dtype) for _ in range(3))
    out = psa_attention(q, k, v, config=PSAConfig(mask_ratios=DENSE))
    assert out.dtype == dtype
    if dtype == torch.float64:
        exact = functional.scaled_dot_product_attention(q, k, v)
        torch.testing.assert_close(out, exact, atol=1e-13, rtol=1e-13)
    else:
        # computed in float32 and rounded once
        half_a_step = torch.finfo(dtype).eps / 2
        torch.testing.assert_close(
            out.float(), dense(q, k, v), atol=2e-6, rtol=max(1.01 * half_a_step, 1e-5)
        )


@pytest.mark.parametrize("attn_impl", ["new_mask_type", "old_mask_type"])
def test_a_dense_config_is_dense_whatever_else_it_says(attn_impl):
    config = PSAConfig(
        type="dense", attn_impl=attn_impl, block_n=128, rearrange_method="Gilbert",
        use_sim_mask=attn_impl == "old_mask_type", qk="int8", value_sums="float16", tail=64,
        second_moment=True, importance="exact",
    )  # fmt: skip
    q, k, v = (torch.randn(1, 2, 300, 64) for _ in range(3))
    out, stats = psa_attention(q, k, v, config=config, return_stats=True)
    torch.testing.assert_close(out, dense(q, k, v), atol=1e-5, rtol=1e-5)
    assert stats.density == 1


def test_equal_keys_make_every_level_exact():
    """A group of equal keys and values is its mean: pooling then costs nothing."""
    generator = torch.Generator().manual_seed(6)
    q = torch.randn(1, 1, 128, 16, generator=generator)
    k, v = (torch.randn(1, 1, 16, 16, generator=generator) for _ in range(2))
    k, v = (x.repeat_interleave(8, 2) for x in (k, v))
    for level in (2, 4, 8):
        config = PSAConfig(mask_ratios={level: (0, 1)}, second_moment=True)
        torch.testing.assert_close(
            psa_attention(q, k, v, config=config), dense(q, k, v), atol=1e-5, rtol=1e-5
        )


def test_autocast_does_not_lower_the_precision():
    q, k, v = (torch.randn(1, 1, 150, 16) for _ in range(3))
    config = PSAConfig(mask_ratios={1: (0, 0.5), 8: (0.5, 1)}, rearrange_method="SemanticAware")
    plain = psa_attention(q, k, v, config=config)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(psa_attention(q, k, v, config=config), plain)


def test_gradients_flow_and_grad_modes_agree():
    q, k, v = (torch.randn(1, 2, 150, 8, requires_grad=True) for _ in range(3))
    config = PSAConfig(mask_ratios=DENSE, rearrange_method="Gilbert")
    with torch.inference_mode():
        first = psa_attention(q, k, v, config=config, grid=(2, 15, 5))
    with torch.no_grad():
        second = psa_attention(q, k, v, config=config, grid=(2, 15, 5))
    third = psa_attention(q, k, v, config=config, grid=(2, 15, 5))
    assert torch.equal(first, second) and torch.equal(first, third)
    weights = torch.randn_like(third)
    got = torch.autograd.grad((third * weights).sum(), (q, k, v))
    wanted = torch.autograd.grad((dense(q, k, v) * weights).sum(), (q, k, v))
    for x, y in zip(got, wanted, strict=True):
        torch.testing.assert_close(x, y, atol=1e-5, rtol=1e-4)
