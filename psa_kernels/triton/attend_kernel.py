"""Stage 5: the attention kernel.

One program takes ROWS queries of one query block of one head (grid: query blocks of all extra
tokens, which read everything and take longest, then of the video; batch x heads, so that a head's
keys stay in the L2 while its blocks are worked on). It runs one online softmax through four loops:

  full   whole blocks on level 1, by list, and then contiguous extra keys: wide copies, no bias
  rest   what is left of the contiguous keys, or lies under a causal mask: as full, with a mask
  list   pooled blocks in chunks of n/8 rows, several to a tile: gathers, a bias per column
  tail   the tail's whole pyramid level, contiguous: columns of finer blocks are masked out

Pooled columns carry log2 of their token count (and the second moment's term) as a bias, so that no
loop branches on the level, and every level runs at the full width of the tile. What is known per
column costs as much as half an operation per score, since each thread holds 32 columns: biases
come from comparing column numbers and from bits, not from memory.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .common import EMPTY, caller_position, columns_of


@triton.jit
def _fold(logits, values, acc, high, total, PRECISION: tl.constexpr):
    """One step of the online softmax; `logits` in powers of two."""
    higher = tl.maximum(high, tl.max(logits, 1))
    weights = tl.exp2(logits - higher[:, None])
    shrink = tl.exp2(high - higher)
    total = total * shrink + tl.sum(weights, 1)
    acc = tl.dot(weights.to(values.dtype), values, acc * shrink[:, None], input_precision=PRECISION)
    return acc, higher, total


@triton.jit
def _tile(source, base, row, limit, DIM: tl.constexpr, TILE: tl.constexpr, TMA: tl.constexpr):
    """Stored rows from `row` on of a head that begins at `base`; past `limit` any numbers."""
    if TMA:
        return source.load([(base + row).to(tl.int32), 0])
    else:
        rows = row + tl.arange(0, TILE)
        return tl.load(
            source + base * DIM + rows[:, None] * DIM + tl.arange(0, DIM)[None, :],
            mask=(rows < limit)[:, None], other=0.0,
        )  # fmt: skip


@triton.jit
def _pooled(
    q, keys, values, acc, high, total, norms, bias, widths, scale, capped,
    SPREAD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A tile of pooled keys, `bias` the log2 of their counts."""
    logits = tl.dot(q, tl.trans(keys), input_precision=PRECISION) * scale + bias[None, :]
    if SPREAD:
        corrected = logits + norms[:, None] * widths[None, :]
        if capped:
            # the Gaussian term is at most the bias itself, ln of the count (section 6c)
            corrected = tl.minimum(corrected, logits + bias[None, :])
        logits = corrected
    return _fold(logits, values, acc, high, total, PRECISION)


