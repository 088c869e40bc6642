"""Levels from a given importance, worked by hand (sections 6, 8 and 9)."""

import pytest
import torch

from psa_kernels import PSAConfig
from psa_kernels.layout import Layout
from psa_kernels.reference import assign_levels, build_pyramid
from psa_kernels.reference.pyramid import coarsest_alike
from psa_kernels.stages import Orders


def levels(rows, *, extra=(0, 0), causal=False, keys=None, **settings):
    """Level matrix of one head for S with the given rows, block sizes 128."""
    mass = torch.tensor(rows, dtype=torch.float32)
    tokens = 128 * mass.shape[1] + sum(extra)
    config = PSAConfig(attn_impl="old_mask_type", block_n=128, **settings)
    k = torch.zeros(1, 1, tokens, 4) if keys is None else keys
    q = k[:, :, : 128 * mass.shape[0]] if not (causal or sum(extra)) else k
    layout = Layout.of(q, k, k, config, extra_tokens=extra, causal=causal)
    pyramid = build_pyramid(k, k, Orders(), layout, config)
    plan = assign_levels(mass[None, None], pyramid, layout, config)
    return plan.levels()[0, 0].tolist()


BOUNDS = {1: (0, 0.5), 2: (0.5, 0.6), 4: (0.6, 0.6), 8: (0.6, 0.9), 0: (0.9, 1)}


def bound(row, ratios=BOUNDS, **more):
    return levels([row], mask_mode="thresholdbound", mask_ratios=ratios, **more)[0]


def test_thresholdbound_the_block_that_crosses_a_bound_is_finer():
    # mass before each block, largest first: 0, .4, .7, .9, .95
    assert bound([0.05, 0.4, 0.05, 0.3, 0.2]) == [0, 1, 0, 1, 8]


def test_thresholdbound_mass_before_exactly_on_a_bound_is_past_it():
    assert bound([0.5, 0.25, 0.25]) == [1, 2, 8]


def test_thresholdbound_a_zero_width_interval_takes_none():
    ratios = {1: (0, 0), 2: (0, 0.5), 4: (0.5, 0.5), 8: (0.5, 1), 0: (1, 1)}
    assert bound([0.5, 0.25, 0.25], ratios) == [2, 8, 8]
    # all mass in the first block: the others have no bound above the mass before them
    assert bound([1.0, 0.0, 0.0], ratios) == [2, 8, 8]


def test_ties_go_to_the_lower_block():
    assert bound([0.2, 0.2, 0.2, 0.2, 0.2]) == [1, 1, 1, 8, 8]
    assert levels([[0.25] * 4], mask_ratios={1: (0, 0.25), 4: (0.25, 0.5), 0: (0.5, 1)}) == [
        [1, 4, 0, 0]
    ]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, [1]),
        (3, [1, 0, 0]),  # ends .3, .45, .45, 1.05: level 1 gets its one block
        (10, [1, 8, 8, 0, 0, 0, 0, 0, 0, 0]),  # ends 1, 1, 1, 3
        (20, [1] * 2 + [2] + [8] * 4 + [0] * 13),  # ends 2, 3, 3, 7
    ],
)
def test_topk_default_quotas(count, expected):
    falling = [float(count - i) for i in range(count)]
    assert levels([falling]) == [expected]
    assert levels([falling[::-1]]) == [expected[::-1]]


def test_topk_a_bound_that_floating_point_just_misses_still_counts():
    # 0.29 * 100 is 28.999999999999996 in floating point
    row = [float(100 - i) for i in range(100)]
    got = levels([row], mask_ratios={1: (0, 0.29), 0: (0.29, 1)})[0]
    assert got == [1] * 29 + [0] * 71


def test_topk_a_last_bound_within_the_tolerance_of_1_is_1():
    # 0.9999999991 * 2000 is a whole block short of 2000
    row = [float(2000 - i) for i in range(2000)]
    got = levels([row], mask_ratios={1: (0, 0.5), 8: (0.5, 1 - 9e-10)})[0]
    assert got == [1] * 1000 + [8] * 1000


def test_a_row_that_would_keep_nothing_keeps_its_most_important_block():
    few = {2: (0, 0), 4: (0, 0.1), 8: (0.1, 0.15), 0: (0.15, 1)}
    row = [0.1, 0.2, 0.4, 0.3]
    assert levels([row], mask_ratios=few) == [[0, 0, 4, 0]]
    # extra keys or a tail are keys enough
    with_extra = levels([row] * 4, mask_ratios=few, extra=(3, 0))
    assert with_extra == [[0, 0, 0, 0, 1]] * 4 + [[1] * 5]
    assert levels([row], mask_ratios=few, tail=128) == [[0, 0, 0, 0]]


