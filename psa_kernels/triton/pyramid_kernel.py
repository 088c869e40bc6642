"""Stage 3: the pyramid kernel (sections 3, 3b, 6c, 8).

One program takes TILE = 128 places of the permuted sequence of one head of k or v (grid: tiles of
the video, then of the extra tokens; batch x heads), because no group of any level crosses a
multiple of 128. It reads each token once, writes it to its place, and pools it in registers: the
first, second to eighth tokens of all groups of 8 are tensors of their own, so that levels 2, 4 and
8 need no exchange between threads; the tail's coarser groups come from the means and spreads of
level 8. Without levels 2 and 4 the second moment takes sums about the first token of each group, so
that the other seven need not stay in registers. Where like keys are together (section 3b), the
members of a group are gathered from their block, whose rows stay in token order at full resolution.
The similarity constraint, whose blocks are of 128 keys, one to a program, reads the ends of its
groups once more.

Keys for integer products (section 6d) are written as bytes, less the mean of the head's video keys:
those of a block over the block's largest magnitude. That is known once all have been read, so they
are read twice. Values for sums in float16 (section 6e) are written in float16, times the power of
two that the largest of their head asks for. What these need of a head is in `head_scales_kernel`.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .common import as_bytes, caller_position, log2_count, raise_to, value_scale


@triton.jit
def _alike(
    x, x_row, x_dim, order, first_row, video, before, dims,
    HEAD_DIM: tl.constexpr, SIZE: tl.constexpr, TILE: tl.constexpr, ORDERED: tl.constexpr,
):  # fmt: skip
    """Mean cosine of the first and the last key of the tile's groups of SIZE keys."""
    first = first_row + tl.arange(0, TILE // SIZE) * SIZE
    last = tl.minimum(first + SIZE - 1, video - 1)
    real = first < video
    mask = real[:, None] & (dims < HEAD_DIM)[None, :]
    a = caller_position(order, first, video, before, ORDERED).to(tl.int64)
    b = caller_position(order, last, video, before, ORDERED).to(tl.int64)
    a = tl.load(
        x + a[:, None] * x_row + dims[None, :].to(tl.int64) * x_dim, mask=mask, other=0.0
    ).to(tl.float32)
    b = tl.load(
        x + b[:, None] * x_row + dims[None, :].to(tl.int64) * x_dim, mask=mask, other=0.0
    ).to(tl.float32)
    # norms apart: their product could leave the range of float32
    norm_a = tl.sqrt(tl.sum(a * a, 1))
    norm_b = tl.sqrt(tl.sum(b * b, 1))
    a = a / tl.where(norm_a > 0, norm_a, 1.0)[:, None]
    b = b / tl.where(norm_b > 0, norm_b, 1.0)[:, None]
    cosine = tl.where(first == last, 1.0, tl.sum(a * b, 1))
    return tl.sum(tl.where(real, cosine, 0.0), 0) / tl.sum(real.to(tl.float32), 0)


@triton.jit
def _over_channels(squares, in_whole, channels, GROUPED: tl.constexpr):
    """Sums of squares over the channels, which have weights in whole blocks of like keys."""
    if GROUPED:
        squares = squares * tl.where(in_whole[:, None], channels[None, :], 1.0)
    return tl.sum(squares, 1)


@triton.jit
def _tail_sums(x):
    """Sums of `x` `[2, groups of the tail, half of their groups of 8, ...]`."""
    return tl.sum(tl.sum(x, 0), 1)


@triton.jit
def _store_level(
    mean, weight, deviation, pooled, peaks, counts, spread, steepest, row_base, start,
    group, kept, video, pair, dims,
    DIM: tl.constexpr, HEAD_DIM: tl.constexpr, SIZE: tl.constexpr, COUNTS: tl.constexpr,
    SPREAD: tl.constexpr, BYTES: tl.constexpr,
):  # fmt: skip
    """Writes one pooling level of some groups: means, counts, spreads."""
    row = start + group
    if BYTES:
        mean = mean.to(pooled.dtype.element_ty).to(tl.float32)
        peak = tl.max(tl.abs(mean), 1)
        norm = tl.sum(mean, 1)
        # infinite where a key is NaN or infinite, which bytes cannot say
        peak = tl.where(norm - norm == 0, peak, float("inf"))
        raise_to(peaks + pair, tl.max(peak, 0))
    tl.store(
        pooled + row[:, None] * DIM + dims[None, :], mean.to(pooled.dtype.element_ty),
        mask=kept[:, None],
    )  # fmt: skip
    bias = log2_count(group, SIZE, video)
    if COUNTS:
        tl.store(counts + row, bias, mask=kept & (pair == 0))
    if SPREAD:
        per_token = deviation / (tl.maximum(weight, 1.0) * HEAD_DIM)
        tl.store(spread + row_base + row, per_token, mask=kept)
        ratio = tl.where(bias > 0, per_token / tl.maximum(bias, 1.0e-6), 0.0)
        raise_to(steepest + pair, tl.max(ratio, 0))


@triton.jit
def _rows_at(
    place, end, x, x_row, x_dim, dims, places, whole, order, video, before,
    BLOCK: tl.constexpr, HEAD_DIM: tl.constexpr, GROUPED: tl.constexpr, ORDERED: tl.constexpr,
):  # fmt: skip
    """(rows of `x` at these places, which of them there are, the places they are written to)."""
    real = place < end
    if GROUPED:
        # whole blocks of the video only
        inside = tl.load(places + place, mask=place < whole, other=0).to(tl.int32)
        place = tl.where(place < whole, place // BLOCK * BLOCK + inside, place)
    position = caller_position(order, place, video, before, ORDERED).to(tl.int64)
    rows = tl.load(
        x + position[:, None] * x_row + dims[None, :].to(tl.int64) * x_dim,
        mask=real[:, None] & (dims < HEAD_DIM)[None, :], other=0.0,
    )  # fmt: skip
    return rows, real, place


@triton.jit(do_not_specialize=[
    "order_batch", "order_head", "heads", "length", "video", "whole", "before", "video_tiles",
    "rows", "blocks", "scaled_blocks",
    "start_2", "start_4", "start_8", "start_tail",
])  # fmt: skip
def pool_kernel(
    x, x_batch, x_head, x_row, x_dim, order, order_batch, order_head,
    places, places_batch, places_head, weights, weights_batch, weights_head, full, pooled,
    full_bytes, scales, centers, peaks,
    counts, spread, steepest, longest, allowed,
    heads, length, video, whole, before, video_tiles, rows, blocks, scaled_blocks,
    start_2, start_4, start_8, start_tail,
    threshold_2, threshold_4, threshold_8,
    HEAD_DIM: tl.constexpr, DIM: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr,
    ORDERED: tl.constexpr, SIZES: tl.constexpr, FAN: tl.constexpr, GROUPED: tl.constexpr,
    COUNTS: tl.constexpr, SPREAD: tl.constexpr, RUNNING: tl.constexpr, ALIKE: tl.constexpr,
    BYTES: tl.constexpr, HALF: tl.constexpr, HALF_SUMS: tl.constexpr,
):  # fmt: skip
    """FAN      groups of 8 in one of the tail's, or 1
    RUNNING  without levels 2 and 4, spreads come from sums about the first member of each group, so
             that the others need not be held
    HALF, BYTES  in which forms rows of full resolution are written
    HALF_SUMS    rows are values for sums in float16, and `peaks` has their head's largest magnitude
    """
    EIGHTHS: tl.constexpr = TILE // 8
    # the spread of a whole block counts all channels alike
    PLAIN: tl.constexpr = (GROUPED and SPREAD) and 8 * FAN == BLOCK
    tile = tl.program_id(0)
    pair = tl.program_id(1).to(tl.int64)
    batch, head = pair // heads, pair % heads
    x += batch * x_batch + head * x_head
    order += batch * order_batch + head * order_head
    full += pair * length * DIM
    pooled += pair * rows * DIM
    row_base = pair * rows
    dims = tl.arange(0, DIM)
    center = dims
    if BYTES:
        full_bytes += pair * length * DIM
        center = tl.load(centers + pair * HEAD_DIM + dims, mask=dims < HEAD_DIM, other=0.0)

    if HALF_SUMS:
        smaller = value_scale(tl.load(peaks + pair))
    is_extra = tile >= video_tiles
    end = tl.where(is_extra, length, video)
    first = tl.where(is_extra, video + (tile - video_tiles) * TILE, tile * TILE)
    # which group of 8 each row of a tensor is. Threads hold rows of both halves of it: each group
    # of the tail has half of its own in either, and half of its sums needs no exchange
    eighth = tl.arange(0, EIGHTHS)
    if FAN > 1:
        in_half = eighth % (EIGHTHS // 2)
        eighth = in_half // (FAN // 2) * FAN + eighth // (EIGHTHS // 2) * (FAN // 2)
        eighth += in_half % (FAN // 2)
    places += batch * places_batch + head * places_head
    channels = dims
    if GROUPED and SPREAD:
        channels = tl.load(
            weights + batch * weights_batch + head * weights_head + dims, mask=dims < HEAD_DIM,
            other=0.0,
        )  # fmt: skip
    # eight tensors, one for each place in a group of 8: pooling is then plain arithmetic
    members = ()
    reals = ()
    sums = tl.zeros([EIGHTHS, DIM], tl.float32)
    sums_of_squares = tl.zeros([EIGHTHS, DIM], tl.float32)
    norms = tl.zeros([EIGHTHS], tl.float32)
    tops = tl.zeros([EIGHTHS, DIM], tl.float32)
    spoilt = tl.zeros([EIGHTHS], tl.float32)
    for j in tl.static_range(8):
        member, real, place = _rows_at(
            first + eighth * 8 + j, end, x, x_row, x_dim, dims, places, whole, order, video, before,
            BLOCK, HEAD_DIM, GROUPED, ORDERED,
        )  # fmt: skip
        if HALF_SUMS:
            member = member.to(tl.float32) * smaller
        if HALF:
            tl.store(
                full + place[:, None] * DIM + dims[None, :], member.to(full.dtype.element_ty),
                mask=real[:, None],
            )  # fmt: skip
        member = member.to(tl.float32)
        if COUNTS:
            if BYTES:
                # the estimator reads means less this too: its softmax does not notice what all keys
                # have in common
                member = tl.where(real[:, None], member - center[None, :], 0.0)
                tops = tl.maximum(tops, tl.abs(member))
            own_norms = tl.sum(member * member, 1)
            norms = tl.maximum(norms, own_norms)
            spoilt += own_norms - own_norms  # NaN where a key is NaN or infinite
        if not RUNNING or j == 0:
            members = members + (member,)  # noqa: RUF005 - no unpacking in kernels
        else:
            apart = tl.where(real[:, None], member - members[0], 0.0)
            sums += apart
            sums_of_squares += apart * apart
        reals = reals + (real.to(tl.float32),)  # noqa: RUF005

    if COUNTS:
        raise_to(longest + pair, tl.max(norms, 0))
    if BYTES:
        # one scale a block; it spoils what a key spoils, which bytes cannot say
        nth = tl.arange(0, TILE // BLOCK)
        members_of = nth[:, None] == (eighth // (BLOCK // 8))[None, :]
        block_peak = tl.max(tl.where(members_of, tl.max(tops, 1)[None, :], 0.0), 1)
        number = tl.where(is_extra, tile - video_tiles, tile) * (TILE // BLOCK) + nth
        inside = number < tl.where(is_extra, scaled_blocks - blocks, blocks)
        number += tl.where(is_extra, blocks, 0)
        wrong = tl.sum(tl.where(members_of, spoilt[None, :], 0.0), 1)
        tl.store(scales + pair * scaled_blocks + number, block_peak / 127.0 + wrong,
                 mask=inside)  # fmt: skip
    if not is_extra:
        group = tile * EIGHTHS + eighth
        none = tl.zeros([EIGHTHS], tl.float32)
        # rows past the last token are written too: kernels read them under zero weight
        kept = group < blocks * (BLOCK // 8)
        in_whole = group * 8 < whole
        if (SIZES >> 1) & 1:
            for j in tl.static_range(4):
                weight = reals[2 * j] + reals[2 * j + 1]
                mean = (members[2 * j] + members[2 * j + 1]) / tl.maximum(weight, 1.0)[:, None]
                deviation = none
                if SPREAD:
                    for i in tl.static_range(2):
                        off = (members[2 * j + i] - mean) * reals[2 * j + i][:, None]
                        deviation += _over_channels(off * off, in_whole, channels, GROUPED)
                _store_level(mean, weight, deviation, pooled, peaks, counts, spread,
                             steepest, row_base, start_2, group * 4 + j, kept, video, pair, dims,
                             DIM, HEAD_DIM, 2, COUNTS, SPREAD, BYTES)  # fmt: skip
        if (SIZES >> 2) & 1:
            for j in tl.static_range(2):
                weight = none
                mean = tl.zeros([EIGHTHS, DIM], tl.float32)
                for i in tl.static_range(4):
                    weight += reals[4 * j + i]
                    mean += members[4 * j + i]
                mean = mean / tl.maximum(weight, 1.0)[:, None]
                deviation = none
                if SPREAD:
                    squares = tl.zeros([EIGHTHS, DIM], tl.float32)
                    for i in tl.static_range(4):
                        off = (members[4 * j + i] - mean) * reals[4 * j + i][:, None]
                        squares += off * off
                    deviation = _over_channels(squares, in_whole, channels, GROUPED)
                _store_level(mean, weight, deviation, pooled, peaks, counts, spread,
                             steepest, row_base, start_4, group * 2 + j, kept, video, pair, dims,
                             DIM, HEAD_DIM, 4, COUNTS, SPREAD, BYTES)  # fmt: skip
        weight = none
        for j in tl.static_range(8):
            weight += reals[j]
            if not RUNNING:
                sums += members[j]
        mean = sums / tl.maximum(weight, 1.0)[:, None]
        deviation = none
        plain = none
        if SPREAD:
            squares = sums_of_squares
            if RUNNING:
                # nothing cancels: the first key adds 0 to both sums, so that at least an eighth is
                # left. What leaves the range stays infinite; an infinite key gives NaN
                squares = tl.where(
                    squares < float("inf"), squares - sums * mean, squares + (sums - sums)
                )
                mean += members[0]
            else:
                for j in tl.static_range(8):
                    off = (members[j] - mean) * reals[j][:, None]
                    squares += off * off
            deviation = _over_channels(squares, in_whole, channels, GROUPED)
            if PLAIN:
                plain = tl.sum(squares, 1)
        if (SIZES >> 3) & 1:
            _store_level(mean, weight, deviation, pooled, peaks, counts, spread,
                         steepest, row_base, start_8, group, kept, video, pair, dims,
                         DIM, HEAD_DIM, 8, COUNTS, SPREAD, BYTES)  # fmt: skip
        if FAN > 1:
            parts = tl.reshape(mean, [2, EIGHTHS // FAN, FAN // 2, DIM])
            shares = tl.reshape(weight, [2, EIGHTHS // FAN, FAN // 2])
            weight = _tail_sums(shares)
            mean = _tail_sums(parts * shares[:, :, :, None]) / tl.maximum(weight, 1.0)[:, None]
            group = tile * (EIGHTHS // FAN) + tl.arange(0, EIGHTHS // FAN)
            if SPREAD:
                # squares about the common mean, from those about the parts' own means
                off = parts - mean[None, :, None, :]
                squares = _tail_sums(off * off * shares[:, :, :, None])
                own = plain if PLAIN else deviation
                deviation = _tail_sums(tl.reshape(own, [2, EIGHTHS // FAN, FAN // 2]))
                if PLAIN:
                    deviation += tl.sum(squares, 1)
                else:
                    in_whole = group * (8 * FAN) < whole
                    deviation += _over_channels(squares, in_whole, channels, GROUPED)
            kept = group < blocks * (BLOCK // (8 * FAN))
            _store_level(mean, weight, deviation, pooled, peaks, counts, spread,
                         steepest, row_base, start_tail, group, kept, video, pair, dims,
                         DIM, HEAD_DIM, 8 * FAN, COUNTS, SPREAD, BYTES)  # fmt: skip
        if ALIKE:
            level = 1
            alike = _alike(x, x_row, x_dim, order, tile * TILE, video, before, dims,
                           HEAD_DIM, 2, TILE, ORDERED)  # fmt: skip
            level = tl.where(alike > threshold_2, 2, level)
            alike = _alike(x, x_row, x_dim, order, tile * TILE, video, before, dims,
                           HEAD_DIM, 4, TILE, ORDERED)  # fmt: skip
            level = tl.where(alike > threshold_4, 4, level)
            alike = _alike(x, x_row, x_dim, order, tile * TILE, video, before, dims,
                           HEAD_DIM, 8, TILE, ORDERED)  # fmt: skip
            level = tl.where(alike > threshold_8, 8, level)
            tl.store(allowed + pair * blocks + tile, level.to(tl.int8))
    if BYTES:
        # rows are read again, from the cache: if they were held until their block's largest is
        # known, they would take most of the registers. One scale serves a part: no block is smaller
        PART: tl.constexpr = 32
        for part in tl.static_range(TILE // PART):
            place = first + part * PART + tl.arange(0, PART)
            keys, real, place = _rows_at(
                place, end, x, x_row, x_dim, dims, places, whole, order, video, before,
                BLOCK, HEAD_DIM, False, ORDERED,
            )  # fmt: skip
            peak = tl.sum(tl.where(nth == part * PART // BLOCK, block_peak, 0.0), 0)
            per_step = tl.where(peak > 0, 127.0 / peak, 0.0)
            tl.store(
                full_bytes + place[:, None] * DIM + dims[None, :],
                as_bytes((keys.to(tl.float32) - center[None, :]) * per_step), mask=real[:, None],
            )  # fmt: skip