@triton.jit
def _rest(
    queries, position, tiles_k, tiles_v, key_base, begin, end, k_len, k_video, before,
    acc, high, total, scale,
    DIM: tl.constexpr, TILE: tl.constexpr, CAUSAL: tl.constexpr, TMA: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Contiguous keys from `begin` to `end`, with a mask per column, and per token if causal."""
    for start in tl.range(begin, end, TILE, num_stages=1):
        column = start + tl.arange(0, TILE)
        keys = _tile(tiles_k, key_base, start, k_len, DIM, TILE, TMA)
        logits = tl.dot(queries, tl.trans(keys), input_precision=PRECISION) * scale
        logits += tl.where(column < end, 0.0, EMPTY)[None, :]
        if CAUSAL:
            seen = caller_position(position, column, k_video, before, False)
            logits = tl.where(seen[None, :] <= position[:, None], logits, EMPTY)
        values = _tile(tiles_v, key_base, start, k_len, DIM, TILE, TMA)
        acc, high, total = _fold(logits, values, acc, high, total, PRECISION)
    return acc, high, total


@triton.jit(do_not_specialize=[
    "full_most", "chunks_most", "words", "q_len", "k_len", "q_video", "k_video", "before",
    "q_blocks", "k_blocks", "extra_programs", "pooled_rows", "start_2", "start_4", "start_8",
    "tail_start",
])  # fmt: skip
def attend_kernel(
    q, q_batch, q_head, q_row, q_dim, order, order_batch, order_head,
    out, out_batch, out_head, out_row, out_dim,
    full_k, full_v, pooled_k, pooled_v, full_k_tiles, full_v_tiles, tail_k_tiles, tail_v_tiles,
    log2_counts, spread, steepest,
    matrix, full, chunks, counts, coarse, full_most, chunks_most, words,
    heads, heads_per_kv, q_len, k_len, q_video, k_video, before, q_blocks, k_blocks,
    extra_programs, pooled_rows, start_2, start_4, start_8, tail_start, scale, spread_scale,
    HEAD_DIM: tl.constexpr, DIM: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    ROWS: tl.constexpr, FULL_TILE: tl.constexpr, TILE: tl.constexpr, SMALL: tl.constexpr,
    TAIL: tl.constexpr, LOG2_TAIL: tl.constexpr, LISTED: tl.constexpr, POOLED: tl.constexpr,
    SPREAD: tl.constexpr, ORDERED: tl.constexpr, CAUSAL: tl.constexpr, NEGATIVE: tl.constexpr,
    TMA: tl.constexpr, PRECISION: tl.constexpr, FULL_STAGES: tl.constexpr,
    LIST_STAGES: tl.constexpr, TAIL_STAGES: tl.constexpr,
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
        + position.to(tl.int64)[:, None] * q_row + dims[None, :] * q_dim,
        mask=inside, other=0.0,
    )  # fmt: skip
    if NEGATIVE:
        # the maximum of a row is taken before the scale: the sign belongs to the queries
        queries = -queries
    norms = tl.full([ROWS], 0.0, tl.float32)
    capped = False
    if SPREAD:
        norms = tl.sum(queries.to(tl.float32) * queries.to(tl.float32), 1) * spread_scale
        # whether the cap can bind anywhere in this program
        capped = tl.max(norms, 0) * tl.load(steepest + kv_pair) > 1.0

    high = tl.full([ROWS], EMPTY, tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    acc = tl.zeros([ROWS, DIM], tl.float32)

    # contiguous keys of this program: the extra ones, a ragged last block; all for extra queries
    zero = k_video * 0
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
    SPLIT: tl.constexpr = N // FULL_TILE if N > FULL_TILE else 1
    GATHER: tl.constexpr = FULL_TILE > N
    listed = full_count * SPLIT
    if GATHER:
        listed = zero
    whole = (k_len - first) // FULL_TILE
    if CAUSAL:
        whole = zero

    # full
    full += row * full_most
    for step in tl.range(0, listed + whole, num_stages=FULL_STAGES):
        entry = tl.load(full + step // SPLIT, mask=step < listed, other=0)
        start = tl.where(
            step < listed, entry * N + step % SPLIT * FULL_TILE, first + (step - listed) * FULL_TILE
        )
        keys = _tile(full_k_tiles, key_base, start, k_len, DIM, FULL_TILE, TMA)
        logits = tl.dot(queries, tl.trans(keys), input_precision=PRECISION)
        higher = tl.maximum(high, tl.max(logits, 1) * scale)
        weights = tl.exp2(logits * scale - higher[:, None])
        shrink = tl.exp2(high - higher)
        total = total * shrink + tl.sum(weights, 1)
        acc = acc * shrink[:, None]
        values = _tile(full_v_tiles, key_base, start, k_len, DIM, FULL_TILE, TMA)
        acc = tl.dot(weights.to(values.dtype), values, acc, input_precision=PRECISION)
        high = higher

    if GATHER:
        # blocks narrower than the tile: several to a tile, by plain gathers
        columns = tl.arange(0, FULL_TILE)
        for step in tl.range(0, full_count, FULL_TILE // N, num_stages=LIST_STAGES):
            entry = step + columns // N
            valid = entry < full_count
            rows = tl.load(full + entry, mask=valid, other=0) * N + columns % N
            source = rows[:, None] * DIM + dims[None, :]
            keys = tl.load(full_k + key_base * DIM + source)
            values = tl.load(full_v + key_base * DIM + source)
            logits = tl.dot(queries, tl.trans(keys), input_precision=PRECISION) * scale
            logits += tl.where(valid, 0.0, EMPTY)[None, :]
            acc, high, total = _fold(logits, values, acc, high, total, PRECISION)

    # rest
    if CAUSAL:
        begin = tl.where(is_extra, 0, block * M)
        end = tl.where(is_extra, k_video, tl.minimum(block * M + M, k_video))
        acc, high, total = _rest(
            queries, position, full_k_tiles, full_v_tiles, key_base, begin, end, k_len, k_video,
            before, acc, high, total, scale, DIM, FULL_TILE, CAUSAL, TMA, PRECISION,
        )  # fmt: skip
        first = k_video
    acc, high, total = _rest(
        queries, position, full_k_tiles, full_v_tiles, key_base, first + whole * FULL_TILE, k_len,
        k_len, k_video, before, acc, high, total, scale, DIM, FULL_TILE, CAUSAL, TMA, PRECISION,
    )  # fmt: skip

    pooled_k += pooled_base * DIM
    pooled_v += pooled_base * DIM
    spread += pooled_base
    if POOLED:
        # a ragged last block that is pooled: groups of several sizes, the only ones that need a
        # bias from memory
        for at in tl.range(0, ragged_rows, SMALL, num_stages=1):
            column = at + tl.arange(0, SMALL)
            valid = column < ragged_rows
            rows = ragged_start + column
            source = rows[:, None] * DIM + dims[None, :]
            keys = tl.load(pooled_k + source, mask=valid[:, None], other=0.0)
            values = tl.load(pooled_v + source, mask=valid[:, None], other=0.0)
            bias = tl.load(log2_counts + rows, mask=valid, other=EMPTY)
            widths = bias
            if SPREAD:
                widths = tl.load(spread + rows, mask=valid, other=0.0)
            acc, high, total = _pooled(
                queries, keys, values, acc, high, total, norms, bias, widths, scale, True,
                SPREAD, PRECISION,
            )  # fmt: skip

    columns = tl.arange(0, TILE)
    # list
    if LISTED > 0:
        CHUNK: tl.constexpr = N // 8
        chunks += row * chunks_most
        end = chunk_count * CHUNK
        end_2 = zero
        end_4 = zero
        if (LISTED != 8) and (LISTED != 4) and (LISTED != 2):  # noqa: SIM102
            if not is_extra:
                end_2 = tl.load(counts + row * 4 + 1) * CHUNK
                end_4 = tl.load(counts + row * 4 + 2) * CHUNK
        for start in tl.range(0, end, TILE, num_stages=LIST_STAGES):
            column = start + columns
            valid = column < end
            rows = tl.load(chunks + column // CHUNK, mask=valid, other=0) * CHUNK + column % CHUNK
            source = rows[:, None] * DIM + dims[None, :]
            keys = tl.load(pooled_k + source)
            widths = norms
            if SPREAD:
                widths = columns_of(spread, rows, valid)
            if LISTED == 8:
                bias = tl.where(valid, 3.0, EMPTY)
            elif LISTED == 4:
                bias = tl.where(valid, 2.0, EMPTY)
            elif LISTED == 2:
                bias = tl.where(valid, 1.0, EMPTY)
            else:
                bias = tl.where(column < end_2, 1.0, tl.where(column < end_4, 2.0, 3.0))
                bias = tl.where(valid, bias, EMPTY)
            values = tl.load(pooled_v + source)
            acc, high, total = _pooled(
                queries, keys, values, acc, high, total, norms, bias, widths, scale, capped,
                SPREAD, PRECISION,
            )  # fmt: skip

    # tail
    if TAIL > 0:
        PER_BLOCK: tl.constexpr = N // TAIL
        BLOCKS: tl.constexpr = TILE // PER_BLOCK
        coarse += row * words
        base = pooled_base + tail_start
        local = columns // PER_BLOCK
        for start in tl.range(0, tail_rows, TILE, num_stages=TAIL_STAGES):
            # one bit a block says whether its columns take part
            block_first = start // PER_BLOCK
            bits = tl.load(coarse + block_first // 32)
            if BLOCKS >= 64:
                bits = tl.where(local < 32, bits, tl.load(coarse + block_first // 32 + 1))
            if BLOCKS >= 128:
                bits = tl.where(local < 64, bits, tl.load(coarse + block_first // 32 + 2))
                bits = tl.where(local < 96, bits, tl.load(coarse + block_first // 32 + 3))
            active = (bits >> ((block_first + local) % 32)) & 1
            bias = tl.where(active != 0, LOG2_TAIL, EMPTY)
            keys = _tile(tail_k_tiles, base, start, tail_rows, DIM, TILE, TMA)
            widths = norms
            if SPREAD:
                column = start + columns
                widths = columns_of(spread + tail_start, column, column < tail_rows)
            values = _tile(tail_v_tiles, base, start, tail_rows, DIM, TILE, TMA)
            acc, high, total = _pooled(
                queries, keys, values, acc, high, total, norms, bias, widths, scale, capped,
                SPREAD, PRECISION,
            )  # fmt: skip

    result = (acc / total[:, None]).to(out.dtype.element_ty)
    tl.store(
        out + batch * out_batch + head * out_head
        + position.to(tl.int64)[:, None] * out_row + dims[None, :] * out_dim,
        result, mask=inside,
    )  # fmt: skip
