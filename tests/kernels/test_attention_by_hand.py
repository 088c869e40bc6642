"""What comes out: one worked case for each rule of the softmax, the arithmetic beside it.

One-dimensional tokens, queries 1 and scale 1 unless noted: a key ln(w) weighs w.
"""

import math

import pytest
import torch

from psa_kernels import PSAConfig, psa_attention

LN2, LN3 = math.log(2), math.log(3)


def column(values) -> torch.Tensor:
    return torch.tensor([float(x) for x in values], dtype=torch.float64)[None, None, :, None]


def attend(keys, values, q=None, extra_tokens=(0, 0), causal=False, **config):
    """(outputs of the queries, stats)"""
    k = keys if isinstance(keys, torch.Tensor) else column(keys)
    v = column(values).expand(-1, -1, -1, k.shape[3])
    q = torch.ones_like(k) if q is None else q
    config = PSAConfig(**{"block_m": 64, "block_n": 32, **config})
    out, stats = psa_attention(
        q, k, v, config=config, extra_tokens=extra_tokens, causal=causal, scale=1.0,
        return_stats=True,
    )  # fmt: skip
    return out[0, 0, :, 0].tolist(), stats


def close(x):
    return pytest.approx(x, rel=1e-12)


def test_a_short_last_group_weighs_its_own_count():
    # 11 keys on level 8: a group of 8 with weight 8 * 1 and a group of 3 with weight 3 * 4.
    # (8 * 10 + 12 * 21) / 20 = 332 / 20 = 16.6
    out, stats = attend([0] * 8 + [math.log(4)] * 3, [10] * 8 + [21] * 3, mask_ratios={8: (0, 1)})
    assert out == close([16.6] * 11)
    assert stats.density == close(2 / 11)  # 2 keys for 11
    assert stats.per_level == {1: 0, 2: 0, 4: 0, 8: 1, 0: 0}


def test_a_group_is_its_mean_key_and_mean_value():
    # level 2: keys (0, 2 ln 3) -> ln 3, values (1, 5) -> 3, weight 2 * 3 = 6;
    # keys (0, 0) -> 0, values (10, 20) -> 15, weight 2.   (6 * 3 + 2 * 15) / 8 = 6
    out, _ = attend([0, 2 * LN3, 0, 0], [1, 5, 10, 20], mask_ratios={2: (0, 1)})
    assert out == close([6] * 4)


HALF = {"mask_ratios": {1: (0, 0.5), 0: (0.5, 1)}}


def test_skipped_blocks_leave_the_softmax():
    # block 0 weighs more, so it is the one kept of two: its values are all 7
    out, stats = attend([1] * 32 + [0] * 32, [7] * 32 + [100] * 32, **HALF)
    assert out == close([7] * 64)
    assert stats.density == close(0.5)
    assert stats.per_level == {1: 0.5, 2: 0, 4: 0, 8: 0, 0: 0.5}


def test_tail_of_a_whole_block_is_one_mean_key():
    # block 0: 32 keys ln 3, value 1: 32 * 3. Block 1: keys 1, -1, ... of mean 0, values 0 to 31 of
    # mean 15.5: one key of weight 32.   (96 * 1 + 32 * 15.5) / 128 = (3 + 15.5) / 4 = 4.625
    keys, values = [LN3] * 32 + [1, -1] * 16, [1] * 32 + list(range(32))
    out, stats = attend(keys, values, **HALF, tail=32)
    assert out == close([4.625] * 64)
    assert stats.levels.tolist() == [[[[1, 0]]]]
    assert stats.density == close(33 / 64)


def test_tail_of_a_short_block_weighs_its_own_count():
    # as above with 8 keys in block 1, values 0 to 7 of mean 3.5:  (96 * 1 + 8 * 3.5) / 104
    out, stats = attend([LN3] * 32 + [1, -1] * 4, [1] * 32 + list(range(8)), **HALF, tail=32)
    assert out == close([124 / 104] * 40)
    assert stats.density == close(33 / 40)


