"""Stage 6 on Hopper: the attention kernel with warps that have tasks of their own.

What a program computes is what `attend_kernel` says; this one is for blocks of 128 queries and 128
keys, heads of 65 to 128 channels, no causal mask and sums of values in float32. It is written in
Gluon, because plain Triton cannot say who does what.

A program works on query blocks, one after the other: one program a multiprocessor, blocks in the
order of `attend_kernel`'s grid. Two consumers of four warps each have 64 of a block's queries.
Tiles of 128 keys and of their values come through rings in shared memory, which both consumers
read: half the reads from the L2 that programs of 64 queries make. One warp fills the ring of keys,
one that of values, and two that of what is known of the columns.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, mbarrier

from .consume import Order, Rows, consume
from .fill import Known, describe, fill
from .jobs import DEEP, D, Lists, M, N, Sizes
from .weights import Bars, Read

FLAT = gl.constexpr(gl.SwizzledSharedLayout(1, 1, 1, [0]))


@gluon.jit
def _ring(STAGES: gl.constexpr):
    """(full, empty): barriers of a ring. One warp fills a place, both consumers read it."""
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    for i in gl.static_range(STAGES):
        mbarrier.init(full.index(i), count=1)
        mbarrier.init(empty.index(i), count=2)
    return full, empty


@gluon.jit(do_not_specialize=[
    "order_batch", "order_head", "full_most", "chunks_most", "words", "heads", "q_len", "k_len",
    "q_video", "k_video", "before", "q_blocks", "k_blocks", "extra_programs", "pooled_rows",
    "start_2", "start_4", "start_8", "tail_start", "programs", "total",
])  # fmt: skip
def hopper_kernel(
    q, q_batch, q_head, q_row, q_dim, order, order_batch, order_head,
    out, out_batch, out_head, out_row, out_dim,
    full_k, full_v, chunks_k, chunks_v, pooled_k, pooled_v, programs, total,
    log2_counts, spread, steepest, longest, scales, peaks,
    matrix, full, chunks, counts, coarse, full_most, chunks_most, words,
    heads, heads_per_kv, q_len, k_len, q_video, k_video, before, q_blocks, k_blocks,
    extra_programs, pooled_rows, start_2, start_4, start_8, tail_start, scale, spread_scale,
    HEAD_DIM: gl.constexpr, TAIL: gl.constexpr, LISTED: gl.constexpr, POOLED: gl.constexpr,
    SPREAD: gl.constexpr, ORDERED: gl.constexpr, NEGATIVE: gl.constexpr, INT8: gl.constexpr,
    STAGES: gl.constexpr,
):  # fmt: skip
    """`total` query blocks, `programs` of each head. Copies of tiles and, for the lists, chunks."""
    # compilers hand Python floats over as float64 (or float32): fix one
    scale = gl.to_tensor(scale).to(gl.float32)
    spread_scale = gl.to_tensor(spread_scale).to(gl.float32)
    PANELS: gl.constexpr = 1 if INT8 else 2
    # without bytes it is the products that take longest: consumers that take turns at them overlap
    TURNS: gl.constexpr = not INT8
    KEYS: gl.constexpr = full_k.dtype
    VALUES: gl.constexpr = full_v.dtype
    q_tiles = gl.allocate_shared_memory(KEYS, [2, M, D], full_k.layout)
    k_tiles = gl.allocate_shared_memory(KEYS, [STAGES, N, D], full_k.layout)
    v_tiles = gl.allocate_shared_memory(VALUES, [STAGES, N, D], full_v.layout)
    columns = gl.allocate_shared_memory(gl.float32, [DEEP * 2, N], FLAT)
    steps = gl.allocate_shared_memory(gl.float32, [DEEP, 1], FLAT)
    held = gl.allocate_shared_memory(gl.int32, [2, 1], FLAT)
    k_panels = k_tiles._reinterpret(KEYS, [STAGES * PANELS, N, D // PANELS], full_k.layout)
    v_panels = v_tiles._reinterpret(VALUES, [STAGES * 2, N, D // 2], full_v.layout)
    k_full, k_empty = _ring(STAGES)
    v_full, v_empty = _ring(STAGES)
    c_full, c_empty = _ring(DEEP)
    turns = gl.allocate_shared_memory(gl.int64, [2, 1], mbarrier.MBarrierLayout())
    for i in gl.static_range(2):
        mbarrier.init(turns.index(i), count=1)
    fence_async_shared()  # copies signal these barriers
    sizes = Sizes(
        heads, heads_per_kv, q_len, k_len, q_video, k_video, before, q_blocks, k_blocks,
        extra_programs, pooled_rows, start_2, start_4, start_8, tail_start, programs, total,
    )  # fmt: skip
    lists = Lists(matrix, full, chunks, counts, coarse, full_most, chunks_most, words)
    known = Known(log2_counts, spread, scales, peaks)
    queries = Rows(q, q_batch, q_head, q_row, q_dim)
    written = Rows(out, out_batch, out_head, out_row, out_dim)
    ordered = Order(order, order_batch, order_head)
    read = Read(k_tiles, v_tiles, columns, steps)
    bars = Bars(k_full, k_empty, v_full, v_empty, c_full, c_empty, turns)
    limits = (longest, steepest)
    gl.warp_specialize(
        [
            (consume, (0, q_tiles, held, read, bars, queries, written, ordered, lists, limits,
                       sizes, scale, spread_scale, HEAD_DIM, ORDERED, NEGATIVE, INT8, SPREAD, TAIL,
                       LISTED, STAGES, TURNS)),
            (consume, (1, q_tiles, held, read, bars, queries, written, ordered, lists, limits,
                       sizes, scale, spread_scale, HEAD_DIM, ORDERED, NEGATIVE, INT8, SPREAD, TAIL,
                       LISTED, STAGES, TURNS)),
            (fill, ((full_k, chunks_k, pooled_k), k_panels, k_full, k_empty, lists, sizes,
                    TAIL, LISTED, PANELS, STAGES)),
            (fill, ((full_v, chunks_v, pooled_v), v_panels, v_full, v_empty, lists, sizes,
                    TAIL, LISTED, 2, STAGES)),
            (describe, (columns, steps, c_full, c_empty, lists, known, sizes, 0, INT8, SPREAD,
                        TAIL, LISTED, POOLED)),
            (describe, (columns, steps, c_full, c_empty, lists, known, sizes, 1, INT8, SPREAD,
                        TAIL, LISTED, POOLED)),
        ],
        [4, 1, 1, 1, 1],
        [232, 40, 40, 40, 40],
    )  # fmt: skip
