"""Stage 6: the attention kernel.

One program takes ROWS queries of one query block of one head (grid: query blocks of all extra
tokens, which read everything and take longest, then of the video; batch x heads, so that a head's
keys stay in the L2 while its blocks are worked on). It runs one online softmax through five loops
(`attend_loops`):

  full_blocks   whole blocks on level 1, by list, and then contiguous extra keys: wide copies, no
                bias
  masked_keys   what is left of the contiguous keys, or lies under a causal mask: as before, with
                a mask
  ragged_block  the short last key block, where it is pooled: a bias from memory
  pooled_list   pooled blocks in chunks of n/8 rows, several to a tile: gathers, a bias per column
  tail_level    the tail's whole pyramid level, contiguous: columns of finer blocks are masked out

Pooled columns carry log2 of their token count (and the second moment's term) as a bias, so that no
loop branches on the level, and every level runs at the full width of the tile. What is known per
column costs as much as half an operation per score, since each thread holds 32 columns: biases
come from comparing column numbers and from bits, not from memory.

Where |q| and the longest key bound every logit of a program tightly enough, its softmax is taken
below that bound and needs no running maximum (`BOUND_ROOM`): no maximum per score, no rescaling of
the accumulator, no exchange between threads before the exponential.

With INT8 (section 6d) a program makes bytes of its queries when it has loaded them. With HALF_SUMS
(section 6e) values come in powers of two below their head's largest, which no tile's sum in float16
can pass, and there is no bound: weights far above 1 would.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .attend_loops import full_blocks, masked_keys, pooled_list, ragged_block, tail_level
from .common import BOUND, BOUND_ROOM, EMPTY, POOLED_MOST, as_bytes, caller_position, value_scale


@triton.jit
def _attend_all(
    queries, position, full_k, full_v, pooled_k, pooled_v, full_k_tiles, full_v_tiles,
    tail_k_tiles, tail_v_tiles, log2_counts, spread, full, chunks, coarse, row, full_most,
    chunks_most, words, block, is_extra, full_count, end_2, end_4, chunk_count, tail_rows,
    ragged_start, ragged_rows, first, whole, key_base, pooled_base, tail_start, k_len, k_video,
    before, norms, capped, scale, pooled_scale, scales, k_blocks, high, acc, total,
    DIM: tl.constexpr, M: tl.constexpr, N: tl.constexpr, FULL_TILE: tl.constexpr,
    TILE: tl.constexpr, SMALL: tl.constexpr, TAIL: tl.constexpr, LOG2_TAIL: tl.constexpr,
    LISTED: tl.constexpr, POOLED: tl.constexpr, SPREAD: tl.constexpr, CAUSAL: tl.constexpr,
    TMA: tl.constexpr, PRECISION: tl.constexpr, FULL_STAGES: tl.constexpr,
    LIST_STAGES: tl.constexpr, TAIL_STAGES: tl.constexpr, INT8: tl.constexpr,
    HALF_SUMS: tl.constexpr, ONLINE: tl.constexpr,
):  # fmt: skip
    """(acc, total) over everything that one program reads."""
    dims = tl.arange(0, DIM)
    origin = first
    if INT8:
        # no tile of bytes may lie in two blocks: video and extra keys each by themselves
        origin = tl.where(is_extra, 0, k_video)
    acc, high, total = full_blocks(
        queries, full_k_tiles, full_v_tiles, full_k, full_v, key_base, full + row * full_most,
        full_count, origin, whole, k_len, acc, high, total, scale, scales, k_video, k_blocks, dims,
        N, DIM, FULL_TILE, TMA, INT8, ONLINE, PRECISION, HALF_SUMS, FULL_STAGES, LIST_STAGES,
    )  # fmt: skip
    rest_first = origin + whole * FULL_TILE
    if CAUSAL or INT8:
        begin = tl.where(is_extra, whole * FULL_TILE, first)
        end = k_video
        if CAUSAL:
            begin = tl.where(is_extra, 0, block * M)
            end = tl.where(is_extra, k_video, tl.minimum(block * M + M, k_video))
        acc, high, total = masked_keys(
            queries, position, full_k_tiles, full_v_tiles, key_base, begin, end, k_len, k_video,
            before, acc, high, total, scale, scales, k_blocks, N, DIM, FULL_TILE, CAUSAL, TMA,
            INT8, ONLINE, PRECISION, HALF_SUMS,
        )  # fmt: skip
        rest_first = tl.where(is_extra, k_video, k_video + whole * FULL_TILE)
    acc, high, total = masked_keys(
        queries, position, full_k_tiles, full_v_tiles, key_base, rest_first, k_len, k_len, k_video,
        before, acc, high, total, scale, scales, k_blocks, N, DIM, FULL_TILE, CAUSAL, TMA, INT8,
        ONLINE, PRECISION, HALF_SUMS,
    )  # fmt: skip
    pooled_k += pooled_base * DIM
    pooled_v += pooled_base * DIM
    spread += pooled_base
    if POOLED:
        acc, high, total = ragged_block(
            queries, pooled_k, pooled_v, log2_counts, spread, ragged_start, ragged_rows, acc, high,
            total, norms, pooled_scale, dims, SMALL, SPREAD, INT8, ONLINE, PRECISION, HALF_SUMS,
        )  # fmt: skip
    if LISTED > 0:
        acc, high, total = pooled_list(
            queries, pooled_k, pooled_v, spread, chunks + row * chunks_most, end_2, end_4,
            chunk_count * (N // 8), acc, high, total, norms, pooled_scale, capped, dims, N // 8,
            LISTED, DIM, TILE, SPREAD, INT8, ONLINE, PRECISION, HALF_SUMS, LIST_STAGES,
        )  # fmt: skip
    if TAIL > 0:
        acc, high, total = tail_level(
            queries, tail_k_tiles, tail_v_tiles, pooled_base + tail_start, spread + tail_start,
            coarse + row * words, tail_rows, acc, high, total, norms, pooled_scale, capped,
            N // TAIL, LOG2_TAIL, DIM, TILE, TMA, SPREAD, INT8, ONLINE, PRECISION, HALF_SUMS,
            TAIL_STAGES,
        )  # fmt: skip
    return acc, total


@triton.jit(do_not_specialize=[
    "order_batch", "order_head", "full_most", "chunks_most", "words", "heads", "q_len", "k_len",
    "q_video", "k_video", "before", "q_blocks", "k_blocks", "extra_programs", "pooled_rows",
    "start_2", "start_4", "start_8", "tail_start",
])  # fmt: skip
def attend_kernel(
    q, q_batch, q_head, q_row, q_dim, order, order_batch, order_head,
    out, out_batch, out_head, out_row, out_dim,
    full_k, full_v, pooled_k, pooled_v, full_k_tiles, full_v_tiles, tail_k_tiles, tail_v_tiles,
    log2_counts, spread, steepest, longest, scales, peaks, value_peaks,
    matrix, full, chunks, counts, coarse, full_most, chunks_most, words,
    heads, heads_per_kv, q_len, k_len, q_video, k_video, before, q_blocks, k_blocks,
    extra_programs, pooled_rows, start_2, start_4, start_8, tail_start, scale, spread_scale,
    HEAD_DIM: tl.constexpr, DIM: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    ROWS: tl.constexpr, FULL_TILE: tl.constexpr, TILE: tl.constexpr, SMALL: tl.constexpr,
    TAIL: tl.constexpr, LOG2_TAIL: tl.constexpr, LISTED: tl.constexpr, POOLED: tl.constexpr,
    SPREAD: tl.constexpr, ORDERED: tl.constexpr, CAUSAL: tl.constexpr, NEGATIVE: tl.constexpr,
    TMA: tl.constexpr, PRECISION: tl.constexpr, BOUNDED: tl.constexpr, INT8: tl.constexpr,
    HALF_SUMS: tl.constexpr, FULL_STAGES: tl.constexpr, LIST_STAGES: tl.constexpr,
    TAIL_STAGES: tl.constexpr,
):  # fmt: skip
    # compilers hand Python floats over as float64 (or float32): fix one
    scale = tl.full([], scale, tl.float32)
    spread_scale = tl.full([], spread_scale, tl.float32)
    program = tl.program_id(0)
    pair = tl.program_id(1).to(tl.int64)
    batch, head = pair // heads, pair % heads
    kv_pair = batch * (heads // heads_per_kv) + head // heads_per_kv
    key_base = kv_pair * k_len
    pooled_base = kv_pair * pooled_rows
    dims = tl.arange(0, DIM)
    is_extra = program < extra_programs
    part = tl.where(is_extra, program, program - extra_programs)
    block = part // (M // ROWS)
    row = pair * q_blocks + tl.where(is_extra, 0, block)

    place = tl.where(is_extra, q_video, 0) + part * ROWS + tl.arange(0, ROWS)
    real = place < tl.where(is_extra, q_len, q_video)
    position = caller_position(
        order + batch * order_batch + head * order_head, place, q_video, before, ORDERED
    )
    inside = real[:, None] & (dims < HEAD_DIM)[None, :]
    queries = tl.load(
        q + batch * q_batch + head * q_head
        + position.to(tl.int64)[:, None] * q_row + dims[None, :].to(tl.int64) * q_dim,
        mask=inside, other=0.0,
    )  # fmt: skip
    if NEGATIVE:
        # the maximum of a row is taken before the scale: the sign belongs to the queries
        queries = -queries
    squares = tl.sum(queries.to(tl.float32) * queries.to(tl.float32), 1)
    norms = squares * spread_scale
    capped = False
    if SPREAD:
        # whether the cap can bind anywhere in this program
        capped = tl.max(norms, 0) * tl.load(steepest + kv_pair) > 1.0

    high = tl.full([ROWS], EMPTY, tl.float32)
    online = True
    if BOUNDED:
        bound = tl.sqrt(squares * tl.load(longest + kv_pair)) * scale
        # written so that an infinite or NaN bound means the running maximum
        online = not (tl.max(bound, 0) <= BOUND)
        high = tl.where(online, high, bound + (POOLED_MOST - BOUND_ROOM))
    pooled_scale = scale
    if INT8:
        # rounding lengthens neither a query nor a key by more than 6%: some bits of BOUND_ROOM
        values = queries.to(tl.float32)
        largest = tl.max(tl.abs(values), 1)
        queries = as_bytes(values * tl.where(largest > 0, 127.0 / largest, 0.0)[:, None])
        # NaN and infinity, which bytes cannot say, spoil the row
        scale = scale * (largest / 127.0 + (squares - squares))
        peak = tl.load(peaks + kv_pair)
        pooled_scale = scale * (peak / 127.0 + (peak - peak))
        scales += kv_pair * (k_blocks + (k_len - k_video + N - 1) // N)
    # contiguous keys of this program: the extra ones, a ragged last block; all for extra queries
    zero = k_video * 0  # of the type that the branches assign
    first = tl.where(is_extra, zero, k_video)
    full_count, chunk_count, tail_rows = zero, zero, zero
    ragged_start, ragged_rows = zero, zero
    if not is_extra:
        full_count = tl.load(counts + row * 4)
        chunk_count = tl.load(counts + row * 4 + 3)
        if TAIL > 0:
            tail_rows = k_video // N * (N // TAIL)
        if not CAUSAL:  # noqa: SIM102 - known when compiling, unlike what follows
            if k_blocks * N > k_video:
                level = tl.load(matrix + row * k_blocks + k_blocks - 1).to(tl.int32)
                if level == 1:
                    first = (k_blocks - 1) * N
                else:
                    ragged_start = tl.where(
                        level == 2, start_2, tl.where(level == 4, start_4, start_8)
                    )
                    ragged_rows = tl.where(level == 0, 0, N // tl.maximum(level, 1))
                    if TAIL > 0:
                        ragged_start = tl.where(level == 0, tail_start, ragged_start)
                        ragged_rows = tl.where(level == 0, N // TAIL, ragged_rows)
                    ragged_start += (k_blocks - 1) * ragged_rows
    end_2, end_4 = zero, zero
    if LISTED & (LISTED - 1):  # noqa: SIM102 - several levels, known when compiling
        if not is_extra:
            end_2 = tl.load(counts + row * 4 + 1) * (N // 8)
            end_4 = tl.load(counts + row * 4 + 2) * (N // 8)
    whole = (k_len - first) // FULL_TILE
    if INT8:
        whole = tl.where(is_extra, k_video, k_len - k_video) // FULL_TILE
    if CAUSAL:
        whole = zero

    acc = tl.zeros([ROWS, DIM], tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    # the loops exist twice, with and without a running maximum; the call is written once
    for bounded in tl.static_range(2):
        if online == (bounded == 0):
            acc, total = _attend_all(
                queries, position, full_k, full_v, pooled_k, pooled_v, full_k_tiles, full_v_tiles,
                tail_k_tiles, tail_v_tiles, log2_counts, spread, full, chunks, coarse, row,
                full_most, chunks_most, words, block, is_extra, full_count, end_2, end_4,
                chunk_count, tail_rows, ragged_start, ragged_rows, first, whole, key_base,
                pooled_base, tail_start, k_len, k_video, before, norms, capped, scale,
                pooled_scale, scales, k_blocks, high, acc, total, DIM, M, N, FULL_TILE, TILE,
                SMALL, TAIL, LOG2_TAIL, LISTED, POOLED, SPREAD, CAUSAL, TMA, PRECISION,
                FULL_STAGES, LIST_STAGES, TAIL_STAGES, INT8, HALF_SUMS, bounded == 0,
            )  # fmt: skip

    result = acc / total[:, None]
    if HALF_SUMS:
        result = result * (1.0 / value_scale(tl.load(value_peaks + kv_pair)))
    if out.dtype.element_ty == tl.float16:
        # values at float16's end are rounded past it, to 65536; infinite ones stay infinite
        past = (tl.abs(result) > 65504.0) & (tl.abs(result) < 65700.0)
        result = tl.where(past, tl.where(result > 0, 65504.0, -65504.0), result)
    result = result.to(out.dtype.element_ty)
    tl.store(
        out + batch * out_batch + head * out_head
        + position.to(tl.int64)[:, None] * out_row + dims[None, :].to(tl.int64) * out_dim,
        result, mask=inside,
    )  # fmt: skip
