"""Which level a block gets: one worked case for each rule, the arithmetic beside it.

Most cases have one-dimensional tokens, every query 1 and scale 1, so that the keys of block j, all
equal to ln(w_j), make S_j = w_j / sum(w): the weights w are the importance.
"""

import math

import pytest
import torch

from psa_kernels import PSAConfig, psa_attention

both_estimators = pytest.mark.parametrize("importance", ["exact", "sub_block"])


def column(values) -> torch.Tensor:
    """[1, 1, L, 1] in float64."""
    return torch.tensor([float(x) for x in values], dtype=torch.float64)[None, None, :, None]


def levels(k, q=None, n=32, extra_tokens=(0, 0), causal=False, **config):
    q = torch.ones_like(k) if q is None else q
    old = config.get("attn_impl") == "old_mask_type"
    config = PSAConfig(block_n=n, block_m=128 if old else 64, **config)
    _, stats = psa_attention(
        q, k, torch.zeros_like(k), config=config, extra_tokens=extra_tokens, causal=causal,
        scale=1.0, return_stats=True,
    )  # fmt: skip
    return stats.levels[0, 0].tolist()


def row(weights, n=32, **config):
    """Levels of one query (so one query block) against blocks of these weights."""
    k = column(math.log(w) for w in weights for _ in range(n))
    return levels(k, q=column([1]), n=n, **config)[0]


# --- topk -------------------------------------------------------------------------------------


@both_estimators
def test_topk_ends_are_floored(importance):
    # N = 7: level 1 ends at floor(.25 * 7) = floor(1.75) = 1, level 2 at floor(.5 * 7) = 3,
    # level 8 at floor(.75 * 7) = floor(5.25) = 5
    ratios = {1: (0, 0.25), 2: (0.25, 0.5), 8: (0.5, 0.75), 0: (0.75, 1)}
    found = row([7, 6, 5, 4, 3, 2, 1], mask_ratios=ratios, importance=importance)
    assert found == [1, 2, 2, 8, 8, 0, 0]


@both_estimators
def test_topk_ends_forgive_rounding(importance):
    # In floating point .29 * 100 = 28.999999999999996 and .57 * 100 = 56.99999999999999; a plain
    # floor would end the levels one block early. With 1e-6 they end at 7, 29, 57 and 58.
    assert math.floor(0.29 * 100) == 28 and math.floor(0.57 * 100) == 56
    ratios = {1: (0, 0.07), 2: (0.07, 0.29), 4: (0.29, 0.57), 8: (0.57, 0.58), 0: (0.58, 1)}
    found = row([200 - j for j in range(100)], mask_ratios=ratios, importance=importance)
    assert found == [1] * 7 + [2] * 22 + [4] * 28 + [8] * 1 + [0] * 42


def test_topk_a_last_bound_within_the_tolerance_of_1_is_1():
    # .9999999991 * 2000 is a whole block short of 2000
    found = row([2000 - j for j in range(2000)], mask_ratios={1: (0, 0.5), 8: (0.5, 1 - 9e-10)})
    assert found == [1] * 1000 + [8] * 1000


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
    assert row([count - j for j in range(count)]) == expected


def test_topk_follows_importance_not_position():
    ratios = {1: (0, 0.25), 2: (0.25, 0.5), 4: (0.5, 0.75), 0: (0.75, 1)}
    assert row([2, 9, 1, 5], mask_ratios=ratios) == [4, 1, 0, 2]


def test_topk_level_1_gets_at_least_one_block():
    # floor(.1 * 4) = 0, raised to 1; level 2 ends at floor(.2 * 4) = 0, so it gets none
    ratios = {1: (0, 0.1), 2: (0.1, 0.2), 0: (0.2, 1)}
    assert row([1, 2, 4, 3], mask_ratios=ratios) == [0, 0, 1, 0]
    assert row([1, 2, 4, 3], mask_ratios=ratios, tail=32) == [0, 0, 1, 0]


def test_topk_empty_level_1_gets_no_block():
    # level 2 ends at floor(.5 * 4) = 2
    ratios = {1: (0, 0), 2: (0, 0.5), 0: (0.5, 1)}
    assert row([1, 2, 4, 3], mask_ratios=ratios) == [0, 0, 2, 2]


