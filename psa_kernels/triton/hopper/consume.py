"""The warps that multiply: four for each half of a query block's 128 queries.

A consumer multiplies its queries with one tile while it multiplies the weights of the tile before
with its values, and takes the exponentials meanwhile.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    warpgroup_mma,
    warpgroup_mma_wait,
)

from .. import common
from .jobs import D, M, N, place_of, work_of
from .weights import SUMS, shrunk, sums_of, weights_of

BOUND, BOUND_ROOM = gl.constexpr(common.BOUND.value), gl.constexpr(common.BOUND_ROOM.value)
EMPTY, POOLED_MOST = gl.constexpr(common.EMPTY.value), gl.constexpr(common.POOLED_MOST.value)
LOADED = gl.constexpr(gl.BlockedLayout([1, 8], [2, 16], [4, 1], [1, 0]))  # rows of q and of out
_barrier = getattr(gl, "barrier", None) or gl.thread_barrier  # its name until Triton 3.7


class Rows(NamedTuple):
    """A tensor `[B, H, L, D]` of the caller's, and its strides."""

    at: Any
    batch: Any
    head: Any
    row: Any
    dim: Any


class Order(NamedTuple):
    """Of the tokens, and strides of batches and heads."""

    at: Any
    batch: Any
    head: Any


