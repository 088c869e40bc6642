"""Stage 3: what keys and values of fewer bits need of a whole head (sections 6d, 6e).

`sum_keys_kernel` (grid: chunks of the video; batch x heads) finds the mean of a head's video keys,
which `pool_kernel` subtracts, from pooled keys too. Those it writes in half precision;
`bytes_kernel` (grid: tiles of pooled rows; batch x heads) divides them by the largest of their
head once that is known. `peak_kernel` (grid: chunks of all tokens; batch x heads) finds the largest
value of a head, which says what its values for sums in float16 are times.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .common import as_bytes, raise_to


@triton.jit(do_not_specialize=["heads", "video", "before", "chunks"])
def sum_keys_kernel(
    k, k_batch, k_head, k_row, k_dim, sums, heads, video, before, chunks,
    HEAD_DIM: tl.constexpr, DIM: tl.constexpr, ROWS: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """The sum of the video keys of a chunk, whose order does not matter."""
    chunk = tl.program_id(0)
    pair = tl.program_id(1).to(tl.int64)
    k += (pair // heads) * k_batch + (pair % heads) * k_head
    dims = tl.arange(0, DIM)
    total = tl.zeros([ROWS, DIM], tl.float32)
    for start in range(0, CHUNK, ROWS):
        row = chunk * CHUNK + start + tl.arange(0, ROWS)
        values = tl.load(
            k + (before + row).to(tl.int64)[:, None] * k_row + dims[None, :].to(tl.int64) * k_dim,
            mask=(row < video)[:, None] & (dims < HEAD_DIM)[None, :], other=0.0,
        )  # fmt: skip
        total += values.to(tl.float32)
    tl.store(
        sums + (pair * chunks + chunk) * HEAD_DIM + dims, tl.sum(total, 0), mask=dims < HEAD_DIM
    )


@triton.jit(do_not_specialize=["heads", "length"])
def peak_kernel(
    x, x_batch, x_head, x_row, x_dim, peaks, heads, length,
    HEAD_DIM: tl.constexpr, DIM: tl.constexpr, ROWS: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """The largest finite magnitude of a head of x."""
    pair = tl.program_id(1).to(tl.int64)
    x += (pair // heads) * x_batch + (pair % heads) * x_head
    dims = tl.arange(0, DIM)
    largest = tl.zeros([ROWS], tl.float32)
    for start in range(0, CHUNK, ROWS):
        row = tl.program_id(0) * CHUNK + start + tl.arange(0, ROWS)
        values = tl.load(
            x + row.to(tl.int64)[:, None] * x_row + dims[None, :].to(tl.int64) * x_dim,
            mask=(row < length)[:, None] & (dims < HEAD_DIM)[None, :], other=0.0,
        )  # fmt: skip
        sizes = tl.abs(values.to(tl.float32))
        largest = tl.maximum(largest, tl.max(tl.where(sizes < float("inf"), sizes, 0.0), 1))
    raise_to(peaks + pair, tl.max(largest, 0))


@triton.jit(do_not_specialize=["rows"])
def bytes_kernel(
    pooled, pooled_bytes, peaks, rows, DIM: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Pooled keys as bytes, over the largest magnitude of the head's."""
    pair = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * TILE + tl.arange(0, TILE)
    at = pair * rows * DIM + row[:, None] * DIM + tl.arange(0, DIM)[None, :]
    peak = tl.load(peaks + pair)
    values = tl.load(pooled + at, mask=(row < rows)[:, None], other=0.0).to(tl.float32)
    per_step = tl.where(peak > 0, 127.0 / peak, 0.0)
    tl.store(pooled_bytes + at, as_bytes(values * per_step), mask=(row < rows)[:, None])