def test_tail_of_8_and_16():
    # Block 1: 8 keys 0, 8 keys 2 ln 2, then 16 keys 0; values 1, 2, 4. Block 0: 32 * 8 of value 0.
    # By 8: weights 8, 8 * 4, 16: 8 * 1 + 32 * 2 + 16 * 4 = 136 over 256 + 56
    # By 16: keys ln 2 and 0, values 1.5 and 4: 16 * 2 * 1.5 + 16 * 4 = 112 over 256 + 32 + 16
    keys = [3 * LN2] * 32 + [0] * 8 + [2 * LN2] * 8 + [0] * 16
    values = [0] * 32 + [1] * 8 + [2] * 8 + [4] * 16
    out, stats = attend(keys, values, **HALF, tail=8)
    assert out == close([136 / 312] * 64) and stats.density == close(36 / 64)
    out, stats = attend(keys, values, **HALF, tail=16)
    assert out == close([112 / 304] * 64) and stats.density == close(34 / 64)


# --- second moment ------------------------------------------------------------------------------


def test_second_moment_below_its_cap():
    # keys a, -a: mean 0, spread a^2; .5 * a^2 = ln 1.5 is below ln 2, so the pair weighs
    # 2 * 1.5 = 3 beside a pair of zeros that weighs 2.   (3 * 8 + 2 * 2) / 5 = 5.6
    a = math.sqrt(2 * math.log(1.5))
    out, _ = attend([a, -a, 0, 0], [8, 8, 2, 2], mask_ratios={2: (0, 1)}, second_moment=True)
    assert out == close([5.6] * 4)
    out, _ = attend([a, -a, 0, 0], [8, 8, 2, 2], mask_ratios={2: (0, 1)})
    assert out == close([5] * 4)


def test_second_moment_is_capped_at_the_log_of_the_count():
    # a = 1.5: .5 * 2.25 = 1.125 is above ln 2 = .693, so the pair weighs 2 * 2 = 4.
    # (4 * 8 + 2 * 2) / 6 = 6
    out, _ = attend([1.5, -1.5, 0, 0], [8, 8, 2, 2], mask_ratios={2: (0, 1)}, second_moment=True)
    assert out == close([6] * 4)
    # A group of 3 on level 8 has the cap ln 3: keys 3, -3, 0 of spread 6, .5 * 6 = 3 above ln 3, so
    # it weighs 3 * 3 = 9; the 8 zeros weigh 8.   (8 * 1 + 9 * 18) / 17 = 10
    keys, values = [0] * 8 + [3, -3, 0], [1] * 8 + [18] * 3
    out, _ = attend(keys, values, mask_ratios={8: (0, 1)}, second_moment=True)
    assert out == close([10] * 11)


def test_second_moment_is_a_mean_over_dimensions():
    # two dimensions, keys (a, 0) and (-a, 0): spread a^2 / 2; q = (1, 1): |q|^2 = 2.
    # .5 * 2 * a^2 / 2 = .5 * a^2 = ln 1.5: weights 3 and 2 once more
    a = math.sqrt(2 * math.log(1.5))
    k = torch.tensor([[a, 0], [-a, 0], [0, 0], [0, 0]], dtype=torch.float64)[None, None]
    out, _ = attend(k, [8, 8, 2, 2], mask_ratios={2: (0, 1)}, second_moment=True)
    assert out == close([5.6] * 4)


def test_second_moment_leaves_level_1_alone():
    # weights cosh(1) on both: plain means
    out, _ = attend([1, -1, 1, -1], [1, 1, 3, 3], mask_ratios={1: (0, 1)}, second_moment=True)
    assert out == close([2] * 4)


def test_second_moment_of_the_tail():
    # As the whole block above, block 1 with keys b, -b, .5 * b^2 = ln 2 below ln 32: it weighs
    # 32 * 2.   (96 * 1 + 64 * 15.5) / 160 = 1088 / 160 = 6.8
    b = math.sqrt(2 * LN2)
    keys, values = [LN3] * 32 + [b, -b] * 16, [1] * 32 + list(range(32))
    out, _ = attend(keys, values, **HALF, tail=32, second_moment=True)
    assert out == close([6.8] * 64)


