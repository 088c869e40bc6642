"""psa_attention against the literal oracle, over random calls of every kind."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st

from psa_kernels import OrderState, PSAConfig, psa_attention, reference
from psa_kernels.layout import Layout

from . import oracle
from .strategies import MILD, calls
from .token_blocks import sta_order

torch.set_num_threads(1)


def exact(call):
    """The same call without int8 products, which round values of float32 either way."""
    return dataclasses.replace(call, config=call.config.replace(qk="half"))


def stages(call):
    """(layout, orders, groups) that the reference makes for a call."""
    q, k, v = call.q, call.k, call.v
    layout = Layout.of(q, k, v, call.config, **call.keywords)
    orders = reference.reorder(q, k, layout, call.config, OrderState())
    groups = None
    if call.config.grouping == "similar":
        groups = reference.group_keys(q, k, v, orders, layout, call.config)
    return layout, orders, groups


def orders(call):
    """The orders that the call uses, as the oracle wants them: [b][head] -> list, or None."""
    _, found, groups = stages(call)
    batch, heads = call.q.shape[:2]
    given = (("q_order", found.q, heads), ("k_order", found.k, call.k.shape[1]))
    return {
        "places": None if groups is None else groups.places.tolist(),
        **{
            name: None if x is None else x.expand(batch, count, -1).tolist()
            for name, x, count in given
        },
    }


def run(call):
    before = [x.clone() for x in (call.q, call.k, call.v)]
    out, stats = psa_attention(
        call.q, call.k, call.v,
        config=call.config, scale=call.scale, return_stats=True, **call.keywords,
    )  # fmt: skip
    assert out.shape == call.q.shape and out.dtype == call.q.dtype
    assert stats.levels.dtype == torch.int8
    assert all(map(torch.equal, before, (call.q, call.k, call.v))), "the inputs were written to"
    return out.to(torch.float64).numpy(), stats


def importance(call):
    """S, as the reference estimates it."""
    layout, found, groups = stages(call)
    pyramid = reference.build_pyramid(call.k, call.v, found, layout, call.config, groups)
    scale = layout.head_dim**-0.5 if call.scale is None else call.scale
    return reference.importance(call.q, pyramid, found, layout, call.config, scale).numpy()


def ask(call, levels=None):
    return oracle.answer(
        *call.numpy, call.config, **orders(call), extra=call.extra, causal=call.causal,
        scale=call.scale, levels=levels,
    )  # fmt: skip


def assert_same_numbers(stats, expected):
    assert stats.density == pytest.approx(expected.density, rel=1e-12)
    assert dict(stats.per_level) == pytest.approx(expected.per_level, rel=1e-12)


def check(call):
    """Everything, exactly. Where rounding may decide a level, the oracle obeys the code's."""
    out, stats = run(call)
    levels = stats.levels.numpy()
    expected = ask(call)
    event(f"a decision hangs on rounding: {expected.fragile}")
    assert levels.shape == expected.levels.shape
    np.testing.assert_allclose(importance(call), expected.importance, rtol=1e-9, atol=1e-9)
    if expected.fragile:
        video = expected.levels >= 0
        assert np.array_equal(levels >= 0, video)
        expected = ask(call, levels)
    np.testing.assert_array_equal(levels, expected.levels)
    # two means that cancel lie a half step of int8 apart: either way of rounding is right
    near = 0.05 if expected.tied else 1e-9
    np.testing.assert_allclose(out, expected.out, rtol=near, atol=near)
    assert_same_numbers(stats, expected)


@settings(max_examples=150, deadline=None)
@given(calls())
def test_any_call(call):
    check(call)


USUAL = ("normal", "smooth", "peaked")


@settings(max_examples=80, deadline=None)
@given(calls(contents=USUAL, only="causal"))
def test_causal_calls(call):
    check(call)


@settings(max_examples=80, deadline=None)
@given(calls(contents=USUAL, only="similarity"))
def test_similarity_calls(call):
    check(call)


@settings(max_examples=50, deadline=None)
@given(calls(contents=USUAL, only="similar"))
def test_calls_with_like_keys_together(call):
    check(call)


@settings(max_examples=60, deadline=None)
@given(calls(contents=USUAL, only="lengths"))
def test_more_or_fewer_queries_than_keys(call):
    check(call)


@settings(max_examples=80, deadline=None)
@given(calls(dtype=torch.float32, contents=MILD))
def test_float32(call):
    call = exact(call)
    out, stats = run(call)
    expected = ask(call, stats.levels.numpy())
    np.testing.assert_allclose(out, expected.out, rtol=1e-5, atol=1e-5)
    assert_same_numbers(stats, expected)


@settings(max_examples=30, deadline=None)
@given(calls(dtype=torch.bfloat16, contents=USUAL) | calls(dtype=torch.float16, contents=USUAL))
def test_half_precision(call):
    out, stats = run(call)
    expected = ask(call, stats.levels.numpy())
    np.testing.assert_allclose(out, expected.out, rtol=2e-2, atol=2e-2)
    assert_same_numbers(stats, expected)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from([torch.float32, torch.float16, torch.bfloat16]).flatmap(calls))
def test_whatever_the_input_the_output_is_finite_and_repeats_bit_for_bit(call):
    out, stats = run(call)
    again, stats_again = run(call)
    assert np.isfinite(out).all()
    assert np.array_equal(out, again)
    assert torch.equal(stats.levels, stats_again.levels)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.integers(1, 9)] * 3),
    st.tuples(*[st.integers(1, 5)] * 3),
    st.tuples(st.sampled_from([0, 3]), st.sampled_from([0, 2])),
)
def test_sta_order_is_the_literal_one(grid, tile, extra):
    length = int(np.prod(grid)) + sum(extra)
    x = torch.zeros(1, 1, length, 4)
    config = PSAConfig(rearrange_method="STA", tile_size=tile)
    layout = Layout.of(x, x, x, config, grid=grid, extra_tokens=extra)
    found = reference.reorder(x, x, layout, config, OrderState())
    order = sta_order(grid, tile)
    assert sorted(order) == list(range(len(order)))
    assert found.q.flatten().tolist() == found.k.flatten().tolist() == order