def test_causal_levels_rank_only_the_blocks_wholly_before():
    ratios = {1: (0, 0.25), 8: (0.25, 0.5), 0: (0.5, 1)}
    rows = [[9, 9, 9, 9], [1, 9, 9, 9], [1, 2, 9, 9], [3, 1, 2, 9]]
    assert levels(rows, causal=True, mask_ratios=ratios) == [
        [1, -1, -1, -1],
        [1, 1, -1, -1],  # one block before: level 1 gets at least one
        [0, 1, 1, -1],  # of two: ends .5 -> 1, 1
        [1, 0, 0, 1],  # of three: ends .75 -> 1, 1.5 -> 1
    ]


def test_causal_a_last_block_of_one_token_keeps_its_own_key():
    x = torch.zeros(1, 1, 129, 4)
    config = PSAConfig(attn_impl="old_mask_type", block_n=128, mask_ratios={8: (0, 0), 0: (0, 1)},
                       tail=128)  # fmt: skip
    layout = Layout.of(x, x, x, config, causal=True)
    pyramid = build_pyramid(x, x, Orders(), layout, config)
    plan = assign_levels(torch.tensor([[[[0.0, 0.0], [1.0, 0.0]]]]), pyramid, layout, config)
    assert plan.levels()[0, 0].tolist() == [[1, -1], [0, 1]]


# --- the similarity constraint ---------------------------------------------------------------


def test_coarsest_alike_by_hand():
    e = torch.eye(4)
    # cosines of first and last key, per block of 8 keys
    same = e[0].repeat(8, 1)
    pairs = torch.stack((e[0], e[0], e[1], e[1], e[2], e[2], e[3], e[3]))  # 2: 1, 4: 0, 8: 0
    loop = torch.stack((e[0], e[1], e[2], e[0], e[0], e[1], e[2], e[0]))  # 2: 0, 4: 1, 8: 1
    zeros = torch.zeros(8, 4)
    keys = torch.cat((same, pairs, loop, zeros))
    every = {2: 0.5, 4: 0.5, 8: 0.5}
    assert coarsest_alike(keys, 8, every).tolist() == [8, 2, 8, 1]
    # the largest level above its threshold counts, whatever the finer ones say
    assert coarsest_alike(keys, 8, {2: -1.0, 4: -1.0, 8: 0.5}).tolist() == [8, 4, 8, 4]
    # "above": a cosine equal to its threshold is not enough
    assert coarsest_alike(keys, 8, {2: 1.0, 4: 1.0, 8: 1.0}).tolist() == [1, 1, 1, 1]


def test_short_groups_compare_their_last_real_key():
    e = torch.eye(4)
    keys = torch.stack((e[0], e[0], e[0], e[0], e[1]))
    # groups of 2: cosines 1, 1 and (one token) 1; of 4: 1 and 1; of 8: first against fifth, 0
    assert coarsest_alike(keys, 8, {2: 0.9, 4: 0.9, 8: 0.1}).tolist() == [4]
    # a group of one zero key still counts 1
    assert coarsest_alike(torch.zeros(1, 4), 8, {2: 0.9, 4: 0.9, 8: 0.9}).tolist() == [8]


def test_the_constraint_makes_kept_blocks_finer_and_leaves_skipped_ones():
    generator = torch.Generator().manual_seed(0)
    alike = torch.randn(1, 1, 1, 4, generator=generator).expand(1, 1, 128, 4)
    mixed = torch.randn(1, 1, 128, 4, generator=generator)
    keys = torch.cat((alike, mixed, alike, mixed), 2)
    row = [[0.1, 0.4, 0.3, 0.2]]
    ratios = {8: (0, 0.75), 0: (0.75, 1)}
    thresholds = {f"sim_{x}x_threshold": 0.9 for x in (2, 4, 8)}
    got = levels(row, keys=keys, mask_ratios=ratios, use_sim_mask=True, **thresholds)
    assert got == [[0, 1, 8, 1]]
    with_tail = levels(row, keys=keys, mask_ratios=ratios, use_sim_mask=True, tail=32, **thresholds)
    assert with_tail == got