# --- thresholdbound ---------------------------------------------------------------------------


@both_estimators
def test_the_block_that_crosses_a_bound_goes_to_the_finer_level(importance):
    # S = .5, .3, .2. Before them lies E = 0, .5, .8:
    #   0 < .4 -> level 1, though this block reaches up to .5;  .4 <= .5 < .7 -> level 2, up to .8;
    #   .7 <= .8 -> level 0
    ratios = {1: (0, 0.4), 2: (0.4, 0.7), 0: (0.7, 1)}
    found = row([5, 3, 2], mask_mode="thresholdbound", mask_ratios=ratios, importance=importance)
    assert found == [1, 2, 0]


@both_estimators
def test_a_bound_that_is_reached_is_over(importance):
    # S = .5, .5 exactly. E = .5 is not below level 1's bound of .5.
    ratios = {1: (0, 0.5), 2: (0.5, 1)}
    found = row([1, 1], mask_mode="thresholdbound", mask_ratios=ratios, importance=importance)
    assert found == [1, 2]


@pytest.mark.parametrize("mode", ["thresholdbound", "topk"])
def test_a_zero_width_interval_takes_no_block(mode):
    # thresholdbound: E = 0, .5, .8; topk: ends floor(.4 * 3) = 1, 1 and 3
    ratios = {1: (0, 0.4), 2: (0.4, 0.4), 4: (0.4, 1)}
    assert row([5, 3, 2], mask_mode=mode, mask_ratios=ratios) == [1, 4, 4]


def test_no_mass_is_left_for_a_bound_to_reach():
    # all of it in the first block: E = 0, 1, 1, and level 8's bound of 1 is not above that
    ratios = {1: (0, 0), 2: (0, 0.5), 4: (0.5, 0.5), 8: (0.5, 1)}
    k = column([0] * 32 + [-1000] * 64)
    found = levels(k, q=column([1]), mask_mode="thresholdbound", mask_ratios=ratios)
    assert found == [[2, 8, 8]]


def test_levels_left_out_take_no_block():
    # E = 0, .5, .8
    ratios = {4: (0, 0.6), 0: (0.6, 1)}
    assert row([5, 3, 2], mask_mode="thresholdbound", mask_ratios=ratios) == [4, 4, 0]


# --- ties, and the row that would keep nothing --------------------------------------------------


@both_estimators
@pytest.mark.parametrize("mode", ["thresholdbound", "topk"])
def test_ties_take_the_lower_block_first(mode, importance):
    # S = .25 each, E = 0, .25, .5, .75; topk: ends at 1, 2, 3, 4
    ratios = {1: (0, 0.25), 2: (0.25, 0.5), 4: (0.5, 0.75), 8: (0.75, 1)}
    found = row([1, 1, 1, 1], mask_mode=mode, mask_ratios=ratios, importance=importance)
    assert found == [1, 2, 4, 8]


def test_a_row_that_would_keep_nothing_keeps_its_best_block():
    # level 2 ends at floor(.1 * 4) = 0; it is the finest level whose interval is not empty
    ratios = {1: (0, 0), 2: (0, 0.1), 0: (0.1, 1)}
    assert row([1, 2, 4, 3], mask_ratios=ratios) == [0, 0, 2, 0]
    # with a tail every block takes part anyway
    assert row([1, 2, 4, 3], mask_ratios=ratios, tail=32) == [0, 0, 0, 0]
    # and so do extra keys: here the first of 129 tokens is one, its row and column are the last
    k = column([0] + [math.log(w) for w in (1, 2, 4, 3) for _ in range(32)])
    found = levels(k, mask_ratios=ratios, extra_tokens=(1, 0))
    assert found == [[0, 0, 0, 0, 1]] * 2 + [[1, 1, 1, 1, 1]]


# --- importance ---------------------------------------------------------------------------

HALVES = {1: (0, 0.5), 2: (0.5, 1)}  # the better of two blocks on level 1


def tokens(vectors) -> torch.Tensor:
    return torch.tensor(vectors, dtype=torch.float64)[None, None]


