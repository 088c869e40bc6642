"""Every block on level 1 is dense attention, whatever the shape, the strides and the order."""

import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given, settings
from hypothesis import strategies as st

from psa_kernels import PSAConfig, psa_attention

DENSE = {1: (0.0, 1.0)}
ORDERS = [None, "Gilbert", "STA", "SemanticAware", "Hybrid"]
SETTINGS = settings(max_examples=60, deadline=None)


def dense(q, k, v, causal=False, scale=None):
    groups = q.shape[1] // k.shape[1]
    k, v = (x.float().repeat_interleave(groups, 1) for x in (k, v))
    return functional.scaled_dot_product_attention(q.float(), k, v, is_causal=causal, scale=scale)


def tensor(generator, batch, heads, length, dim, layout, dtype=torch.float32):
    """Random values in one of the memory layouts that hosts hand over."""
    if layout == "tokens first":  # a view of [B, L, H * D]
        x = torch.randn(batch, length, heads * dim, generator=generator, dtype=dtype)
        return x.view(batch, length, heads, dim).transpose(1, 2)
    if layout == "fused":  # a third of [B, L, 3, H, D]
        x = torch.randn(batch, length, 3, heads, dim, generator=generator, dtype=dtype)
        return x[:, :, 1].transpose(1, 2)
    if layout == "gaps":  # every second token of a longer sequence, dims reversed in memory
        x = torch.randn(batch, heads, dim, 2 * length, generator=generator, dtype=dtype)
        return x.transpose(2, 3)[:, :, ::2]
    if layout == "broadcast":  # one batch for all
        x = torch.randn(1, heads, length, dim, generator=generator, dtype=dtype)
        return x.expand(batch, -1, -1, -1)
    return torch.randn(batch, heads, length, dim, generator=generator, dtype=dtype)


layouts = st.sampled_from(["contiguous", "tokens first", "fused", "gaps", "broadcast"])


@st.composite
def calls(draw):
    grid = (draw(st.integers(1, 5)), draw(st.integers(1, 9)), draw(st.integers(1, 11)))
    extra = (draw(st.sampled_from([0, 1, 40])), draw(st.sampled_from([0, 3, 130])))
    kv_heads, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return {
        "grid": grid,
        "extra": extra,
        "batch": draw(st.integers(1, 2)),
        "kv_heads": kv_heads,
        "heads": kv_heads * groups,
        "dim": draw(st.sampled_from([1, 8, 20, 64])),
        "order": draw(st.sampled_from(ORDERS)),
        "m": draw(st.sampled_from([64, 128])),
        "n": draw(st.sampled_from([32, 64, 128])),
        "mode": draw(st.sampled_from(["topk", "thresholdbound"])),
        "second_moment": draw(st.booleans()),
        "layouts": [draw(layouts) for _ in range(3)],
        "seed": draw(st.integers(0, 1000)),
    }


@given(calls())
@SETTINGS
def test_all_level_1_is_dense(call):
    generator = torch.Generator().manual_seed(call["seed"])
    length = call["grid"][0] * call["grid"][1] * call["grid"][2] + sum(call["extra"])
    heads = (call["heads"], call["kv_heads"], call["kv_heads"])
    q, k, v = (
        tensor(generator, call["batch"], h, length, call["dim"], layout)
        for h, layout in zip(heads, call["layouts"], strict=True)
    )
    before = [x.clone() for x in (q, k, v)]
    config = PSAConfig(
        mask_ratios=DENSE, mask_mode=call["mode"], rearrange_method=call["order"],
        block_m=call["m"], block_n=call["n"], second_moment=call["second_moment"],
    )  # fmt: skip
    out, stats = psa_attention(
        q, k, v, config=config, grid=call["grid"], extra_tokens=call["extra"], return_stats=True
    )
    assert out.is_contiguous() and out.shape == q.shape
    torch.testing.assert_close(out, dense(q, k, v), atol=1e-5, rtol=1e-5)
    assert (stats.levels == 1).all() and stats.density == 1
    assert all(torch.equal(x, y) for x, y in zip(before, (q, k, v), strict=True))


@given(st.integers(1, 400), st.sampled_from([(0, 0), (1, 0), (30, 7), (0, 200)]), st.integers(1, 3))
@SETTINGS
def test_all_level_1_causal_is_dense_causal(video, extra, groups):
    generator = torch.Generator().manual_seed(video)
    length = video + sum(extra)
    q = tensor(generator, 1, 2 * groups, length, 16, "tokens first")
    k, v = (tensor(generator, 1, 2, length, 16, "contiguous") for _ in range(2))
    config = PSAConfig(mask_ratios=DENSE, attn_impl="old_mask_type", block_n=128)
    out, stats = psa_attention(
        q, k, v, config=config, causal=True, extra_tokens=extra, return_stats=True
    )
    torch.testing.assert_close(out, dense(q, k, v, causal=True), atol=1e-5, rtol=1e-5)
    assert stats.density == 1


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([None, "SemanticAware"]))
@SETTINGS
def test_all_level_1_with_other_keys_than_queries(q_len, k_len, order):
    generator = torch.Generator().manual_seed(q_len)
    q = torch.randn(2, 2, q_len, 16, generator=generator)
    k, v = (torch.randn(2, 1, k_len, 16, generator=generator) for _ in range(2))
    config = PSAConfig(mask_ratios=DENSE, rearrange_method=order)
    out = psa_attention(q, k, v, config=config)
    torch.testing.assert_close(out, dense(q, k, v), atol=1e-5, rtol=1e-5)


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


def test_the_scale_is_the_callers():
    q, k, v = (torch.randn(1, 1, 100, 8) for _ in range(3))
    out = psa_attention(q, k, v, config=PSAConfig(mask_ratios=DENSE), scale=1.7)
    torch.testing.assert_close(out, dense(q, k, v, scale=1.7), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("attn_impl", ["new_mask_type", "old_mask_type"])
def test_a_dense_config_is_dense_whatever_else_it_says(attn_impl):
    config = PSAConfig(
        type="dense", attn_impl=attn_impl, block_n=128, rearrange_method="Gilbert",
        use_sim_mask=attn_impl == "old_mask_type",
    )  # fmt: skip
    q, k, v = (torch.randn(1, 2, 300, 8) for _ in range(3))
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
