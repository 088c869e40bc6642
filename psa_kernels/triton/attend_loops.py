"""Stage 6: the loops of the attention kernel, one function each.

Every loop folds tiles of keys into (acc, high, total): the weighted sum of values, the logit that
weights are taken below, the sum of weights. With ONLINE `high` is a running maximum. Without it is
a bound known beforehand: no maximum per score, no rescaling of the accumulator, no exchange between
threads before the exponential. A branch on that inside the loops would cost half of the gain, so
the whole of them exists twice in a kernel.

With INT8 queries and keys are bytes (section 6d), and `scale` has one number a query, which makes
up for the queries' steps too; full keys are of one block to a tile, whose step comes from `scales`.

With HALF_SUMS a tile's values are summed in float16 (section 6e), which GeForce RTX GPUs do at
twice the rate, and each tile's sum is added to `acc` in float32.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .common import EMPTY, HALF_ROOM, MOST_LOGIT, caller_position, columns_of


@triton.jit
def _raised(largest, acc, high, total, HALF_SUMS: tl.constexpr):
    """(acc, high, total) below a running maximum over logits of at most `largest` too."""
    if HALF_SUMS:
        # weights of up to 2^HALF_ROOM use more of float16's exponents; a huge logit would round
        largest = tl.where(tl.abs(largest) < 1048576.0, largest - HALF_ROOM, largest)
    higher = tl.maximum(high, largest)
    shrink = tl.exp2(high - higher)
    return acc * shrink[:, None], higher, total * shrink


@triton.jit
def _weighted(weights, values, acc, PRECISION: tl.constexpr, HALF_SUMS: tl.constexpr):
    """`acc` and the weighted sum of a tile's values."""
    if HALF_SUMS:
        tl.static_assert(values.shape[0] <= 128)  # the keys that HALF_ROOM and HALF_VALUES are for
        part = tl.dot(weights.to(values.dtype), values, out_dtype=tl.float16)
        return acc + part.to(tl.float32)
    else:
        return tl.dot(weights.to(values.dtype), values, acc, input_precision=PRECISION)


@triton.jit
def _fold(
    logits, values, acc, high, total, ONLINE: tl.constexpr, PRECISION: tl.constexpr,
    HALF_SUMS: tl.constexpr,
):  # fmt: skip
    """One step of the softmax; `logits` in powers of two. ONLINE: `high` is a running maximum."""
    if ONLINE:
        acc, high, total = _raised(tl.max(logits, 1), acc, high, total, HALF_SUMS)
    weights = tl.exp2(logits - high[:, None])
    total += tl.sum(weights, 1)
    acc = _weighted(weights, values, acc, PRECISION, HALF_SUMS)
    return acc, high, total


@triton.jit
def _products(queries, keys, PRECISION: tl.constexpr):
    """float32 products of all queries and keys; of bytes they are whole numbers, exactly."""
    return tl.dot(queries, tl.trans(keys), input_precision=PRECISION).to(tl.float32)


@triton.jit
def _scaled(products, scale, INT8: tl.constexpr):
    if INT8:
        return products * scale[:, None]
    else:
        return products * scale