def test_exact_importance_counts_a_row_by_the_mass_it_leaves_to_video():
    # Two kinds of queries, 32 each; keys: blocks A and B of 32, one extra key. Weights exp(q.k):
    #              A        B        extra     share of A       share of B
    #   q = (1,0)  32 * 3   32 * 1   384       96/512 = .1875   32/512 = .0625
    #   q = (0,1)  32 * 1   32 * 3   128       32/256 = .125    96/256 = .375
    # Mean: A .15625, B .21875: B is the better one. Without the extra key they would tie.
    log = math.log
    a, b, extra = [log(3), 0.0], [0.0, log(3)], [log(384), log(128)]
    k = tokens([a] * 32 + [b] * 32 + [extra])
    q = tokens([[1.0, 0.0]] * 32 + [[0.0, 1.0]] * 32 + [[0.0, 0.0]])
    found = levels(k, q=q, mask_ratios=HALVES, importance="exact", extra_tokens=(0, 1))
    assert found[0] == [2, 1, 1]
    # the estimator looks at video keys alone: A and B tie at .5
    found = levels(k, q=q, mask_ratios=HALVES, importance="sub_block", extra_tokens=(0, 1))
    assert found[0] == [1, 2, 1]


def test_sub_blocks_count_by_their_tokens():
    # 20 queries are a sub-block of 16 and one of 4.  A: 7 : 3 in the first, 1 : 9 in the second.
    # A = (16 * .7 + 4 * .1) / 20 = .58; counted equally it would be .4.
    log = math.log
    k = tokens([[log(7), log(1)]] * 32 + [[log(3), log(9)]] * 32)
    q = tokens([[1.0, 0.0]] * 16 + [[0.0, 1.0]] * 4)
    assert levels(k, q=q, mask_ratios=HALVES) == [[1, 2]]


def test_the_estimator_sees_means():
    # Block A: keys 3 and -3 in turn, mean 0; block B: all keys .5. Exact: A weighs cosh(3) = 10.07,
    # B exp(.5) = 1.65. By means of 8: A weighs 1, so B leads.
    # With the second moment A gains min(.5 * 9, ln 8), a factor of 8: A weighs 8.
    k = column([3, -3] * 16 + [0.5] * 32)
    q = column([1])
    assert levels(k, q=q, mask_ratios=HALVES, importance="exact") == [[1, 2]]
    assert levels(k, q=q, mask_ratios=HALVES) == [[2, 1]]
    assert levels(k, q=q, mask_ratios=HALVES, second_moment=True) == [[1, 2]]


# --- similarity ---------------------------------------------------------------------------

E1, E2, NOUGHT = [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]
OLD = {"n": 128, "attn_impl": "old_mask_type"}


def capped(keys, thresholds, ratios=None, **more):
    x2, x4, x8 = thresholds
    found = levels(
        tokens(keys), q=tokens([E1]), **OLD, use_sim_mask=True, mask_ratios=ratios or {8: (0, 1)},
        sim_2x_threshold=x2, sim_4x_threshold=x4, sim_8x_threshold=x8, **more,
    )  # fmt: skip
    return found[0]


def test_similarity_lowers_a_kept_level():
    # pairs: cos 1; fours and eights: first E1, last E2, cos 0
    assert capped([E1, E1, E2, E2] * 32, (0.7, 0.65, 0.6)) == [2]
    # nothing alike: E1 and E2 in every pair
    assert capped([E1, E2] * 64, (0.7, 0.65, 0.6)) == [1]
    # the same with thresholds that let cos 0 pass
    assert capped([E1, E2] * 64, (-0.1, -0.1, 0.6)) == [4]


def test_the_largest_similar_group_decides():
    # pairs: 1; fours: E1..E2 and E2..E1, 0; eights: E1..E1, 1: level 8 although 4 alone would fail
    assert capped([E1, E1, E2, E2, E2, E2, E1, E1] * 16, (0.7, 0.65, 0.6)) == [8]


def test_similarity_is_the_mean_over_groups():
    # every second pair has cos 1, the others 0: mean .5; fours and eights: first E1, last E2: 0
    keys = [E1, E1, E1, E2] * 32
    assert capped(keys, (0.49, 0.6, 0.6)) == [2]
    assert capped(keys, (0.5, 0.6, 0.6)) == [1]  # not above the threshold


