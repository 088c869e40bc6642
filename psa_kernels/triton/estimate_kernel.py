"""Stage 4: the kernels of the importance estimator (section 5).

`pool_queries_kernel` (grid: tiles of 256 places; batch x heads) stores the means of 16 consecutive
queries. `mass_kernel` (grid: tiles of means; batch x heads) takes a tile of them, on sm_90 64,
which are 8 query blocks of 128, against all groups of 8 keys of their head, which stay in the L2.
It sums their mass by key block as it goes, below the running maximum of that moment, and stores
both: the log-sum-exp, under which mass becomes a share, is known only at the end. `share_kernel`
(grid: key blocks x tiles of means; batch x heads) then writes the shares.

What is stored, a row for each key block, one for the maximum of each tile of groups, and the
log-sum-exp, has means side by side: `[batch x heads, key blocks + tiles + 1, means]`, float32.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .common import EMPTY, caller_position, columns_of


@triton.jit(do_not_specialize=[
    "order_batch", "order_head", "heads", "video", "before", "means_count",
])  # fmt: skip
def pool_queries_kernel(
    q, q_batch, q_head, q_row, q_dim, order, order_batch, order_head, means,
    heads, video, before, means_count,
    HEAD_DIM: tl.constexpr, DIM: tl.constexpr, ORDERED: tl.constexpr, MEANS: tl.constexpr,
    SUB: tl.constexpr,
):  # fmt: skip
    pair = tl.program_id(1).to(tl.int64)
    batch, head = pair // heads, pair % heads
    q += batch * q_batch + head * q_head
    order += batch * order_batch + head * order_head
    dims = tl.arange(0, DIM)
    row = tl.program_id(0) * MEANS + tl.arange(0, MEANS)
    # one load for each place in a sub-block, so that summing needs no exchange between threads
    total = tl.zeros([MEANS, DIM], tl.float32)
    for i in tl.static_range(SUB):
        place = row * SUB + i
        position = caller_position(order, place, video, before, ORDERED).to(tl.int64)
        values = tl.load(
            q + position[:, None] * q_row + dims[None, :].to(tl.int64) * q_dim,
            mask=(place < video)[:, None] & (dims < HEAD_DIM)[None, :], other=0.0,
        )  # fmt: skip
        total += values.to(tl.float32)
    count = tl.minimum(tl.maximum(video - row * SUB, 1), SUB)
    tl.store(
        means + (pair * means_count + row)[:, None] * DIM + dims[None, :],
        (total / count.to(tl.float32)[:, None]).to(means.dtype.element_ty),
        mask=(row < means_count)[:, None],
    )


@triton.jit
def _logits(
    q, norms, tiles, counts, spread, base, start, first, groups_count, row, video, scale, capped,
    DIM: tl.constexpr, GROUPS: tl.constexpr, PER_QUERY: tl.constexpr, PER_KEY: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, SPREAD: tl.constexpr, CAUSAL: tl.constexpr, TMA: tl.constexpr,
    PRECISION: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """log2 of the unnormalised mass `[MEANS, GROUPS]` of the groups from `first` on.

    WHOLE: all groups have 8 keys, so their bias is a constant.
    """
    column = first + tl.arange(0, GROUPS)
    real = column < groups_count
    if TMA:
        keys = tiles.load([(base + start + first).to(tl.int32), 0])
    else:
        dims = tl.arange(0, DIM)
        keys = tl.load(
            tiles + (base + start) * DIM + column[:, None] * DIM + dims[None, :],
            mask=real[:, None], other=0.0,
        )  # fmt: skip
    logits = tl.dot(q, tl.trans(keys), input_precision=PRECISION) * scale
    if WHOLE:
        bias = tl.full([GROUPS], 3.0, tl.float32)
        logits += 3.0
    else:
        bias = tl.load(counts + start + column, mask=real, other=EMPTY)
        logits += bias[None, :]
    if SPREAD:
        widths = columns_of(spread + base + start, column, real)
        corrected = logits + norms[:, None] * widths[None, :]
        if capped:
            # ln count is the cap on the Gaussian term (section 6c)
            corrected = tl.minimum(corrected, logits + bias[None, :])
        logits = corrected
    if not WHOLE:
        logits = tl.where(real[None, :], logits, EMPTY)
    if CAUSAL:
        # only blocks that end before the query block begins take part
        end = tl.minimum((column // PER_KEY + 1) * N, video)
        free = end[None, :] <= (row // PER_QUERY * M)[:, None]
        logits = tl.where(free, logits, EMPTY)
    return logits


@triton.jit
def _store_mass(
    logits, high, total, stored, first, k_blocks, width, rows,
    MEANS: tl.constexpr, GROUPS: tl.constexpr, PER_KEY: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """One tile: mass by key block below the running maximum, which is stored too."""
    higher = tl.maximum(high, tl.max(logits, 1))
    mass = tl.exp2(logits - higher[:, None])
    if not WHOLE:
        # in a row whose columns are all masked, every one equals the maximum
        mass = tl.where(logits > 0.5 * EMPTY, mass, 0.0)
    mass = tl.sum(tl.reshape(mass, [MEANS, GROUPS // PER_KEY, PER_KEY]), 2)
    total = total * tl.exp2(high - higher) + tl.sum(mass, 1)
    block = first // PER_KEY + tl.arange(0, GROUPS // PER_KEY)
    tl.store(
        stored + block.to(tl.int64)[None, :] * width + rows[:, None], mass,
        mask=(block < k_blocks)[None, :],
    )  # fmt: skip
    tl.store(stored + (k_blocks + first // GROUPS).to(tl.int64) * width + rows, higher)
    return higher, total


@triton.jit(do_not_specialize=["heads", "k_video", "means_count", "k_blocks", "rows", "start"])
def mass_kernel(
    means, tiles, counts, spread, steepest, stored,
    heads, heads_per_kv, k_video, means_count, k_blocks, rows, start, first_mean, width,
    scale, spread_scale,
    DIM: tl.constexpr, MEANS: tl.constexpr, GROUPS: tl.constexpr, PER_QUERY: tl.constexpr,
    PER_KEY: tl.constexpr, M: tl.constexpr, N: tl.constexpr, SPREAD: tl.constexpr,
    CAUSAL: tl.constexpr, TMA: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    # compilers pass Python floats as float64 or float32: fix one
    scale = tl.full([], scale, tl.float32)
    spread_scale = tl.full([], spread_scale, tl.float32)
    pair = tl.program_id(1).to(tl.int64)
    head = pair % heads
    kv_pair = (pair // heads) * (heads // heads_per_kv) + head // heads_per_kv
    base = kv_pair * rows
    place = tl.program_id(0) * MEANS + tl.arange(0, MEANS)
    row = first_mean + place
    dims = tl.arange(0, DIM)
    q = tl.load(
        means + pair * means_count * DIM + row[:, None] * DIM + dims[None, :],
        mask=(row < means_count)[:, None], other=0.0,
    )  # fmt: skip
    norms = tl.sum(q.to(tl.float32) * q.to(tl.float32), 1) * spread_scale
    capped = False
    if SPREAD:
        # whether the cap can bind anywhere in this program
        capped = tl.max(norms, 0) * tl.load(steepest + kv_pair) > 1.0
    groups_count = k_blocks * PER_KEY
    tile_count = (groups_count + GROUPS - 1) // GROUPS
    stored += pair * (k_blocks + tile_count + 1) * width
    # the end of the tiles whose groups are all whole; none of their blocks is masked
    whole = k_video // 8 // GROUPS * GROUPS
    if CAUSAL:
        whole = k_video * 0  # a zero of the same type: a branch must not change it

    high = tl.full([MEANS], EMPTY, tl.float32)
    total = tl.zeros([MEANS], tl.float32)
    for first in tl.range(0, whole, GROUPS, num_stages=STAGES):
        logits = _logits(q, norms, tiles, counts, spread, base, start, first, groups_count, row,
                         k_video, scale, capped, DIM, GROUPS, PER_QUERY, PER_KEY, M, N, SPREAD,
                         False, TMA, PRECISION, True)  # fmt: skip
        high, total = _store_mass(logits, high, total, stored, first, k_blocks, width, place,
                                  MEANS, GROUPS, PER_KEY, True)  # fmt: skip
    for first in tl.range(whole, groups_count, GROUPS, num_stages=1):
        logits = _logits(q, norms, tiles, counts, spread, base, start, first, groups_count, row,
                         k_video, scale, capped, DIM, GROUPS, PER_QUERY, PER_KEY, M, N, SPREAD,
                         CAUSAL, TMA, PRECISION, False)  # fmt: skip
        high, total = _store_mass(logits, high, total, stored, first, k_blocks, width, place,
                                  MEANS, GROUPS, PER_KEY, False)  # fmt: skip
    # under infinity the shares of a row without any block to choose are 0; NaN stays NaN
    log_total = tl.where(total == 0.0, float("inf"), high + tl.log2(total))
    tl.store(stored + (k_blocks + tile_count).to(tl.int64) * width + place, log_total)


@triton.jit(do_not_specialize=["q_video", "q_blocks", "k_blocks", "chunks", "tile_count"])
def share_kernel(
    stored, shares, q_video, q_blocks, k_blocks, chunks, tile_count, first_mean, width,
    MEANS: tl.constexpr, KEYS: tl.constexpr, PER_QUERY: tl.constexpr, PER_TILE: tl.constexpr,
    M: tl.constexpr, SUB: tl.constexpr,
):  # fmt: skip
    """Shares of KEYS key blocks, of the query blocks of a tile of means."""
    pair = tl.program_id(1).to(tl.int64)
    stored += pair * (k_blocks + tile_count + 1) * width
    shares += pair * q_blocks * k_blocks
    tile, chunk = tl.program_id(0) // chunks, tl.program_id(0) % chunks
    place = tile * MEANS + tl.arange(0, MEANS)
    row = first_mean + place
    # each sub-block counts by its number of queries; a query block's weights add up to 1
    own = tl.minimum(tl.maximum(q_video - row * SUB, 0), SUB).to(tl.float32)
    block_queries = tl.minimum(tl.maximum(q_video - row // PER_QUERY * M, 1), M)
    weight = own / block_queries.to(tl.float32)
    log_total = tl.load(stored + (k_blocks + tile_count).to(tl.int64) * width + place)

    block = chunk * KEYS + tl.arange(0, KEYS)
    real = (block < k_blocks)[:, None]
    mass = tl.load(
        stored + block.to(tl.int64)[:, None] * width + place[None, :], mask=real, other=0.0
    )
    high = tl.load(
        stored + (k_blocks + block // PER_TILE).to(tl.int64)[:, None] * width + place[None, :],
        mask=real, other=EMPTY,
    )  # fmt: skip
    share = mass * tl.exp2(high - log_total[None, :]) * weight[None, :]
    share = tl.sum(tl.reshape(share, [KEYS, MEANS // PER_QUERY, PER_QUERY]), 2)
    query_block = (first_mean + tile * MEANS) // PER_QUERY + tl.arange(0, MEANS // PER_QUERY)
    tl.store(
        shares + query_block[None, :] * k_blocks + block[:, None], share,
        mask=real & (query_block < q_blocks)[None, :],
    )  # fmt: skip