@triton.jit
def _block_scale(
    scale, total, scales, start, k_video, k_blocks, N: tl.constexpr, INT8: tl.constexpr
):  # fmt: skip
    """The factor of products with the keys of the block that begins at, or before, row `start`."""
    if INT8:
        # never so: it makes the compiler bring `scale` into the layout of the scores before the
        # loop, not its product with the step in each round
        scale = tl.where(total < 0.0, 0.0, scale)
        extra = k_blocks + (start - k_video) // N
        scale = scale * tl.load(scales + tl.where(start < k_video, start // N, extra))
    return scale


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
    SPREAD: tl.constexpr, INT8: tl.constexpr, ONLINE: tl.constexpr, PRECISION: tl.constexpr,
    HALF_SUMS: tl.constexpr,
):  # fmt: skip
    """A tile of pooled keys: `bias` is the log2 of their counts, `norms` x `widths` the second
    moment's term (section 6c), which may pass the bias only where not `capped`."""
    logits = _scaled(_products(q, keys, PRECISION), scale, INT8) + bias[None, :]
    if SPREAD:
        corrected = logits + norms[:, None] * widths[None, :]
        if capped:
            # the Gaussian term is at most the bias itself, ln of the count (section 6c)
            corrected = tl.minimum(corrected, logits + bias[None, :])
        logits = corrected
    return _fold(logits, values, acc, high, total, ONLINE, PRECISION, HALF_SUMS)


@triton.jit
def masked_keys(
    queries, position, tiles_k, tiles_v, key_base, begin, end, k_len, k_video, before,
    acc, high, total, scale, scales, k_blocks,
    N: tl.constexpr, DIM: tl.constexpr, TILE: tl.constexpr, CAUSAL: tl.constexpr,
    TMA: tl.constexpr, INT8: tl.constexpr, ONLINE: tl.constexpr, PRECISION: tl.constexpr,
    HALF_SUMS: tl.constexpr,
):  # fmt: skip
    """Contiguous keys from `begin` to `end`, with a mask per column, and per token if causal."""
    for start in tl.range(begin, end, TILE, num_stages=1):
        column = start + tl.arange(0, TILE)
        keys = _tile(tiles_k, key_base, start, k_len, DIM, TILE, TMA)
        factor = _block_scale(scale, total, scales, start, k_video, k_blocks, N, INT8)
        logits = _scaled(_products(queries, keys, PRECISION), factor, INT8)
        logits += tl.where(column < end, 0.0, EMPTY)[None, :]
        if CAUSAL:
            seen = caller_position(position, column, k_video, before, False)
            logits = tl.where(seen[None, :] <= position[:, None], logits, EMPTY)
        values = _tile(tiles_v, key_base, start, k_len, DIM, TILE, TMA)
        acc, high, total = _fold(logits, values, acc, high, total, ONLINE, PRECISION, HALF_SUMS)
    return acc, high, total


@triton.jit
def full_blocks(
    queries, tiles_k, tiles_v, full_k, full_v, key_base, entries, count, first, whole, k_len,
    acc, high, total, scale, scales, k_video, k_blocks, dims,
    N: tl.constexpr, DIM: tl.constexpr, TILE: tl.constexpr, TMA: tl.constexpr, INT8: tl.constexpr,
    ONLINE: tl.constexpr, PRECISION: tl.constexpr, HALF_SUMS: tl.constexpr, STAGES: tl.constexpr,
    GATHER_STAGES: tl.constexpr,
):  # fmt: skip
    """`count` listed blocks of N keys, then `whole` tiles from row `first` on."""
    SPLIT: tl.constexpr = N // TILE if N > TILE else 1
    GATHER: tl.constexpr = TILE > N
    tl.static_assert(not (GATHER and INT8))
    listed = count * SPLIT
    if GATHER:
        listed = count * 0  # of the same type, which a branch must not change
    for step in tl.range(0, listed + whole, num_stages=STAGES):
        entry = tl.load(entries + step // SPLIT, mask=step < listed, other=0)
        start = tl.where(
            step < listed, entry * N + step % SPLIT * TILE, first + (step - listed) * TILE
        )
        keys = _tile(tiles_k, key_base, start, k_len, DIM, TILE, TMA)
        factor = _block_scale(scale, total, scales, start, k_video, k_blocks, N, INT8)
        logits = _products(queries, keys, PRECISION)
        if ONLINE:
            acc, high, total = _raised(tl.max(logits, 1) * factor, acc, high, total, HALF_SUMS)
        exponents = _scaled(logits, factor, INT8)
        if HALF_SUMS:
            # every logit is below that: it only keeps the product apart from the subtraction, so
            # that both of its uses are rounded alike, which huge logits notice
            most = tl.full([], MOST_LOGIT, tl.float32)
            exponents = tl.minimum(exponents, most, tl.PropagateNan.ALL)
        # else scaled in the subtraction: one operation per score
        exponents -= high[:, None]
        weights = tl.exp2(exponents)
        total += tl.sum(weights, 1)
        values = _tile(tiles_v, key_base, start, k_len, DIM, TILE, TMA)
        acc = _weighted(weights, values, acc, PRECISION, HALF_SUMS)

    if GATHER:
        # blocks narrower than the tile: several to a tile, by plain gathers
        columns = tl.arange(0, TILE)
        for step in tl.range(0, count, TILE // N, num_stages=GATHER_STAGES):
            entry = step + columns // N
            valid = entry < count
            rows = tl.load(entries + entry, mask=valid, other=0) * N + columns % N
            source = rows[:, None] * DIM + dims[None, :]
            keys = tl.load(full_k + key_base * DIM + source)
            values = tl.load(full_v + key_base * DIM + source)
            logits = _products(queries, keys, PRECISION) * scale
            logits += tl.where(valid, 0.0, EMPTY)[None, :]
            acc, high, total = _fold(logits, values, acc, high, total, ONLINE, PRECISION, HALF_SUMS)
    return acc, high, total


@triton.jit
def ragged_block(
    queries, pooled_k, pooled_v, log2_counts, spread, start, rows, acc, high, total, norms, scale,
    dims, SMALL: tl.constexpr, SPREAD: tl.constexpr, INT8: tl.constexpr, ONLINE: tl.constexpr,
    PRECISION: tl.constexpr, HALF_SUMS: tl.constexpr,
):  # fmt: skip
    """A ragged last block that is pooled: groups of several sizes, which alone need a bias from
    memory."""
    for at in tl.range(0, rows, SMALL, num_stages=1):
        column = at + tl.arange(0, SMALL)
        valid = column < rows
        row = start + column
        source = row[:, None] * dims.shape[0] + dims[None, :]
        keys = tl.load(pooled_k + source, mask=valid[:, None], other=0.0)
        values = tl.load(pooled_v + source, mask=valid[:, None], other=0.0)
        bias = tl.load(log2_counts + row, mask=valid, other=EMPTY)
        widths = bias
        if SPREAD:
            widths = tl.load(spread + row, mask=valid, other=0.0)
        acc, high, total = _pooled(
            queries, keys, values, acc, high, total, norms, bias, widths, scale, True,
            SPREAD, INT8, ONLINE, PRECISION, HALF_SUMS,
        )  # fmt: skip
    return acc, high, total


@triton.jit
def pooled_list(
    queries, pooled_k, pooled_v, spread, chunks, end_2, end_4, end, acc, high, total, norms, scale,
    capped, dims,
    CHUNK: tl.constexpr, LISTED: tl.constexpr, DIM: tl.constexpr, TILE: tl.constexpr,
    SPREAD: tl.constexpr, INT8: tl.constexpr, ONLINE: tl.constexpr, PRECISION: tl.constexpr,
    HALF_SUMS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Chunks of level 2 up to column `end_2`, of level 4 up to `end_4`, of level 8 up to `end`."""
    columns = tl.arange(0, TILE)
    for start in tl.range(0, end, TILE, num_stages=STAGES):
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
            SPREAD, INT8, ONLINE, PRECISION, HALF_SUMS,
        )  # fmt: skip
    return acc, high, total


@triton.jit
def tail_level(
    queries, tiles_k, tiles_v, base, spread, coarse, tail_rows, acc, high, total, norms, scale,
    capped,
    PER_BLOCK: tl.constexpr, LOG2_TAIL: tl.constexpr, DIM: tl.constexpr, TILE: tl.constexpr,
    TMA: tl.constexpr, SPREAD: tl.constexpr, INT8: tl.constexpr, ONLINE: tl.constexpr,
    PRECISION: tl.constexpr, HALF_SUMS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """The tail's level from stored row `base` on; `spread` and `coarse` begin there too."""
    BLOCKS: tl.constexpr = TILE // PER_BLOCK
    columns = tl.arange(0, TILE)
    local = columns // PER_BLOCK
    for start in tl.range(0, tail_rows, TILE, num_stages=STAGES):
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
        keys = _tile(tiles_k, base, start, tail_rows, DIM, TILE, TMA)
        widths = norms
        if SPREAD:
            column = start + columns
            widths = columns_of(spread, column, column < tail_rows)
        values = _tile(tiles_v, base, start, tail_rows, DIM, TILE, TMA)
        acc, high, total = _pooled(
            queries, keys, values, acc, high, total, norms, bias, widths, scale, capped,
            SPREAD, INT8, ONLINE, PRECISION, HALF_SUMS,
        )  # fmt: skip
    return acc, high, total