@gluon.jit
def _multiply(q, read, bars, at, LOGITS: gl.constexpr, STAGES: gl.constexpr):
    """Starts the products of the queries and tile `at`."""
    slot = at % STAGES
    mbarrier.wait(bars.k_full.index(slot), at // STAGES & 1)
    KIND: gl.constexpr = gl.int32 if read.k.dtype == gl.int8 else gl.float32
    nothing = gl.zeros([M, N], KIND, LOGITS)
    keys = read.k.index(slot).permute((1, 0))
    return warpgroup_mma(q, keys, nothing, use_acc=False, is_async=True)


@gluon.jit
def _weigh(weights, read, acc, bars, at, STAGES: gl.constexpr):
    """Starts to add tile `at`'s weighted values to `acc`."""
    slot = at % STAGES
    mbarrier.wait(bars.v_full.index(slot), at // STAGES & 1)
    return warpgroup_mma(weights, read.v.index(slot), acc, is_async=True)


@gluon.jit
def _take_turn(bars, at, HALF: gl.constexpr, TURNS: gl.constexpr):
    """Waits until the other consumer has started its products of the tile before, or this one."""
    if TURNS:
        mbarrier.wait(bars.turns.index(HALF), (at & 1) ^ (1 - HALF))


@gluon.jit
def _give_turn(bars, HALF: gl.constexpr, TURNS: gl.constexpr):
    if TURNS:
        mbarrier.arrive(bars.turns.index(1 - HALF), count=1)


@gluon.jit
def _tiles(
    q, read, bars, at, seen, count, row_scale, norms, high, ceiling, acc, total,
    WHOLE: gl.constexpr, HALF: gl.constexpr, LOGITS: gl.constexpr, INT8: gl.constexpr,
    SPREAD: gl.constexpr, CAPPED: gl.constexpr, ONLINE: gl.constexpr, STAGES: gl.constexpr,
    TURNS: gl.constexpr,
):  # fmt: skip
    """`count` tiles; `at` and `seen`: numbers of the first in the rings of tiles and of columns.

    The first is always CAPPED, where the cap changes nothing: a pooled short block may be it, whose
    groups `steepest` may not know.
    """
    if count > 0:
        _take_turn(bars, at, HALF, TURNS)
        products = _multiply(q, read, bars, at, LOGITS, STAGES)
        _give_turn(bars, HALF, TURNS)
        products = warpgroup_mma_wait(0, [products])
        mbarrier.arrive(bars.k_empty.index(at % STAGES), count=1)
        weights, sums, high, shrink = weights_of(
            products, row_scale, norms, high, ceiling, read, bars, seen, WHOLE, LOGITS, INT8,
            SPREAD, True, ONLINE,
        )  # fmt: skip
        acc, total = shrunk(acc, total, shrink, ONLINE)
        total += sums
        for i in range(at + 1, at + count):
            _take_turn(bars, i, HALF, TURNS)
            products = _multiply(q, read, bars, i, LOGITS, STAGES)
            later = _weigh(weights, read, acc, bars, i - 1, STAGES)
            _give_turn(bars, HALF, TURNS)
            products = warpgroup_mma_wait(1, [products])
            mbarrier.arrive(bars.k_empty.index(i % STAGES), count=1)
            # while the values are multiplied
            weights, sums, high, shrink = weights_of(
                products, row_scale, norms, high, ceiling, read, bars, seen + i - at, WHOLE, LOGITS,
                INT8, SPREAD, CAPPED, ONLINE,
            )  # fmt: skip
            # it has ended long ago: ptxas moves nothing across its branch, and would move the wait
            # that follows before the exponentials
            mbarrier.wait(bars.v_full.index((i - 1) % STAGES), (i - 1) // STAGES & 1)
            acc = warpgroup_mma_wait(0, [later])
            mbarrier.arrive(bars.v_empty.index((i - 1) % STAGES), count=1)
            acc, total = shrunk(acc, total, shrink, ONLINE)
            total += sums
        last = at + count - 1
        acc = warpgroup_mma_wait(0, [_weigh(weights, read, acc, bars, last, STAGES)])
        mbarrier.arrive(bars.v_empty.index(last % STAGES), count=1)
    return high, acc, total


@gluon.jit
def _positions(place, sizes, order, HALF: gl.constexpr, ORDERED: gl.constexpr):
    """(caller's positions of a consumer's queries, which of them there are), of layout LOADED."""
    first = gl.where(place.is_extra, sizes.q_video, 0) + place.block * (2 * M) + HALF * M
    end = gl.where(place.is_extra, sizes.q_len, sizes.q_video)
    at = first + gl.arange(0, M, gl.SliceLayout(1, LOADED))
    inside = at < sizes.q_video
    token = at
    if ORDERED:
        own = order.at + place.batch * order.batch + place.head * order.head
        token = gl.load(own + at, mask=inside, other=0).to(gl.int32)
    # extra places count the prefix first; a suffix token's place is already its position
    outside = gl.where(at - sizes.q_video < sizes.before, at - sizes.q_video, at)
    return gl.where(inside, sizes.before + token, outside), at < end


@gluon.jit
def _pointers(rows, place, position):
    """To the rows at `position` of a block's head, `[64, 128]`."""
    dims = gl.arange(0, D, gl.SliceLayout(0, LOADED))
    head = rows.at + place.batch * rows.batch + place.head * rows.head
    row = gl.expand_dims(position.to(gl.int64) * rows.row, 1)
    return head + row + gl.expand_dims(dims.to(gl.int64) * rows.dim, 0)


@gluon.jit
def _inside(real, HEAD_DIM: gl.constexpr):
    dims = gl.arange(0, D, gl.SliceLayout(0, LOADED))
    return gl.expand_dims(real, 1) & gl.expand_dims(dims < HEAD_DIM, 0)


@gluon.jit
def consume(
    HALF: gl.constexpr, q_tiles, held, read, bars, queries, written, order, lists, limits, sizes,
    scale, spread_scale, HEAD_DIM: gl.constexpr, ORDERED: gl.constexpr, NEGATIVE: gl.constexpr,
    INT8: gl.constexpr, SPREAD: gl.constexpr, TAIL: gl.constexpr, LISTED: gl.constexpr,
    STAGES: gl.constexpr, TURNS: gl.constexpr,
):  # fmt: skip
    """Attention of the blocks' queries `HALF * 64` and on. Four warps."""
    LOGITS: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, 128, 32 if INT8 else 16])
    ROWS: gl.constexpr = gl.SliceLayout(1, LOGITS)
    longest, steepest = limits
    q_tile, number_again = q_tiles.index(HALF), held.index(HALF)
    at, seen = 0, 0
    for number in range(gl.program_id(0), sizes.total, gl.num_programs(0)):
        place, _, tiles = work_of(number, lists, sizes, TAIL, LISTED)
        whole, others = tiles.whole, tiles.others
        position, real = _positions(place, sizes, order, HALF, ORDERED)
        loaded = gl.load(
            _pointers(queries, place, position), mask=_inside(real, HEAD_DIM), other=0.0
        )
        if NEGATIVE:
            # the maximum of a row is taken before the scale: the sign belongs to the queries
            loaded = -loaded
        values = loaded.to(gl.float32)
        squares = gl.sum(values * values, 1)
        row_scale = gl.full([M], 0.0, gl.float32, gl.SliceLayout(1, LOADED)) + scale
        if INT8:
            largest = gl.max(gl.abs(values), 1)
            values = values * gl.expand_dims(gl.where(largest > 0, 127.0 / largest, 0.0), 1)
            # as in `common.as_bytes`
            q_tile.store(((values + 12582912.0) - 12582912.0).to(gl.int8))
            # NaN and infinity, which bytes cannot say, spoil the row
            row_scale = row_scale * (largest / 127.0 + (squares - squares))
        else:
            q_tile.store(loaded)
        number_again.store(gl.full([1], 0, gl.int32, gl.SliceLayout(1, LOADED)) + number)
        fence_async_shared()
        _barrier()
        squares = gl.convert_layout(squares, ROWS)
        row_scale = gl.convert_layout(row_scale, ROWS)
        norms = squares * spread_scale
        # as in `attend_kernel`, but of all of a consumer's queries together
        bound = gl.max(gl.sqrt(squares * gl.load(longest + place.kv_pair)) * scale, 0)
        ceiling = bound + (POOLED_MOST - BOUND_ROOM)
        high = gl.full([M], EMPTY, gl.float32, ROWS)
        capped = True
        if SPREAD:
            # whether the cap can bind anywhere in this half
            capped = not (gl.max(norms, 0) * gl.load(steepest + place.kv_pair) <= 1.0)

        acc = gl.zeros([M, D], gl.float32, SUMS)
        total = sums_of(gl.zeros([M, N], gl.float32, LOGITS))
        # of whole tiles the ring of columns knows the bytes' steps only
        after = seen
        if INT8:
            after += whole
        # an infinite or NaN bound means the running maximum
        if bound <= BOUND:
            high, acc, total = _tiles(
                q_tile, read, bars, at, seen, whole, row_scale, norms, high, ceiling, acc, total,
                True, HALF, LOGITS, INT8, SPREAD, True, False, STAGES, TURNS,
            )  # fmt: skip
            # the other loop exists with and without the cap; the call is written once
            for variant in gl.static_range(2 if SPREAD else 1):
                if capped == (variant == 0):
                    high, acc, total = _tiles(
                        q_tile, read, bars, at + whole, after, others, row_scale, norms, high,
                        ceiling, acc, total, False, HALF, LOGITS, INT8, SPREAD, variant == 0, False,
                        STAGES, TURNS,
                    )  # fmt: skip
        else:
            high, acc, total = _tiles(
                q_tile, read, bars, at, seen, whole, row_scale, norms, high, ceiling, acc, total,
                True, HALF, LOGITS, INT8, SPREAD, True, True, STAGES, TURNS,
            )  # fmt: skip
            high, acc, total = _tiles(
                q_tile, read, bars, at + whole, after, others, row_scale, norms, high, ceiling, acc,
                total, False, HALF, LOGITS, INT8, SPREAD, True, True, STAGES, TURNS,
            )  # fmt: skip
        at += whole + others
        seen = after + others

        total = gl.convert_layout(gl.sum(total, 1), gl.SliceLayout(1, SUMS))
        result = acc * gl.expand_dims(1.0 / total, 1)
        if written.at.dtype.element_ty == gl.float16:
            # values at float16's end are rounded past it, to 65536; infinite ones stay infinite
            past = (gl.abs(result) > 65504.0) & (gl.abs(result) < 65700.0)
            result = gl.where(past, gl.where(result > 0, 65504.0, -65504.0), result)
        result = gl.convert_layout(result.to(written.at.dtype.element_ty), LOADED)
        # worked out again, from memory: held through the loops it would take their registers
        again = gl.max(number_again.load(gl.SliceLayout(1, LOADED)), 0)
        place = place_of(again, sizes)
        position, real = _positions(place, sizes, order, HALF, ORDERED)
        gl.store(_pointers(written, place, position), result, mask=_inside(real, HEAD_DIM))
