"""Stage 5: the levels kernel (sections 6, 8, 9).

One program holds one whole row of S in registers (grid: query blocks, batch x heads). It writes the
row's levels, its lists and its part of its head's sums. Nothing is sorted: the top r of a row, or
the blocks before a mass, end at one value, which is found bit by bit. (Non-negative float32 orders
like its bits, and a share is below 2, so 30 bits are enough.) Blocks of exactly that value are
taken by number. Sums are whole numbers, added atomically: their order does not matter.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _top(bits, count, FEW: tl.constexpr):
    """Which blocks are the `count` largest; ties by number. No bit above the 30th is set.

    FEW: there are fewer than 1,024 blocks, so that three counts fit in 32 bits.
    """
    # two bits per step: one sum carries the counts above all three candidates
    WORD: tl.constexpr = tl.int32 if FEW else tl.int64
    FIELD: tl.constexpr = 10 if FEW else 21
    MOST: tl.constexpr = (1 << FIELD) - 1
    value = tl.full([], 0, tl.int32)
    reached = tl.sum((bits >= 0).to(tl.int32), 0)
    step = tl.full([], 28, tl.int32)
    while (step >= 0) & (reached != count):
        unit = tl.full([], 1, tl.int32) << step
        packed = (bits >= value + unit).to(WORD)
        packed += (bits >= value + 2 * unit).to(WORD) << FIELD
        packed += (bits >= value + 3 * unit).to(WORD) << (2 * FIELD)
        packed = tl.sum(packed, 0)
        one = (packed & MOST).to(tl.int32)
        two = ((packed >> FIELD) & MOST).to(tl.int32)
        three = (packed >> (2 * FIELD)).to(tl.int32)
        reached = tl.where(one >= count, one, reached)
        reached = tl.where(two >= count, two, reached)
        reached = tl.where(three >= count, three, reached)
        digits = (one >= count).to(tl.int32) + (two >= count).to(tl.int32)
        value += unit * (digits + (three >= count).to(tl.int32))
        step -= 2
    taken = bits >= value
    if reached != count:
        # there are more of exactly this value than are wanted
        equal = bits == value
        wanted = count - tl.sum((bits > value).to(tl.int32), 0)
        taken = (bits > value) | (equal & (tl.cumsum(equal.to(tl.int32), 0) <= wanted))
    return taken


@triton.jit
def _before(bits, share, bound):
    """Which blocks have less than `bound` of the mass before them; ties by number."""
    value = tl.full([], 0, tl.int32)
    for step in range(30):
        candidate = value | (1 << (29 - step))
        enough = tl.sum(tl.where(bits >= candidate, share, 0.0), 0) >= bound
        value = tl.where(enough, candidate, value)
    above = bits > value
    equal = bits == value
    mass = tl.sum(tl.where(above, share, 0.0), 0)
    each = tl.sum(tl.where(equal, share, 0.0), 0) / tl.maximum(tl.sum(equal.to(tl.int32), 0), 1)
    ahead = (tl.cumsum(equal.to(tl.int32), 0) - 1).to(tl.float32)
    return above | (equal & (mass + ahead * each < bound))


@triton.jit
def _add_to_sums(
    sums, share, level, block, inside, own, query_block, blocks, video, extra,
    N: tl.constexpr, CAUSAL: tl.constexpr, TAIL: tl.constexpr,
):  # fmt: skip
    """Adds a row of `own` queries to its head's sums (`stages.Plan`). Here that costs a few sums in
    registers; later it would mean reading everything again."""
    place = tl.arange(0, 16)
    found = tl.zeros([16], tl.int64)
    spoiled = 0
    for depth in tl.static_range(5):
        on_level = tl.sum(tl.where(level == (1 << depth) % 16, share, 0.0), 0)
        finite = tl.abs(on_level) < 1.0e30  # no NaN either
        spoiled = tl.where(finite, spoiled, 1)
        # 2^32 is one over MASS_UNIT
        units = tl.where(finite, on_level, 0.0) * own.to(tl.float32) * 4294967296.0
        found = tl.where(place == 6 + depth, units.to(tl.int64), found)
    found = tl.where((place >= 6) & (spoiled > 0), 0, found)
    found = tl.where(place == 11, spoiled, found)
    if not CAUSAL:
        # several small counts in one sum, as in `_top`
        pairs = (level == 1).to(tl.int64) + ((level == 2).to(tl.int64) << 21)
        pairs = tl.sum(pairs + ((level == 4).to(tl.int64) << 42), 0)
        size = tl.minimum(tl.maximum(video - block * N, 0), N)
        keys = tl.where(level == 1, size, 0)
        keys = tl.where(level == 2, (size + 1) // 2, keys)
        keys = tl.where(level == 4, (size + 3) // 4, keys)
        keys = tl.where(level == 8, (size + 7) // 8, keys)
        if TAIL > 0:
            keys = tl.where(level == 0, (size + TAIL - 1) // TAIL, keys)
        other = keys.to(tl.int64) + ((level == 8).to(tl.int64) << 42)
        other = tl.sum(tl.where(inside, other, 0), 0)
        on_1 = pairs & 0x1FFFFF
        on_2 = (pairs >> 21) & 0x1FFFFF
        on_4 = pairs >> 42
        on_8 = other >> 42
        products = own * ((other & 0x3FFFFFFFFFF) + extra)
        # extra queries read everything: one row of each head counts them
        products += tl.where(query_block == 0, extra, 0).to(tl.int64) * (video + extra)
        found = tl.where(place == 0, on_1, found)
        found = tl.where(place == 1, on_2, found)
        found = tl.where(place == 2, on_4, found)
        found = tl.where(place == 3, on_8, found)
        found = tl.where(place == 4, blocks - on_1 - on_2 - on_4 - on_8, found)
        found = tl.where(place == 5, products, found)
    tl.atomic_add(sums + place, found, mask=place < 12, sem="relaxed")


@triton.jit(do_not_specialize=[
    "heads", "blocks", "queries", "video", "extra", "full_most", "chunks_most",
    "end_a", "end_b", "end_c", "end_d", "start_2", "start_4", "start_8",
])  # fmt: skip
def levels_kernel(
    shares, matrix, full, chunks, counts, coarse, sums, ends, allowed,
    heads, heads_per_kv, blocks, queries, video, extra, full_most, chunks_most,
    end_a, end_b, end_c, end_d, upper_a, upper_b, upper_c, upper_d,
    start_2, start_4, start_8,
    WIDTH: tl.constexpr, LEVEL_A: tl.constexpr, LEVEL_B: tl.constexpr, LEVEL_C: tl.constexpr,
    LEVEL_D: tl.constexpr, LAST: tl.constexpr, TOPK: tl.constexpr, CAUSAL: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, KEEP: tl.constexpr, ALIKE: tl.constexpr, TAIL: tl.constexpr,
    FEW: tl.constexpr, LISTED: tl.constexpr,
):  # fmt: skip
    """FEW: there are fewer than 1,024 blocks. LISTED: sum of the pooling levels that a block can be
    on."""
    query_block = tl.program_id(0)
    pair = tl.program_id(1).to(tl.int64)
    row = pair * tl.num_programs(0) + query_block
    block = tl.arange(0, WIDTH)
    inside = block < blocks
    share = tl.load(shares + row * blocks + block, mask=inside, other=0.0)
    free = inside
    first_query = query_block * M
    if CAUSAL:
        free = inside & (tl.minimum((block + 1) * N, video) <= first_query)
        share = tl.where(free, share, 0.0)
    bits = tl.where(free, share.to(tl.int32, bitcast=True), -1)

    level = tl.full([WIDTH], LAST, tl.int32)
    if TOPK and CAUSAL:
        end_a = tl.load(ends + query_block * 4)
        end_b = tl.load(ends + query_block * 4 + 1)
        end_c = tl.load(ends + query_block * 4 + 2)
        end_d = tl.load(ends + query_block * 4 + 3)
    # from coarse to fine: a block takes the first level whose end it does not reach
    if LEVEL_D >= 0:
        taken = _top(bits, end_d, FEW) if TOPK else _before(bits, share, upper_d)
        level = tl.where(taken, LEVEL_D, level)
    if LEVEL_C >= 0:
        taken = _top(bits, end_c, FEW) if TOPK else _before(bits, share, upper_c)
        level = tl.where(taken, LEVEL_C, level)
    if LEVEL_B >= 0:
        taken = _top(bits, end_b, FEW) if TOPK else _before(bits, share, upper_b)
        level = tl.where(taken, LEVEL_B, level)
    if LEVEL_A >= 0:
        taken = _top(bits, end_a, FEW) if TOPK else _before(bits, share, upper_a)
        level = tl.where(taken, LEVEL_A, level)
    if KEEP > 0:
        # a softmax needs a key
        kept = tl.sum((free & (level > 0)).to(tl.int32), 0)
        level = tl.where((kept == 0) & _top(bits, 1, FEW), KEEP, level)
    if ALIKE:
        kv_head = (pair // heads) * (heads // heads_per_kv) + pair % heads // heads_per_kv
        limit = tl.load(allowed + kv_head * blocks + block, mask=inside, other=1).to(tl.int32)
        level = tl.minimum(level, limit)
    level = tl.where(free, level, 0)

    shown = level
    if CAUSAL:
        last_query = tl.minimum(first_query + M, video) - 1
        shown = tl.where(free, level, tl.where(block * N > last_query, -1, 1))
    tl.store(matrix + row * blocks + block, shown.to(tl.int8), mask=inside)

    own = tl.minimum(queries - first_query, M).to(tl.int64)
    _add_to_sums(
        sums + pair % heads * 12, share, level, block, inside, own, query_block, blocks, video,
        extra, N, CAUSAL, TAIL,
    )  # fmt: skip

    whole = free & ((block + 1) * N <= video)
    listed = whole & (level == 1)
    place = tl.cumsum(listed.to(tl.int32), 0)
    tl.store(full + row * full_most + place - 1, block, mask=listed & (place <= full_most))
    tl.store(counts + row * 4, tl.minimum(tl.sum(listed.to(tl.int32), 0), full_most))

    end = 0
    for depth in tl.static_range(1, 4):
        if (LISTED >> depth) & 1:
            listed = whole & (level == (1 << depth))
            start = start_2
            if depth == 2:
                start = start_4
            if depth == 3:
                start = start_8
            place = end + (tl.cumsum(listed.to(tl.int32), 0) - 1) * (8 >> depth)
            for chunk in tl.static_range(8 >> depth):
                tl.store(
                    chunks + row * chunks_most + place + chunk,
                    start + block * (8 >> depth) + chunk,
                    mask=listed & (place + chunk < chunks_most),
                )  # fmt: skip
            end += tl.sum(listed.to(tl.int32), 0) * (8 >> depth)
        tl.store(counts + row * 4 + depth, tl.minimum(end, chunks_most))

    bit = tl.reshape((whole & (level == 0)).to(tl.int32), [WIDTH // 32, 32])
    words = tl.sum(bit << tl.arange(0, 32)[None, :], 1)
    tl.store(coarse + row * (WIDTH // 32) + tl.arange(0, WIDTH // 32), words)
