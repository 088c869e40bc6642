"""Stage 2: the kernels that put like keys together (section 3b).

`power_kernel` (grid: chunks of tokens; batch x heads) sums the squares of the queries' channels.
`scales_kernel` (grid: some of the blocks; batch x key/value heads) sums the squares of what keys
and values deviate from their block's mean. `bisect_kernel` (grid: tiles of 128 tokens; batch x
key/value heads) orders the keys of the blocks in its tile.

Bisecting needs inner products only. With the Gram matrix of a tile in registers, 128 x 128, made
by two matrix products, a token's projection on the direction of largest spread is a row of it
times a vector, and a round of power iteration one multiply-add per element. Tokens do not move:
each has a rank, ranks that differ in their low bits only are one set, and elements between sets are
zero. Reductions go along rows, which one quad of threads holds. Sorting is counting: a token's new
rank is the number of those in its set that come before it.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .common import caller_position

GOLDEN = tl.constexpr(0.6180339887498949)


@triton.jit(do_not_specialize=["video", "before", "chunks"])
def power_kernel(
    q, q_batch, q_head, q_row, q_dim, sums, heads, video, before, chunks,
    HEAD_DIM: tl.constexpr, DIM: tl.constexpr, ROWS: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    chunk = tl.program_id(0)
    pair = tl.program_id(1).to(tl.int64)
    q += pair // heads * q_batch + pair % heads * q_head
    dims = tl.arange(0, DIM)
    total = tl.zeros([ROWS, DIM], tl.float32)
    for first in tl.range(0, CHUNK, ROWS):
        place = chunk * CHUNK + first + tl.arange(0, ROWS)
        rows = (before + place).to(tl.int64)
        x = tl.load(
            q + rows[:, None] * q_row + dims[None, :] * q_dim,
            mask=(place < video)[:, None] & (dims < HEAD_DIM)[None, :], other=0.0,
        ).to(tl.float32)  # fmt: skip
        total += x * x
    tl.store(sums + (pair * chunks + chunk) * DIM + dims, tl.sum(total, 0))


@triton.jit
def _block_deviations(
    x, x_row, x_dim, position, BLOCK: tl.constexpr, HEAD_DIM: tl.constexpr, DIM: tl.constexpr
):
    """float32 `[BLOCK, DIM]`: rows of `x` less their mean."""
    dims = tl.arange(0, DIM)
    x = tl.load(
        x + position[:, None] * x_row + dims[None, :] * x_dim,
        mask=(dims < HEAD_DIM)[None, :], other=0.0,
    ).to(tl.float32)  # fmt: skip
    return x - tl.sum(x, 0)[None, :] / BLOCK


@triton.jit(do_not_specialize=["video", "before", "samples", "every"])
def scales_kernel(
    k, k_batch, k_head, k_row, k_dim, v, v_batch, v_head, v_row, v_dim,
    order, order_batch, order_head, power, sums, heads, video, before, samples, every,
    HEAD_DIM: tl.constexpr, DIM: tl.constexpr, BLOCK: tl.constexpr, ORDERED: tl.constexpr,
):  # fmt: skip
    sample = tl.program_id(0)
    pair = tl.program_id(1).to(tl.int64)
    batch, head = pair // heads, pair % heads
    order += batch * order_batch + head * order_head
    place = sample * every * BLOCK + tl.arange(0, BLOCK)
    position = caller_position(order, place, video, before, ORDERED).to(tl.int64)
    dims = tl.arange(0, DIM)
    off = _block_deviations(k + batch * k_batch + head * k_head, k_row, k_dim, position, BLOCK,
                            HEAD_DIM, DIM)  # fmt: skip
    weight = tl.load(power + pair * HEAD_DIM + dims, mask=dims < HEAD_DIM, other=0.0)
    target = sums + (pair * samples + sample) * 2
    tl.store(target, tl.sum(tl.sum(off * off, 0) * weight, 0))
    off = _block_deviations(v + batch * v_batch + head * v_head, v_row, v_dim, position, BLOCK,
                            HEAD_DIM, DIM)  # fmt: skip
    tl.store(target + 1, tl.sum(tl.sum(off * off, 0), 0))


@triton.jit
def _gram(
    gram, x, x_row, x_dim, position, real, factor, HEAD_DIM: tl.constexpr, TILE: tl.constexpr,
    FIRST: tl.constexpr, WIDTH: tl.constexpr, PRODUCT: tl.constexpr,
):  # fmt: skip
    """Adds the products of `x`'s rows, in some channels, less the tile's mean, to `gram`."""
    dims = FIRST + tl.arange(0, WIDTH)
    x = tl.load(
        x + position[:, None] * x_row + dims[None, :] * x_dim,
        mask=real[:, None] & (dims < HEAD_DIM)[None, :], other=0.0,
    ).to(tl.float32)  # fmt: skip
    # sets are centred later on; this keeps large means out of the rounding
    mean = tl.sum(x, 0) / tl.maximum(tl.sum(real.to(tl.float32), 0), 1.0)
    x = tl.where(real[:, None], (x - mean[None, :]) * factor[None, :], 0.0).to(PRODUCT)
    return tl.dot(x, tl.trans(x), gram)


@triton.jit(do_not_specialize=["video", "before", "whole"])
def bisect_kernel(
    k, k_batch, k_head, k_row, k_dim, v, v_batch, v_head, v_row, v_dim,
    order, order_batch, order_head, factors, places, heads, video, before, whole,
    HEAD_DIM: tl.constexpr, DIM: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr,
    ORDERED: tl.constexpr, WIDTH: tl.constexpr, LEVELS: tl.constexpr, ROUNDS: tl.constexpr,
    PRODUCT: tl.constexpr,
):  # fmt: skip
    """factors  float32 `[B, Hkv, 2, D]`: of the channels of keys, then of values
    whole    tokens in whole blocks
    """
    pair = tl.program_id(1).to(tl.int64)
    batch, head = pair // heads, pair % heads
    k += batch * k_batch + head * k_head
    v += batch * v_batch + head * v_head
    order += batch * order_batch + head * order_head
    factors += pair * 2 * HEAD_DIM
    own = tl.arange(0, TILE)
    place = tl.program_id(0) * TILE + own
    real = place < whole
    position = caller_position(order, tl.where(real, place, 0), video, before, ORDERED)
    position = position.to(tl.int64)

    gram = tl.zeros([TILE, TILE], tl.float32)
    for part in tl.static_range(DIM // WIDTH):
        dims = part * WIDTH + tl.arange(0, WIDTH)
        inside = dims < HEAD_DIM
        of_keys = tl.load(factors + dims, mask=inside, other=0.0)
        gram = _gram(gram, k, k_row, k_dim, position, real, of_keys, HEAD_DIM, TILE,
                     part * WIDTH, WIDTH, PRODUCT)  # fmt: skip
        of_values = tl.load(factors + HEAD_DIM + dims, mask=inside, other=0.0)
        gram = _gram(gram, v, v_row, v_dim, position, real, of_values, HEAD_DIM, TILE,
                     part * WIDTH, WIDTH, PRODUCT)  # fmt: skip

    # any start does that lies across no set's direction: scattered numbers, no two alike
    start = own.to(tl.float32) * GOLDEN
    start = start - tl.floor(start) - 0.5
    rank = own
    for level in tl.static_range(LEVELS):
        size: tl.constexpr = BLOCK >> level
        same = (rank[:, None] ^ rank[None, :]) < size
        gram = tl.where(same, gram, 0.0)
        mean = tl.sum(gram, 1) / size
        # rows less their mean: products with a vector then read its deviations only
        gram = tl.where(same, gram - mean[:, None], 0.0)
        line = tl.sum(gram * start[None, :], 1)
        for _ in tl.static_range(ROUNDS):
            # by the largest of the tile: only their order counts, and it must stay in range
            line = line / tl.maximum(tl.max(tl.abs(line), 0), 1.0e-30)
            line = tl.sum(gram * line[None, :], 1)
        earlier = (line[None, :] < line[:, None]) | (
            (line[None, :] == line[:, None]) & (rank[None, :] < rank[:, None])
        )
        count = tl.sum((same & earlier).to(tl.int32), 1)
        rank = (rank & ~(size - 1)) + count
    target = places + pair * whole + tl.program_id(0) * TILE + rank
    tl.store(target, (own & (BLOCK - 1)).to(tl.uint8), mask=real)
