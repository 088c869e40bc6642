"""Calls whose arguments do not fit together: each is refused, and the message names what."""

import pytest
import torch

from psa_kernels import CallError, PSAAttention, PSAConfig, psa_attention

OLD = {"attn_impl": "old_mask_type", "block_n": 128}


def qkv(length=60, k_length=60, heads=2, kv_heads=2, dim=8):
    k = torch.randn(1, kv_heads, k_length, dim)
    return torch.randn(1, heads, length, dim), k, k


@pytest.mark.parametrize("order", ["Gilbert", "STA", "Hybrid"])
def test_an_order_that_reads_the_grid_needs_one(order):
    config = PSAConfig(rearrange_method=order)
    with pytest.raises(CallError, match=f"{order} needs the token grid. Fix: pass grid="):
        psa_attention(*qkv(), config=config)
    psa_attention(*qkv(), config=config.replace(use_rearrange=False))


def test_no_size_may_be_zero():
    for sizes in ({"length": 0, "k_length": 0}, {"heads": 0}, {"kv_heads": 0}, {"dim": 0}):
        with pytest.raises(CallError, match="no size may be zero"):
            psa_attention(*qkv(**sizes))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grid": 60}, "grid: found 60. Fix: give"),
        ({"grid": "abc"}, "grid: found 'abc'. Fix: give"),
        ({"grid": (4, 15)}, "grid: found (4, 15). Fix: give (frames, height, width)"),
        ({"grid": (4, 15, 0)}, "none less than 1"),
        ({"grid": (4, 15, 1.5)}, "grid: found (4, 15, 1.5)"),
        ({"grid": (4, 15, None)}, "grid: found (4, 15, None)"),
        ({"grid": (4, 4, 4)}, "has 64 tokens, but the call has 60 video tokens"),
        ({"grid": (4, 3, 5), "extra_tokens": (1, 2)}, "57 video tokens (60 minus 1 + 2 extra)"),
        ({"extra_tokens": 5}, "extra_tokens: found 5. Fix: give (before, after)"),
        ({"extra_tokens": (1,)}, "extra_tokens: found (1,)"),
        ({"extra_tokens": (-1, 0)}, "none less than 0"),
        ({"extra_tokens": (40, 21)}, "40 before and 21 after in 60 tokens"),
        ({"causal": True}, "causal: needs attn_impl='old_mask_type'"),
        ({"causal": True, "config": PSAConfig(**OLD, rearrange_method="SemanticAware")},
         "permuted tokens are not in causal order"),
    ],
)  # fmt: skip
def test_arguments(arguments, message):
    with pytest.raises(CallError) as error:
        psa_attention(*qkv(), **arguments)
    assert message in str(error.value)


@pytest.mark.parametrize("config", ["fast", {"tail": 16}], ids=str)
def test_what_is_no_configuration(config):
    for call in (lambda: psa_attention(*qkv(), config=config), lambda: PSAAttention(config)):
        with pytest.raises(CallError, match=r"config: found .*\. Fix: give a PSAConfig"):
            call()


@pytest.mark.parametrize(
    "given", [{"grid": (1, 6, 10)}, {"extra_tokens": (1, 0)}, {"causal": True}], ids=str
)
def test_what_needs_as_many_queries_as_keys(given):
    with pytest.raises(CallError, match=f"{next(iter(given))}: needs as many queries as keys"):
        psa_attention(*qkv(k_length=61), config=PSAConfig(**OLD), **given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q, k, v: (q[0], k, v), "q: found (2, 60, 8); expected a tensor"),
        (lambda q, k, v: (q, k, None), "v: found NoneType"),
        (lambda q, k, v: (q, k.int(), v), "k: found torch.int32"),
        (lambda q, k, v: (q, k, v[:, :1]), "v: found (1, 1, 60, 8); expected the shape of k"),
        (lambda q, k, v: (q, k[..., :4], v[..., :4]), "expected batch and dim of q"),
        (lambda q, k, v: (q[:, :1], k, v), "q's 1 heads must be a multiple"),
        (lambda q, k, v: (q[:, :, :0], k, v), "no size may be zero"),
        (lambda q, k, v: (q, k.half(), v), "all three must agree"),
        (lambda q, k, v: (q, k.to("meta"), v), "all three must agree"),
    ],
)
def test_tensors(change, message):
    with pytest.raises(CallError) as error:
        psa_attention(*change(*qkv()))
    assert message in str(error.value)
