"""What a query block reads: tiles of 128 stored rows, in an order that all warps follow.

whole tiles   listed key blocks, then what contiguous keys (extra ones, all for extra queries,
              a last short block on level 1) make whole tiles: no bias
other tiles   a short last block that is pooled; the ends of contiguous keys; pooled blocks in
              chunks of 16 rows, eight to a tile; the tail's level. Each column has a bias (log2
              of its tokens, or EMPTY) and a width (the second moment's)
"""

from __future__ import annotations

from typing import Any, NamedTuple

from triton.experimental import gluon
from triton.experimental.gluon import language as gl

M = gl.constexpr(64)  # queries of a consumer
N = gl.constexpr(128)  # keys of a tile, and of a block
D = gl.constexpr(128)  # channels of a stored row
CHUNK = gl.constexpr(16)  # pooled rows that lie together: of a block on level 8
DEEP = gl.constexpr(4)  # places in the ring of columns and steps
LINE = gl.constexpr(128)  # bytes of a row that lie together in shared memory: a panel's


class Sizes(NamedTuple):
    """Of a call, in the order of `attend_kernel`'s arguments. programs: query blocks of a head,
    total: of all heads."""

    heads: Any
    heads_per_kv: Any
    q_len: Any
    k_len: Any
    q_video: Any
    k_video: Any
    before: Any
    q_blocks: Any
    k_blocks: Any
    extra_programs: Any
    pooled_rows: Any
    start_2: Any
    start_4: Any
    start_8: Any
    tail_start: Any
    programs: Any
    total: Any


class Lists(NamedTuple):
    """`levels.Plan`."""

    matrix: Any
    full: Any
    chunks: Any
    counts: Any
    coarse: Any
    full_most: Any
    chunks_most: Any
    words: Any


class Place(NamedTuple):
    """kv_pair: of the keys, among all batches' heads. row: of the lists. block: of extra queries if
    `is_extra`, else of video queries."""

    batch: Any
    head: Any
    kv_pair: Any
    row: Any
    is_extra: Any
    block: Any


class Job(NamedTuple):
    """listed                    key blocks in the list of whole ones
    first                     stored row of the first contiguous video key
    video_tiles, video_rest   whole tiles of those, rows that are left
    extra_tiles, extra_rest   the same of extra keys
    ragged_start, ragged_rows  pooled rows of a short last block
    chunks, end_2, end_4      in the list, and columns where levels 2 and 4 end
    tail_rows                 of the tail's level
    """

    listed: Any
    first: Any
    video_tiles: Any
    video_rest: Any
    extra_tiles: Any
    extra_rest: Any
    ragged_start: Any
    ragged_rows: Any
    chunks: Any
    end_2: Any
    end_4: Any
    tail_rows: Any


class Tiles(NamedTuple):
    """Numbers of tiles, in their order; `edges`: ends of contiguous keys; `others`: of all that are
    not whole."""

    whole: Any
    ragged: Any
    edges: Any
    lists: Any
    tail: Any
    others: Any


@gluon.jit
def place_of(number, sizes):
    """Of query block `number`."""
    pair = (number // sizes.programs).to(gl.int64)
    program = number % sizes.programs
    batch, head = pair // sizes.heads, pair % sizes.heads
    kv_pair = batch * (sizes.heads // sizes.heads_per_kv) + head // sizes.heads_per_kv
    is_extra = program < sizes.extra_programs
    block = gl.where(is_extra, program, program - sizes.extra_programs)
    row = pair * sizes.q_blocks + gl.where(is_extra, 0, block)
    return Place(batch, head, kv_pair, row, is_extra, block)


@gluon.jit
def work_of(number, lists, sizes, TAIL: gl.constexpr, LISTED: gl.constexpr):
    """(place, job, tiles) of query block `number`: what every warp begins it with."""
    place = place_of(number, sizes)
    job = _job_of(place, lists, sizes, TAIL, LISTED)
    return place, job, _tiles_of(job)


@gluon.jit
def _job_of(place, lists, sizes, TAIL: gl.constexpr, LISTED: gl.constexpr):
    k_video, k_blocks = sizes.k_video, sizes.k_blocks
    zero = k_video * 0  # of the type that the branches assign
    first = gl.where(place.is_extra, zero, k_video)
    listed, chunks, end_2, end_4, tail_rows = zero, zero, zero, zero, zero
    ragged_start, ragged_rows = zero, zero
    if not place.is_extra:
        counts = lists.counts + place.row * 4
        listed = gl.load(counts)
        if LISTED > 0:
            end_2 = gl.load(counts + 1) * CHUNK
            end_4 = gl.load(counts + 2) * CHUNK
            chunks = gl.load(counts + 3)
        if TAIL > 0:
            tail_rows = k_video // N * (N // TAIL)
        if k_blocks * N > k_video:
            level = gl.load(lists.matrix + place.row * k_blocks + k_blocks - 1).to(gl.int32)
            if level == 1:
                first = (k_blocks - 1) * N
            else:
                ragged_start = gl.where(
                    level == 2, sizes.start_2, gl.where(level == 4, sizes.start_4, sizes.start_8)
                )
                ragged_rows = gl.where(level == 0, 0, N // gl.maximum(level, 1))
                if TAIL > 0:
                    ragged_start = gl.where(level == 0, sizes.tail_start, ragged_start)
                    ragged_rows = gl.where(level == 0, N // TAIL, ragged_rows)
                ragged_start += (k_blocks - 1) * ragged_rows
    video, extra = k_video - first, sizes.k_len - k_video
    return Job(
        listed, first, video // N, video % N, extra // N, extra % N, ragged_start, ragged_rows,
        chunks, end_2, end_4, tail_rows,
    )  # fmt: skip


@gluon.jit
def _tiles_of(job):
    edges = (job.video_rest > 0).to(gl.int32) + (job.extra_rest > 0).to(gl.int32)
    whole = job.listed + job.video_tiles + job.extra_tiles
    ragged = (job.ragged_rows > 0).to(gl.int32)
    lists = (job.chunks + N // CHUNK - 1) // (N // CHUNK)
    tail = (job.tail_rows + N - 1) // N
    return Tiles(whole, ragged, edges, lists, tail, ragged + edges + lists + tail)


@gluon.jit
def whole_row(i, entries, job, sizes):
    """The first stored row of whole tile `i`, from its head's first on."""
    rest = i - job.listed
    row = job.first + rest * N
    row = gl.where(rest < job.video_tiles, row, sizes.k_video + (rest - job.video_tiles) * N)
    entry = gl.load(entries + i, mask=i < job.listed, other=0)
    return gl.where(i < job.listed, entry * N, row)


@gluon.jit
def edge(i, job, sizes):
    """(first stored row, columns) of the `i`-th end of contiguous keys that is no whole tile."""
    video = (i == 0) & (job.video_rest > 0)
    row = gl.where(video, job.first + job.video_tiles * N, sizes.k_video + job.extra_tiles * N)
    return row, gl.where(video, job.video_rest, job.extra_rest)
