"""Stage 2: the kernels that put like keys together (section 3b).

`power_kernel` (grid: chunks of tokens; batch x heads) sums the squares of the queries' channels.
`scales_kernel` (grid: some of the blocks; batch x key/value heads) sums the squared deviations of
keys and values from their block's mean. `bisect_kernel` (grid: tiles of 128 tokens; batch x
key/value heads) orders the tokens of its tile. For blocks of more than 32 it is launched twice:
once for the first cuts, and once, with the tokens gathered again, for the cuts of sets of 32. Those
need a quarter of the inner products; the first launch waits for registers and exchanges, not for
arithmetic.

Bisecting only needs inner products. With the Gram matrix of each set in registers, a token's
projection on the direction of largest spread is a row of the matrix times a vector, and a round of
power iteration is one multiply-add per element. Tokens do not move: each has a rank, ranks that
only differ in their low bits are one set, and elements between sets are zero. Reductions go along
rows, each held by one quad of threads. Sorting is counting: a token's new rank is the number of
tokens in its set that come before it. Projections are not normalised; the features are, so that
three products stay in range.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .common import caller_position


@triton.jit(do_not_specialize=["heads", "video", "before", "chunks"])
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
            q + rows[:, None] * q_row + dims[None, :].to(tl.int64) * q_dim,
            mask=(place < video)[:, None] & (dims < HEAD_DIM)[None, :], other=0.0,
        ).to(tl.float32)  # fmt: skip
        total += x * x
    tl.store(sums + (pair * chunks + chunk) * DIM + dims, tl.sum(total, 0))


@triton.jit
def _block_deviations(
    x, x_row, x_dim, position, BLOCK: tl.constexpr, HEAD_DIM: tl.constexpr, DIM: tl.constexpr
):
    """float32 `[BLOCK, DIM]`: rows of `x` minus their mean."""
    dims = tl.arange(0, DIM)
    x = tl.load(
        x + position[:, None] * x_row + dims[None, :].to(tl.int64) * x_dim,
        mask=(dims < HEAD_DIM)[None, :], other=0.0,
    ).to(tl.float32)  # fmt: skip
    return x - tl.sum(x, 0)[None, :] / BLOCK


@triton.jit(do_not_specialize=[
    "order_batch", "order_head", "heads", "video", "before", "samples", "every",
])  # fmt: skip
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
def _rows(
    x, x_row, x_dim, position, anchor, real, HEAD_DIM: tl.constexpr, FIRST: tl.constexpr,
    WIDTH: tl.constexpr, AXIS: tl.constexpr,
):  # fmt: skip
    """Some channels of the tokens at `position`, and of the one at `anchor`."""
    dims = FIRST + tl.arange(0, WIDTH)
    for _ in tl.static_range(AXIS):
        dims = tl.expand_dims(dims, 0)
    inside = dims < HEAD_DIM
    rows = tl.load(
        x + tl.expand_dims(position, AXIS) * x_row + dims.to(tl.int64) * x_dim,
        mask=tl.expand_dims(real, AXIS) & inside, other=0.0,
    )  # fmt: skip
    return rows, tl.load(x + anchor * x_row + dims.to(tl.int64) * x_dim, mask=inside, other=0.0)


@triton.jit
def _gram(
    gram, x, anchor, factors, HEAD_DIM: tl.constexpr, FIRST: tl.constexpr, WIDTH: tl.constexpr,
    PRODUCT: tl.constexpr, AXIS: tl.constexpr,
):  # fmt: skip
    """Adds the products of the rows of `x`, minus `anchor`, to `gram`."""
    dims = FIRST + tl.arange(0, WIDTH)
    factor = tl.load(factors + dims, mask=dims < HEAD_DIM, other=0.0)
    for _ in tl.static_range(AXIS):
        factor = tl.expand_dims(factor, 0)
    x = ((x.to(tl.float32) - anchor.to(tl.float32)) * factor).to(PRODUCT)
    if AXIS == 1:  # noqa: SIM108 - kernels have no such operator over shapes
        gram = tl.dot(x, tl.trans(x), gram)
    else:
        gram = tl.dot(x, tl.permute(x, (0, 2, 1)), gram)
    return gram


@triton.jit
def _halved(gram, rank, SIZE: tl.constexpr, ROUNDS: tl.constexpr, AXIS: tl.constexpr):
    """`gram` with zeros between sets of SIZE ranks, and the ranks sorted in each set."""
    mine, other = tl.expand_dims(rank, AXIS), tl.expand_dims(rank, AXIS - 1)
    same = (mine ^ other) < SIZE
    gram = tl.where(same, gram, 0.0)
    # rows minus their mean: products with a vector then only see its deviations
    mean = tl.expand_dims(tl.sum(gram, AXIS) / SIZE, AXIS)
    gram = tl.where(same, gram - mean, 0.0)
    # any start works that is not perpendicular to a set's direction
    line = tl.sum(gram * other.to(tl.float32), AXIS)
    for _ in tl.static_range(ROUNDS):
        line = tl.sum(gram * tl.expand_dims(line, AXIS - 1), AXIS)
    # NaN cannot be ordered
    line = tl.where(line == line, line, 0.0)
    at, others = tl.expand_dims(line, AXIS), tl.expand_dims(line, AXIS - 1)
    earlier = (others < at) | ((others == at) & (other < mine))
    count = tl.sum((same & earlier).to(tl.int32), AXIS)
    return gram, (rank & ~(SIZE - 1)) + count


@triton.jit(do_not_specialize=["order_batch", "order_head", "heads", "video", "before", "whole"])
def bisect_kernel(
    k, k_batch, k_head, k_row, k_dim, v, v_batch, v_head, v_row, v_dim,
    order, order_batch, order_head, factors, earlier, places, heads, video, before, whole,
    HEAD_DIM: tl.constexpr, DIM: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr,
    SET: tl.constexpr, SIZE: tl.constexpr, LEVELS: tl.constexpr, ORDERED: tl.constexpr,
    WIDTH: tl.constexpr, ROUNDS: tl.constexpr, PRODUCT: tl.constexpr,
):  # fmt: skip
    """Cuts sets of SIZE tokens in halves, LEVELS times; SET tokens share a Gram matrix.

    factors  float32 `[B, Hkv, 2, D]`: for the channels of keys, then of values
    earlier  uint8 `[B, Hkv, whole]`: the order of the tokens in each block before this launch, if
             SIZE is smaller than BLOCK
    places   the order after it
    whole    tokens in whole blocks
    """
    # one matrix is a plain product, which suits Hopper's units; several are products of three axes
    AXIS: tl.constexpr = 1 if SET == TILE else 2
    pair = tl.program_id(1).to(tl.int64)
    batch, head = pair // heads, pair % heads
    k += batch * k_batch + head * k_head
    v += batch * v_batch + head * v_head
    order += batch * order_batch + head * order_head
    factors += pair * 2 * HEAD_DIM
    own = tl.arange(0, SET)
    gram = tl.zeros([SET, SET], tl.float32)
    if AXIS == 2:
        own = tl.arange(0, TILE // SET)[:, None] * SET + own[None, :]
        gram = tl.zeros([TILE // SET, SET, SET], tl.float32)
    slot = tl.program_id(0) * TILE + own
    real = slot < whole
    inside = own & (BLOCK - 1)
    if SIZE < BLOCK:
        inside = tl.load(earlier + pair * whole + slot, mask=real, other=0).to(tl.int32)
    place = tl.where(real, (slot & ~(BLOCK - 1)) + inside, 0)
    position = caller_position(order, place, video, before, ORDERED).to(tl.int64)

    # a token of the tile is subtracted from all, so that a large mean does not cost precision
    anchor = caller_position(order, tl.program_id(0) * TILE, video, before, ORDERED).to(tl.int64)
    for part in tl.static_range(DIM // WIDTH):
        # both at once: a program alone on its unit has no other work while it waits
        keys, key = _rows(k, k_row, k_dim, position, anchor, real, HEAD_DIM, part * WIDTH, WIDTH,
                          AXIS)  # fmt: skip
        values, value = _rows(v, v_row, v_dim, position, anchor, real, HEAD_DIM, part * WIDTH,
                              WIDTH, AXIS)  # fmt: skip
        gram = _gram(gram, keys, key, factors, HEAD_DIM, part * WIDTH, WIDTH, PRODUCT, AXIS)
        gram = _gram(gram, values, value, factors + HEAD_DIM, HEAD_DIM, part * WIDTH, WIDTH,
                     PRODUCT, AXIS)  # fmt: skip

    rank = own & (SET - 1)
    for level in tl.static_range(LEVELS):
        gram, rank = _halved(gram, rank, SIZE >> level, ROUNDS, AXIS)
    target = places + pair * whole + (slot & ~(SET - 1)) + rank
    tl.store(target, inside.to(tl.uint8), mask=real)
