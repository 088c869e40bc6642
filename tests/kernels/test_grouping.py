"""Which keys of a block are pooled together with `grouping: similar` (section 3b)."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from psa_kernels import OrderState, PSAConfig, reference
from psa_kernels.layout import Layout
from psa_kernels.reference.grouping import bisected

from . import grouping
from .strategies import EXTRAS, fill

torch.set_num_threads(1)


# --- the bisection ------------------------------------------------------------------------------


def order_of(values, finest=2):
    """How one block of tokens with these features is put in order."""
    x = torch.tensor(values, dtype=torch.float32)
    return bisected(x[None] if x.dim() == 2 else x[None, :, None], finest)[0].tolist()


def test_a_line_by_hand():
    #         0  1   2   3  4   5  6   7
    values = [3, 20, 10, 0, 11, 2, 12, 1]
    # Mean 7.4: the farthest is 20, so small values lie left: 0 1 2 3 | 10 11 12 20.
    # Left, mean 1.5: 0 and 3 are equally far, the first of them is 0, so large values lie left.
    # Right, mean 13.25: the farthest is 20.
    assert [values[i] for i in order_of(values)] == [3, 2, 1, 0, 10, 11, 12, 20]


def test_the_farthest_member_says_which_side_is_left():
    values = [9, 1, 8, 7]  # mean 6.25, farthest 1: what is like it lies right
    assert order_of(values) == [0, 2, 3, 1]


def test_of_two_equally_far_the_first_says_it():
    assert order_of([0, 1, 2, 3]) == [3, 2, 1, 0]
    assert order_of([3, 2, 1, 0]) == [3, 2, 1, 0]


def test_sets_of_two_stay_as_the_cut_before_left_them():
    assert order_of([5, 1]) == [0, 1]
    assert order_of([1, 5]) == [0, 1]
    # cut once, farthest 100: 1 2 | 50 100 by projection
    assert order_of([100, 2, 1, 50]) == [2, 1, 3, 0]


def test_sets_as_small_as_the_smallest_group_stay_as_the_cut_before_left_them():
    values = [3, 20, 10, 0, 11, 2, 12, 1]
    # as above, without the second cuts: small values lie left, in order of their projection
    assert [values[i] for i in order_of(values, 4)] == [0, 1, 2, 3, 10, 11, 12, 20]
    assert order_of(values, 8) == list(range(8))


def test_ties_keep_their_places():
    # two kinds in turns: 0 is the first of the farthest, so the other kind lies left
    assert order_of([0, 5, 0, 5, 0, 5, 0, 5]) == [1, 3, 5, 7, 0, 2, 4, 6]


@pytest.mark.parametrize("n", [32, 64, 128])
def test_a_set_without_spread_keeps_its_order(n):
    assert order_of([[2.5, -1.0]] * n) == list(range(n))
    # halves without spread, after a cut
    halves = order_of([[0.0]] * (n // 2) + [[1.0]] * (n // 2))
    assert halves == [*range(n // 2, n), *range(n // 2)]


def test_the_cut_is_across_the_widest_direction():
    # wide along the second channel, whatever the first says
    values = [[0, 40], [1, -40], [1, 41], [0, -41], [0, 42], [1, -42], [1, 43], [0, -43]]
    order = order_of(values)
    assert {tuple(sorted(order[:4])), tuple(sorted(order[4:]))} == {(0, 2, 4, 6), (1, 3, 5, 7)}


# the size of the smallest group that is read -> settings
ONLY_FULL = {"mask_ratios": {1: (0, 0.5), 0: (0.5, 1)}}
FINEST = {
    2: {"mask_ratios": {1: (0, 0.2), 2: (0.2, 0.4), 8: (0.4, 1)}},
    4: {"mask_ratios": {1: (0, 0.2), 4: (0.2, 0.4), 0: (0.4, 1)}},
    8: {**ONLY_FULL, "tail": 32},  # the estimator's
    16: {**ONLY_FULL, "tail": 16, "importance": "exact"},
    32: {**ONLY_FULL, "tail": 32, "importance": "exact"},
}


# --- what tokens are compared by ----------------------------------------------------------------


def group(q, k, v, n=32, extra=(0, 0), **keywords):
    config = PSAConfig(block_n=n, tile_n=16, grouping="similar", **keywords.pop("settings", {}))
    layout = Layout.of(q, k, v, config, extra_tokens=extra, **keywords)
    orders = reference.reorder(q, k, layout, config, OrderState())
    return reference.group_keys(q, k, v, orders, layout, config), orders


def normal(*shapes, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]


@st.composite
def inputs(draw):
    """(q, k, v, block size, extra tokens, settings and grid) without ties."""
    heads, kv_heads = draw(st.sampled_from([(1, 1), (2, 2), (2, 1), (4, 2), (3, 1)]))
    n, extra = draw(st.sampled_from([32, 64, 128])), draw(st.sampled_from(EXTRAS))
    grid = draw(st.sampled_from([(1, 1, 1), (3, 5, 7), (2, 8, 8), (4, 7, 11), (6, 8, 10)]))
    order = draw(st.sampled_from([None, "Gilbert", "STA", "SemanticAware", "Hybrid"]))
    finest = draw(st.sampled_from(sorted(FINEST)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    length = grid[0] * grid[1] * grid[2] + sum(extra)
    batch, dim = draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 4, 6, 32]))
    content = draw(st.sampled_from(["normal", "smooth", "peaked"]))
    values = fill(rng, content, batch, heads, kv_heads, length, length, dim)
    q, k, v = map(torch.from_numpy, values)
    return q, k, v, n, extra, finest, {"grid": grid, "settings": {"rearrange_method": order}}


@settings(max_examples=60, deadline=None)
@given(inputs())
def test_places_are_those_that_the_section_says(drawn):
    q, k, v, n, extra, finest, keywords = drawn
    keywords["settings"] |= FINEST[finest]
    found, orders = group(q, k, v, n, extra, **keywords)
    batch, heads, length, dim = k.shape
    video = length - sum(extra)
    assert found.places.shape == (batch, heads, video // n * n)
    assert found.places.dtype == torch.uint8
    every = torch.arange(n, dtype=torch.uint8)
    assert (found.places.unflatten(2, (-1, n)).sort(-1).values == every).all()
    assert found.weights.shape == (batch, heads, dim)
    torch.testing.assert_close(found.weights.mean(-1), found.weights.new_ones(batch, heads))

    order = torch.arange(video) if orders.k is None else orders.k
    order = order.expand(batch, heads, -1).tolist()
    assert found.places.tolist() == grouping.places(q, k, v, n, order, extra, finest)


def test_finer_cuts_change_no_larger_group():
    """Tokens of a group of 8 are the same, wherever the cuts end."""
    inputs = normal(*[(1, 2, 256, 16)] * 3)
    for n in (32, 128):
        fine, coarse = (group(*inputs, n, settings=FINEST[x])[0].places for x in (2, 8))
        fine, coarse = (x.unflatten(2, (-1, 8)) for x in (fine, coarse))
        assert not torch.equal(fine, coarse)
        assert torch.equal(fine.sort(-1).values, coarse.sort(-1).values)


@pytest.mark.parametrize("told_by", ["keys", "values"])
def test_tokens_alike_come_together(told_by):
    """Two kinds of tokens, scattered over the block, are not mixed in a group."""
    kinds = torch.arange(64) * 7 % 4 // 2
    q, k, v = normal(*[(1, 1, 64, 4)] * 3)
    (k if told_by == "keys" else v)[..., 1] += 30 * kinds
    grouped = kinds[group(q, k, v, 64)[0].places[0, 0].long()].unflatten(0, (2, 32))
    assert (grouped == grouped[:, :1]).all()


def test_weights_by_hand():
    q = torch.zeros(1, 4, 32, 2)
    # two heads share a key head; mean squares 4 and 1, then 0 and 9
    q[0, 0, :, 0], q[0, 1, :16, 0], q[0, 1, :, 1] = 2, 8**0.5, 2**0.5
    q[0, 2:, :, 1] = 3
    k, v = normal((1, 2, 32, 2), (1, 2, 32, 2), dtype=torch.float32)
    weights = group(q, k, v)[0].weights
    torch.testing.assert_close(weights, torch.tensor([[[1.6, 0.4], [0.0, 2.0]]]))
    assert weights.dtype == torch.float32


def test_nothing_to_group():
    q, k, v = normal(*[(1, 1, 40, 8)] * 3)
    assert group(q[:, :, :31], k[:, :, :31], v[:, :, :31])[0].places.shape == (1, 1, 0)
    found = group(q, k, v, 32, (30, 10))[0]  # no video at all
    assert found.places.shape == (1, 1, 0)
    assert torch.equal(found.weights, torch.ones_like(found.weights))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("spoil", [float("nan"), float("inf"), 1e4])
def test_whatever_the_numbers_each_block_keeps_its_tokens(dtype, spoil):
    q, k, v = normal(*[(1, 2, 96, 8)] * 3, dtype=dtype)
    for x in (q, k, v):
        x[:, 0, 5] = spoil
        places = group(q, k, v)[0].places.unflatten(2, (-1, 32))
        assert (places.sort(-1).values == torch.arange(32)).all()
