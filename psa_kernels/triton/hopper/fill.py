"""The warps that fill the rings: tiles of keys, tiles of values, and what is known of the columns.

A place of a ring is in use for the `at // places`-th time at tile `at`: that number's parity is the
phase that "full" ends; "empty" must have ended the phase before, which for a new barrier counts as
ended.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier, tma

from ..common import EMPTY as NOTHING
from .jobs import CHUNK, DEEP, LINE, D, N, edge, whole_row, work_of

EMPTY = gl.constexpr(NOTHING.value)
COLUMNS = gl.constexpr(gl.BlockedLayout([4], [32], [1], [0]))  # one warp's


class Known(NamedTuple):
    """What `Pyramid` has beside rows."""

    log2_counts: Any
    spread: Any
    scales: Any
    peaks: Any


@gluon.jit
def fill(
    copies, panels, full, empty, lists, sizes,
    TAIL: gl.constexpr, LISTED: gl.constexpr, PANELS: gl.constexpr, STAGES: gl.constexpr,
):  # fmt: skip
    """Fills the ring of keys, or that of values. One warp.

    copies  descriptors of 128 rows of level 1, of a chunk of pooled rows, of 128 pooled rows
    panels  `[STAGES * PANELS, 128, D / PANELS]` in shared memory
    """
    whole_rows, chunk_rows, pooled = copies
    at = 0
    for number in range(gl.program_id(0), sizes.total, gl.num_programs(0)):
        place, job, tiles = work_of(number, lists, sizes, TAIL, LISTED)
        entries = lists.full + place.row * lists.full_most
        chunks = lists.chunks + place.row * lists.chunks_most
        key_base = (place.kv_pair * sizes.k_len).to(gl.int32)
        pooled_base = (place.kv_pair * sizes.pooled_rows).to(gl.int32)
        for i in range(tiles.whole):
            row = whole_row(i, entries, job, sizes)
            slot = at % STAGES
            mbarrier.wait(empty.index(slot), (at // STAGES & 1) ^ 1)
            _copy(whole_rows, key_base + row, panels, full, slot, PANELS)
            at += 1
        for i in range(tiles.others):
            j = i - tiles.ragged - tiles.edges
            slot = at % STAGES
            if (j >= 0) & (j < tiles.lists):
                rows = ()
                for c in gl.static_range(N // CHUNK):
                    entry = gl.minimum(j * (N // CHUNK) + c, job.chunks - 1)
                    row = gl.load(chunks + entry) * CHUNK
                    rows = rows + (pooled_base + row,)  # noqa: RUF005 - no unpacking in kernels
                mbarrier.wait(empty.index(slot), (at // STAGES & 1) ^ 1)
                mbarrier.expect(full.index(slot), PANELS * N * LINE)
                for c in gl.static_range(N // CHUNK):
                    for p in gl.static_range(PANELS):
                        tma.async_copy_global_to_shared(
                            chunk_rows, [rows[c], p * (D // PANELS)], full.index(slot),
                            panels.index(slot * PANELS + p).slice(c * CHUNK, CHUNK),
                        )  # fmt: skip
            else:
                mbarrier.wait(empty.index(slot), (at // STAGES & 1) ^ 1)
                if (i >= tiles.ragged) & (j < 0):
                    row, _ = edge(i - tiles.ragged, job, sizes)
                    _copy(whole_rows, key_base + row, panels, full, slot, PANELS)
                else:
                    tail_row = sizes.tail_start + (j - tiles.lists) * N
                    row = gl.where(j < 0, job.ragged_start, tail_row)
                    _copy(pooled, pooled_base + row, panels, full, slot, PANELS)
            at += 1


@gluon.jit
def _copy(source, row, panels, full, slot, PANELS: gl.constexpr):
    """Starts the copy of 128 rows from `row` on: beyond a block's or head's end those of the next
    one, whose weights are 0, so that only its NaN and Inf arrive."""
    mbarrier.expect(full.index(slot), PANELS * N * LINE)
    for p in gl.static_range(PANELS):
        tma.async_copy_global_to_shared(
            source, [row, p * (D // PANELS)], full.index(slot), panels.index(slot * PANELS + p)
        )


@gluon.jit
def describe(
    columns, steps, full, empty, lists, known, sizes,
    PART: gl.constexpr, INT8: gl.constexpr, SPREAD: gl.constexpr, TAIL: gl.constexpr,
    LISTED: gl.constexpr, POOLED: gl.constexpr,
):  # fmt: skip
    """Fills the ring of what is known of a tile beside its rows: of one that is not whole, a bias
    and a width for each column; of any tile of bytes, their step. One of two warps, which take
    turns: what they load comes after thousands of cycles.

    columns  `[2 * DEEP, 128]` in shared memory, biases and widths in turn
    steps    `[DEEP, 1]`
    """
    one = gl.full([1], 0.0, gl.float32, COLUMNS)
    at = 0
    for number in range(gl.program_id(0), sizes.total, gl.num_programs(0)):
        place, job, tiles = work_of(number, lists, sizes, TAIL, LISTED)
        chunks = lists.chunks + place.row * lists.chunks_most
        coarse = lists.coarse + place.row * lists.words
        spread = known.spread + place.kv_pair * sizes.pooled_rows
        pooled_step = 1.0
        scales = known.scales
        if INT8:
            peak = gl.load(known.peaks + place.kv_pair)
            # NaN and infinity, which bytes cannot say, spoil what is pooled
            pooled_step = peak / 127.0 + (peak - peak)
            extra_blocks = (sizes.k_len - sizes.k_video + N - 1) // N
            scales += place.kv_pair * (sizes.k_blocks + extra_blocks)
            # from the first of its own turns on
            for i in range((at + PART) % 2, tiles.whole, 2):
                row = whole_row(i, lists.full + place.row * lists.full_most, job, sizes)
                step = one + _step_of(row, scales, sizes)
                slot = (at + i) % DEEP
                mbarrier.wait(empty.index(slot), ((at + i) // DEEP & 1) ^ 1)
                steps.index(slot).store(step)
                mbarrier.arrive(full.index(slot), count=1)
            at += tiles.whole
        for i in range((at + PART) % 2, tiles.others, 2):
            bias, width = _columns_of(
                i, job, tiles, sizes, known.log2_counts, spread, chunks, coarse, SPREAD, TAIL,
                LISTED, POOLED,
            )  # fmt: skip
            step = pooled_step
            if INT8:  # noqa: SIM102 - known when compiling, unlike what follows
                if (i >= tiles.ragged) & (i < tiles.ragged + tiles.edges):
                    row, _ = edge(i - tiles.ragged, job, sizes)
                    step = _step_of(row, scales, sizes)
            slot = (at + i) % DEEP
            mbarrier.wait(empty.index(slot), ((at + i) // DEEP & 1) ^ 1)
            columns.index(slot * 2).store(bias)
            if SPREAD:
                columns.index(slot * 2 + 1).store(width)
            if INT8:
                steps.index(slot).store(one + step)
            mbarrier.arrive(full.index(slot), count=1)
        at += tiles.others


@gluon.jit
def _step_of(row, scales, sizes):
    """The step of the bytes of the block that begins at stored row `row`."""
    extra = sizes.k_blocks + (row - sizes.k_video) // N
    return gl.load(scales + gl.where(row < sizes.k_video, row // N, extra))


@gluon.jit
def _columns_of(
    i, job, tiles, sizes, log2_counts, spread, chunks, coarse,
    SPREAD: gl.constexpr, TAIL: gl.constexpr, LISTED: gl.constexpr, POOLED: gl.constexpr,
):  # fmt: skip
    """(bias, width) of the columns of the `i`-th tile that is not whole."""
    column = gl.arange(0, N, COLUMNS)
    bias = gl.full([N], EMPTY, gl.float32, COLUMNS)
    width = gl.zeros([N], gl.float32, COLUMNS)
    at = i - tiles.ragged
    if (at >= 0) & (at < tiles.edges):
        _, valid = edge(at, job, sizes)
        bias = gl.where(column < valid, 0.0, EMPTY)
    if POOLED:  # noqa: SIM102
        if i < tiles.ragged:
            row, valid = job.ragged_start + column, column < job.ragged_rows
            bias = gl.load(log2_counts + row, mask=valid, other=EMPTY)
            if SPREAD:
                width = gl.load(spread + row, mask=valid, other=0.0)
    at -= tiles.edges
    if LISTED > 0:  # noqa: SIM102
        if (at >= 0) & (at < tiles.lists):
            place = at * N + column
            valid = place < job.chunks * CHUNK
            size = 1.0 * (LISTED.bit_length() - 1)
            if LISTED & (LISTED - 1):  # several levels
                size = gl.where(place < job.end_2, 1.0, gl.where(place < job.end_4, 2.0, 3.0))
            bias = gl.where(valid, size, EMPTY)
            if SPREAD:
                row = gl.load(chunks + place // CHUNK, mask=valid, other=0) * CHUNK
                width = gl.load(spread + row + place % CHUNK, mask=valid, other=0.0)
    if TAIL > 0:  # noqa: SIM102
        if at >= tiles.lists:
            PER_BLOCK: gl.constexpr = N // TAIL
            LOG2: gl.constexpr = TAIL.bit_length() - 1
            place = (at - tiles.lists) * N + column
            block = place // PER_BLOCK
            inside = place < job.tail_rows
            # one bit a block says whether its columns take part
            bits = gl.load(coarse + block // 32, mask=inside, other=0)
            bias = gl.where(((bits >> (block % 32)) & 1) != 0, 1.0 * LOG2, EMPTY)
            if SPREAD:
                width = gl.load(spread + sizes.tail_start + place, mask=inside, other=0.0)
    return bias, width