# --- extra tokens, causal, grouped heads ---------------------------------------------------------


def test_extra_keys_stay_at_full_resolution():
    # One extra key before, weight 8, value 0; one after, weight 16, value 3. The 4 video keys on
    # level 4: mean ln 2, value 1, weight 8 for video queries: (8 * 0 + 16 * 3 + 8 * 1) / 32 = 1.75.
    # Extra queries see the 4 video keys themselves: 1, 1, 4, 4 -> 10: (48 + 10 * 1) / 34
    keys = [3 * LN2, 0, 0, 2 * LN2, 2 * LN2, 4 * LN2]
    out, stats = attend(keys, [0, 1, 1, 1, 1, 3], mask_ratios={4: (0, 1)}, extra_tokens=(1, 1))
    assert out == close([58 / 34, 1.75, 1.75, 1.75, 1.75, 58 / 34])
    # 4 video queries with 1 + 2 keys, 2 extra queries with 6
    assert stats.density == close((4 * 3 + 2 * 6) / 36)
    assert stats.per_level == {1: 0, 2: 0, 4: 1, 8: 0, 0: 0}


OLD = {"attn_impl": "old_mask_type", "block_m": 128, "block_n": 128}


def test_causal_density():
    # blocks of 128, 128, 44, everything before the diagonal on level 8, a triangle on it:
    #   128 * 129 / 2 = 8256;  128 * 16 + 8256 = 10304;  44 * 32 + 44 * 45 / 2 = 2398;  sum 20958
    # dense: 300 * 301 / 2 = 45150
    out, stats = attend([0] * 300, range(300), causal=True, mask_ratios={8: (0, 1)}, **OLD)
    assert stats.density == close(20958 / 45150)
    assert stats.per_level == {1: 0.5, 2: 0, 4: 0, 8: 0.5, 0: 0}  # 3 and 3 of the 6 that are read
    # equal keys: every query gets the mean of the values up to its own
    assert out == close([p / 2 for p in range(300)])


def test_causal_token_that_keeps_nothing_but_itself():
    ratios = {8: (0, 0.4), 0: (0.4, 1)}  # floor(.4 * 1) = 0 blocks before it
    out, _ = attend([0] * 129, range(129), causal=True, mask_ratios=ratios, **OLD)
    assert out == close([p / 2 for p in range(128)] + [128])


def test_causal_extra_tokens_go_by_their_place():
    # 2 extra tokens before and 1 after: every token gets the mean of what lies up to it
    out, stats = attend(
        [0] * 10, range(10), causal=True, extra_tokens=(2, 1), mask_ratios={8: (0, 1)}, **OLD
    )
    assert out == close([p / 2 for p in range(10)])
    assert stats.levels.tolist() == [[[[1, 1], [1, 1]]]]
    assert stats.density == close(1)


def test_grouped_heads():
    # 4 query heads on 2 key heads: 0 and 1 share the first, 2 and 3 the second
    q = torch.ones(1, 4, 5, 1, dtype=torch.float64)
    v = torch.tensor([1.0, 5.0], dtype=torch.float64).view(1, 2, 1, 1).expand(1, 2, 5, 1)
    out = psa_attention(q, torch.zeros_like(v), v, config=PSAConfig())
    assert out[0, :, 0, 0].tolist() == close([1, 1, 5, 5])


def test_a_call_of_extra_tokens_alone_is_dense():
    # weights 1, 1, 4: (1 * 1 + 1 * 3 + 4 * 5) / 6 = 4
    out, stats = attend([0, 0, 2 * LN2], [1, 3, 5], mask_ratios={8: (0, 1)}, extra_tokens=(2, 1))
    assert out == close([4] * 3)
    assert stats.levels.tolist() == [[[[1]]]]
    assert stats.density == 1 and sum(stats.per_level.values()) == 0