def test_similarity_of_single_tokens_and_of_zero_vectors():
    assert capped([E2], (0.9, 0.9, 0.9)) == [8]  # one token: cos 1
    # a pair with cos 0 and a single token with cos 1: mean .5; fours and eights: E1..E1, cos 1
    assert capped([E1, E2, E1], (0.6, 0.9, 0.9)) == [8]
    assert capped([E1, E2, E1], (0.4, 1.0, 1.0)) == [2]
    # fours and eights end at the last real key: E1..E2
    assert capped([E1, E1, E2], (0.9, 0.9, 0.9)) == [2]
    assert capped([NOUGHT] * 128, (-0.5, 0.0, 0.0)) == [2]  # cos 0 is above -.5, not above 0


def test_similarity_leaves_finer_levels_and_skipped_blocks():
    # three blocks, q = E1: the first is best, then the mixed one (weights e, (e + 1) / 2, 1)
    keys = [E1] * 128 + [E1, E2] * 64 + [E2] * 128
    halves = {4: (0, 0.7), 0: (0.7, 1)}  # floor(.7 * 3) = 2 blocks on level 4
    assert capped(keys, (0.5, 0.5, 0.5), halves) == [4, 1, 0]
    assert capped(keys, (0.5, 0.5, 0.5), halves, tail=32) == [4, 1, 0]
    ratios = {1: (0, 0.4), 2: (0.4, 0.7), 8: (0.7, 1)}  # ends at 1, 2, 3
    assert capped(keys, (-0.5, -0.5, -0.5), ratios) == [1, 2, 8]


# --- causal, extra blocks -----------------------------------------------------------------


def test_causal_diagonal():
    # blocks of 128, 128 and 44 tokens; only blocks wholly before may leave level 1
    found = levels(column([0] * 300), **OLD, causal=True, mask_ratios={8: (0, 1)})
    assert found == [[1, -1, -1], [8, 1, -1], [8, 8, 1]]


def test_causal_shares_count_the_blocks_before_alone():
    # Row i chooses among i blocks, weights 1, 3, 2, 4, and level 4 ends at floor(.5 * i): 0, 0, 1,
    # 1, 2. The diagonal is kept anyway, so no row has to be given a block.
    k = column(math.log(w) for w in (1, 3, 2, 4, 1) for _ in range(128))
    found = levels(k, **OLD, causal=True, mask_ratios={4: (0, 0.5), 0: (0.5, 1)})
    assert found == [
        [1, -1, -1, -1, -1],
        [0, 1, -1, -1, -1],
        [0, 4, 1, -1, -1],
        [0, 4, 0, 1, -1],
        [0, 4, 0, 4, 1],
    ]
    # level 1 gets one of the blocks before at least: a quarter of them would be 0, 0, 0 and 1
    found = levels(k, **OLD, causal=True, mask_ratios={1: (0, 0.25), 0: (0.25, 1)})
    assert found == [
        [1, -1, -1, -1, -1],
        [1, 1, -1, -1, -1],
        [0, 1, 1, -1, -1],
        [0, 1, 0, 1, -1],
        [0, 0, 0, 1, 1],
    ]


def test_causal_last_block_of_one_token_reads_itself():
    found = levels(column([0] * 129), **OLD, causal=True, mask_ratios={8: (0, 0.4), 0: (0.4, 1)})
    assert found == [[1, -1], [0, 1]]
    ratios = {8: (0, 0), 0: (0, 1)}
    with_tail = levels(column([0] * 129), **OLD, causal=True, mask_ratios=ratios, tail=128)
    assert with_tail == [[1, -1], [0, 1]]


def test_extra_tokens_share_blocks_of_their_own():
    # 40 + 100 extra tokens: ceil(140 / 64) = 3 query blocks, ceil(140 / 32) = 5 key blocks;
    # 70 video tokens: 2 query blocks, 3 key blocks
    found = levels(column([0] * 210), mask_ratios={8: (0, 1)}, extra_tokens=(40, 100))
    assert found == [[8] * 3 + [1] * 5] * 2 + [[1] * 8] * 3
